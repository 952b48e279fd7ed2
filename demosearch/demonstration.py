"""A demonstration: a sentence and the word that represents it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, MappingView, Set
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from demosearch._common.lazy import lazily
from demosearch.errors import UserError, short

_UNIT_SEPARATOR = "\x1f"
# Strings that the tokenizers of the known models, and most others, read as control tokens.
_CONTROL_TOKEN = re.compile(
    r"<\|[^|<>]*\|>|</?s>|<(?:unk|pad|mask|bos|eos|(?:start|end)_of_turn)>|\[/?INST\]|\[(?:MASK|SEP|CLS)\]"
)


def demonstration_id(sentence: str, word: str) -> str:
    """Return the first 12 hex digits of sha256(sentence, U+001F, word)."""
    return hashlib.sha256(f"{sentence}{_UNIT_SEPARATOR}{word}".encode()).hexdigest()[:12]


def control_token_in(text: str) -> str | None:
    """Return the first string in a text that models read as a control token, e.g. `</s>`.

    >>> control_token_in("Stop </s> here.")
    '</s>'
    """
    match = _CONTROL_TOKEN.search(text)
    return match[0] if match else None


class Demonstration(BaseModel):
    """A sentence and the word that represents it.

    Attributes:
        id: 12 hex digits, computed from sentence and word.
        sentence: prepared text; it is inserted into the prompt verbatim.
        word: the word that the model is shown as the answer.
        source: where the pair comes from, e.g. `openai:<model>`, `local:<model>`, `wordnet`, `starter`.

    Raises:
        ValidationError: a text is empty or contains characters that would break out of the template.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    # Strict, because bytes would be decoded.
    sentence: Annotated[str, Field(min_length=1, strict=True)]
    word: Annotated[str, Field(min_length=1, strict=True)]
    source: str = "user"

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        sentence, word = value.get("sentence"), value.get("word")
        if isinstance(sentence, str) and isinstance(word, str):
            # The id depends on the text, so that an edited line gets a new one.
            return {**value, "id": demonstration_id(sentence, word)}
        return value

    @model_validator(mode="after")
    def _stays_inside_the_template(self) -> Self:
        for name in ("sentence", "word"):
            text: str = getattr(self, name)
            if '"' in text:
                raise ValueError(
                    f"{name} must not contain a double quote, which would end it in the prompt"
                )
            if any(ord(character) < 32 for character in text):
                raise ValueError(
                    f"{name} must not contain a line break or another control character"
                )
            if not text.strip():
                raise ValueError(f"{name} must not be blank")
            if token := control_token_in(text):
                raise ValueError(
                    f"{name} must not contain {token}, which models read as a control token"
                )
        return self


def as_demonstrations(
    demonstrations: Iterable[Demonstration], name: str = "demonstrations"
) -> tuple[Demonstration, ...]:
    """Return demonstrations that a caller passed, in their order.

    Args:
        demonstrations: what a caller passed.
        name: what they are called in messages.

    Raises:
        UserError: an item (whose row is named) is not a demonstration, or the container has no order.
    """
    if isinstance(demonstrations, Set) and not isinstance(demonstrations, MappingView):
        raise UserError(f"{name} must be a list but got a set, which has no order; pass a list")
    if isinstance(demonstrations, Demonstration) or not isinstance(demonstrations, Iterable):
        kind = type(demonstrations).__name__
        raise UserError(f"{name} must be a list of demonstrations but got a value of type {kind}")
    items = tuple(demonstrations)
    for row, item in enumerate(items, start=1):
        if not isinstance(item, Demonstration):
            raise UserError(
                f"row {row} of the {name} must be a Demonstration but got {short(repr(item))}"
                f" ({type(item).__name__}); use Demonstration(sentence=..., word=...), or read_candidates"
                " for a file"
            )
    return items


# `DemonstrationsFile` moved to another module; this path stays importable.
__getattr__ = lazily(__name__, {"DemonstrationsFile": "demosearch.demonstrations_file"})
