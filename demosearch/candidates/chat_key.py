"""The API key of a chat server: it is checked before it is sent, and masked in what a server sends."""

from __future__ import annotations

import base64
import os
import re
from urllib.parse import quote

from demosearch.candidates.settings import KEY_VARIABLE
from demosearch.errors import UserError

MASK = "***"
# In characters. A shorter key, such as `none` for a local server, is a word and not a secret.
_SHORTEST_SECRET = 8
_LONGEST_REASON = 300
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
# Other variables that the client sends in headers. The last one has lines of a name and a value.
_HEADERS = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
# A value as RFC 9110 allows it, and the name of a header (a token).
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
# The client itself computes these.
_COMPUTED = {"content-length", "transfer-encoding"}


def api_key() -> str:
    """Return the key in the environment; `none` if there is none.

    Raises:
        UserError: the key, or another header from the environment, cannot be sent. The message does
            not contain the value.
    """
    for variable in _HEADERS:
        _check_header(variable, os.environ.get(variable, ""))
    # A local server often requires no key, but the client requires some string.
    key = os.environ.get(KEY_VARIABLE) or "none"
    if not all("!" <= character <= "~" for character in key):
        raise UserError(
            f"the key in {KEY_VARIABLE} must consist of ASCII letters, digits and punctuation, without"
            " blanks and line breaks; copy the key again"
        )
    return key


def _check_header(variable: str, text: str) -> None:
    lines = text.split("\n") if variable == _HEADERS[-1] else [text]
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise UserError(
            f"{variable} must contain only printable ASCII characters; correct or unset it"
        )
    if variable != _HEADERS[-1]:
        if not _VALUE.fullmatch(text):
            raise UserError(f"{variable} must not begin or end with a blank; correct or unset it")
        return
    for name, colon, _ in (line.partition(":") for line in lines if line.strip()):
        if not colon or not _NAME.fullmatch(name.strip()) or name.strip().lower() in _COMPUTED:
            raise UserError(
                f"{variable} must have lines such as 'X-Name: value', without Content-Length and"
                " Transfer-Encoding; correct or unset it"
            )


def masked(text: str) -> str:
    """Return a text in which the API key is masked, because a server may echo it."""
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) < _SHORTEST_SECRET:
        return text
    forms = {key, quote(key, safe=""), base64.b64encode(key.encode()).decode()}
    # The longest one first: another one may be a part of it.
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, MASK, text, flags=re.IGNORECASE)


def without_key(text: str) -> str:
    """Return an answer without the API key, also if it is written with JSON's escapes."""
    text = masked(text)
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2], text)
    return text if masked(plain) == plain else MASK


def reason(text: str) -> str:
    """Return the reason that a server gives for an error: one line, shortened, without the key."""
    line = " ".join(masked(text).split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 3]}..."
