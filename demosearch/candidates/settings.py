"""The options of the candidate generator. Each option is defined here and nowhere else.

The command line, pipeline files, `--set` and `demosearch schema` are derived from these fields.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from demosearch._common.settings import Settings
from demosearch.candidates.prices import Price
from demosearch.errors import short

AUTO = "auto"
NONE = "none"
STARTER = "starter"
STSB_TRAIN = "stsb-train"
WORDNET = "wordnet"

# The length of a sentence. In a script without blanks between words, letters and digits are counted.
FEWEST_WORDS = 3
MOST_WORDS = 40
FEWEST_CHARACTERS = 4
MOST_CHARACTERS = 120
_LENGTHS = (
    f"{FEWEST_WORDS} to {MOST_WORDS} words long, or {FEWEST_CHARACTERS} to {MOST_CHARACTERS} characters"
    " in a script without blanks between words"
)

DEFAULT_CHAT_MODEL = "gpt-4o-mini"
KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
_EXAMPLE = "http://localhost:8000/v1"
# The only query that a base URL may have; Azure requires it.
_API_VERSION = re.compile(r"(api-version=[\w.-]+)?")
# The name of a host in its encoding; some local networks have names with `_`. IPv6 is in brackets.
_NAME = re.compile(r"[\w.-]*", re.ASCII)
# A percent sign that does not begin an encoded character.
_NOT_ENCODED = re.compile(r"%(?![0-9a-fA-F]{2})")
_PRINTABLE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\\]+")


class LabelerKind(StrEnum):
    """The labeling backend."""

    AUTO = "auto"
    OPENAI = "openai"
    LOCAL = "local"
    NONE = "none"


def key_is_set() -> bool:
    """Whether the environment has an API key, or the URL of a chat server."""
    return bool(os.environ.get(KEY_VARIABLE) or os.environ.get(URL_VARIABLE))


def check_url(base_url: str | None) -> str | None:
    """Return the URL of a chat server, which is written into files.

    Raises:
        ValueError: it may contain a secret, or no request can be sent to it. The message does not
            repeat a secret.
    """
    if not base_url:
        return base_url
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
        # The name is sent in this encoding.
        name = (host or "").encode("idna").decode()
    except ValueError:
        raise ValueError(
            f"must be a URL with a valid host and a port from 1 to 65535, e.g. {_EXAMPLE}"
        ) from None
    if "@" in base_url or parts.fragment or not _API_VERSION.fullmatch(parts.query):
        raise ValueError(
            "must be a URL without password, query (except ?api-version=) and fragment, because it is"
            f" written to files; set the key in {KEY_VARIABLE}"
        )
    if parts.scheme not in ("http", "https"):
        scheme = f"'{short(parts.scheme)}'" if "://" in base_url else "none"
        raise ValueError(
            f"must begin with http:// or https://, e.g. {_EXAMPLE}; its scheme is {scheme}"
        )
    if not host or port == 0 or not _PRINTABLE.fullmatch(base_url):
        raise ValueError(
            f"must be a URL with a host and without blanks, e.g. {_EXAMPLE}, but got {short(base_url)!r}"
        )
    if not ("[" in parts.netloc or _NAME.fullmatch(name)) or _NOT_ENCODED.search(parts.path):
        raise ValueError(
            "must be a URL whose host has only letters, digits, '.', '-' and '_' and whose path has '%'"
            f" only before two hexadecimal digits, e.g. {_EXAMPLE}, but got {short(base_url)!r}"
        )
    return base_url


class CandidateSettings(Settings):
    """The options of the candidate generator."""

    labeler: LabelerKind = Field(
        LabelerKind.AUTO,
        description="labeling backend: auto (openai if a key is set, otherwise local), openai,"
        " local or none",
    )
    labeler_model: str | None = Field(
        None,
        description="model that labels: a chat model (openai) or a model name (local); default:"
        f" {DEFAULT_CHAT_MODEL} (openai) or the model itself (local)",
    )
    sentences: str = Field(
        AUTO,
        description="sentences to label: auto (stsb-train if it is available, otherwise starter),"
        f" stsb-train, starter or a file; they must be {_LENGTHS}",
    )
    n_sentences: Annotated[int, Field(ge=0)] = Field(
        100, description="number of labeled sentences to build"
    )
    dictionary: str = Field(
        AUTO,
        description="dictionary: auto (wordnet if it is installed, otherwise starter), wordnet,"
        f" starter, none or a file; definitions must be {_LENGTHS}",
    )
    n_dictionary: Annotated[int, Field(ge=0)] = Field(
        200, description="number of dictionary pairs to build"
    )
    headwords: str | None = Field(
        None,
        description="file of headwords to look up in WordNet; default: the list that ships with"
        " demosearch",
    )
    download: bool = Field(
        False, description="download WordNet through NLTK if it is not installed"
    )
    base_url: str | None = Field(
        None, description=f"URL of the chat server; default: {URL_VARIABLE}, or OpenAI's API"
    )
    votes: Annotated[int, Field(ge=1, le=25)] = Field(
        1, description="answers of the chat model per sentence; the majority decides"
    )
    rate: Annotated[int, Field(ge=1)] | None = Field(
        None, description="maximum number of requests per minute to the chat server"
    )
    max_cost: Annotated[float, Field(gt=0)] | None = Field(
        None, description="maximum cost of labeling in US dollars"
    )
    price: str | None = Field(
        None,
        description="price of the chat model in US dollars per million input and output tokens,"
        " e.g. 0.15,0.60; default: the price list of demosearch",
    )
    refuse_word_in_sentence: bool = Field(
        False,
        description="reject pairs whose word occurs in the sentence; by default they are flagged",
    )
    language: str | None = Field(
        None,
        description="reject sentences that are not in this language (ISO 639-1 code), e.g. en; it also"
        " selects the stemmer and the word frequencies",
    )
    offensive_words: str | None = Field(
        None,
        description="file of words, separated by white space; pairs that contain one are rejected",
    )
    quality: bool = Field(
        True,
        description="add quality scores: the frequency of the word, and its log-probability if a"
        " model is given",
    )

    _check_url = field_validator("base_url")(check_url)

    @field_validator("price")
    @classmethod
    def _check_price(cls, value: str | None) -> str | None:
        if value is not None:
            Price.parse(value)
        return value
