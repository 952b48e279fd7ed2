"""How the word is read from an answer of a chat model, whatever stands around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

# In characters. A longer text, after the reasoning, is not the answer to a question for one word.
LONGEST_ANSWER = 20_000

# The tags around the reasoning of a model: <think> (DeepSeek, Qwen), [THINK] (Mistral), and others.
_TAG = re.compile(
    r"[<\[◁](?P<end>/?)(?:think|thinking|thought|thoughts|reasoning|analysis)[>\]▷]", re.IGNORECASE
)
_FENCED = re.compile(r"```(?:[\w+-]*[ \t]*\n)?(.*?)```", re.DOTALL)
_FENCE = re.compile(r"^```\w*\s*|\s*```$")
_KEY = "word"
# Values of JSON that are not words. A bare one is not taken for a word.
_CONSTANTS = {"null", "true", "false"}


class _AmbiguousError(ValueError):
    """An object names its word twice."""


def parse_answer(text: str) -> str | None:
    """Return the word in an answer, whether or not the server enforced the response format.

    Reasoning in tags is left out, also if only its end tag is there. The JSON object with the word may
    stand in a list, in a code fence or in a text. An answer that can be read in two ways has no word.
    The word may still be more than one word: `clean_word` checks that.

    >>> parse_answer('{"word": "Riding"}')
    'Riding'
    >>> parse_answer("Riding.")
    'Riding.'
    >>> parse_answer('A horse, so... </think> Here it is: {"Word": "Riding"}')
    'Riding'
    """
    bare = _without_reasoning(text)
    if not bare or len(bare) > LONGEST_ANSWER or not _is_closed(bare):
        return None
    word = _word_in(bare)
    return word if word and _is_encodable(word) else None


def is_complete(text: str) -> bool:
    """Whether a text is a whole answer: neither empty after its reasoning nor cut.

    Servers cut answers also without a `finish_reason` that says so.

    >>> is_complete('{"word": "Riding"}'), is_complete('{"word": "Rid'), is_complete("<think>A ho")
    (True, False, False)
    """
    bare = _without_reasoning(text)
    return bool(bare) and _is_closed(bare or "")


def _is_closed(bare: str) -> bool:
    """Whether a text is JSON, or closes its quote, its brackets and, unless JSON ends it, its code fences."""
    with suppress(ValueError, RecursionError):
        json.loads(bare)
        return True
    quote = not (bare.startswith('"') and bare.count('"') == 1)
    brackets = all(bare.count(start) <= bare.count(end) for start, end in ("{}", "[]"))
    return quote and brackets and (bare.count("```") % 2 == 0 or bare.endswith(("}", "]")))


def _without_reasoning(text: str) -> str | None:
    """Return a text without its reasoning; None if the reasoning does not end."""
    parts: list[str] = []
    depth = start = 0
    for tag in _TAG.finditer(text):
        if not tag["end"]:
            if depth == 0:
                parts.append(text[start : tag.start()])
            depth += 1
        elif depth:
            depth -= 1
        else:
            # The server removed the start tag.
            parts.clear()
        start = tag.end()
    if depth:
        return None
    # With a line break, texts before and after the reasoning do not become one word.
    return "\n".join([*parts, text[start:]]).strip()


def _word_in(bare: str) -> str | None:
    try:
        return _word_of(_loads(bare))
    except _AmbiguousError:
        return None
    except (ValueError, RecursionError):
        pass
    if "{" in bare:
        words = set(_words_of_objects(bare))
        return words.pop() if len(words) == 1 else None
    fenced = _FENCED.findall(bare)
    if len(fenced) > 1:
        return None
    inner = (fenced[0] if fenced else _FENCE.sub("", bare)).strip()
    if inner == bare:
        return bare
    return _word_in(inner) if inner else None


def _words_of_objects(text: str) -> Iterator[str | None]:
    """Yield the words of the outermost JSON objects in a text; None for one that has no word."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    end = 0
    while (start := text.find("{", end)) >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except _AmbiguousError:
            yield None
            return
        except (ValueError, RecursionError):
            # A brace in a text, or an object that was cut.
            yield None
            return
        yield _word_of(value)


def _word_of(value: Any, depth: int = 0) -> str | None:
    """Return the word of a parsed answer: a string, an object with a word, or a list of one of them."""
    if isinstance(value, dict):
        word = value.get(_KEY)
        return word.strip() if isinstance(word, str) else None
    if isinstance(value, list) and depth == 0:
        words = {_word_of(element, 1) for element in value}
        return words.pop() if len(words) == 1 else None
    if isinstance(value, str):
        return _inner(value.strip())
    return None


def _inner(text: str) -> str | None:
    """Return the word of a JSON string, which may be JSON once more."""
    if not text.startswith("{"):
        return text or None
    try:
        value = _loads(text)
    except (ValueError, RecursionError):
        return None
    return _word_of(value) if isinstance(value, dict) else None


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose key `word` has the usual spelling.

    Raises:
        _AmbiguousError: the key occurs twice, with different values.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = _KEY if key.strip().casefold() == _KEY else key
        if name == _KEY and values.get(name, value) != value:
            raise _AmbiguousError
        values[name] = value
    return values


def _is_encodable(word: str) -> bool:
    """Whether a word can be written to a file, and is not a constant of JSON."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return word not in _CONSTANTS
