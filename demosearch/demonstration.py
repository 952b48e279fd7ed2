"""A demonstration: a sentence and the one word that stands for it."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from demosearch._common.lazy import lazily

_UNIT_SEPARATOR = "\x1f"
# What the known models' tokenizers, and most others', take for the end of a text or of a turn.
_CONTROL_TOKEN = re.compile(
    r"<\|[^|<>]*\|>|</?s>|<(?:unk|pad|mask|bos|eos|(?:start|end)_of_turn)>|\[/?INST\]|\[(?:MASK|SEP|CLS)\]"
)


def demonstration_id(sentence: str, word: str) -> str:
    """Return the first 12 hex digits of sha256(sentence, U+001F, word)."""
    return hashlib.sha256(f"{sentence}{_UNIT_SEPARATOR}{word}".encode()).hexdigest()[:12]


def control_token_in(text: str) -> str | None:
    """Return the first string in a text that models read as a control token, such as `</s>`.

    >>> control_token_in("Stop </s> here.")
    '</s>'
    """
    found = _CONTROL_TOKEN.search(text)
    return found[0] if found else None


class Demonstration(BaseModel):
    """A sentence and the one word that stands for it.

    Attributes:
        id: 12 hex digits made from sentence and word; made when missing.
        sentence: already prepared text; it is inserted into the prompt verbatim.
        word: the word the model is shown as the answer.
        source: who paired them, e.g. `openai:<model>`, `local:<model>`, `wordnet`, `starter`.

    Raises:
        ValidationError: empty text, or a character that would break out of the template.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    sentence: Annotated[str, Field(min_length=1)]
    word: Annotated[str, Field(min_length=1)]
    source: str = "user"

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        sentence, word = value.get("sentence"), value.get("word")
        if isinstance(sentence, str) and isinstance(word, str):
            # The id follows from the text, so a line that a person edited gets a new one.
            return {**value, "id": demonstration_id(sentence, word)}
        return value

    @model_validator(mode="after")
    def _stays_inside_the_template(self) -> Self:
        for name in ("sentence", "word"):
            text: str = getattr(self, name)
            if '"' in text:
                raise ValueError(f"{name} holds a double quote, which would end it in the prompt")
            if any(ord(character) < 32 for character in text):
                raise ValueError(f"{name} holds a line break or another control character")
            if not text.strip():
                raise ValueError(f"{name} is blank")
            if found := control_token_in(text):
                raise ValueError(f"{name} holds {found}, which models read as a control token")
        return self


# `DemonstrationsFile` has moved; this path stays importable.
__getattr__ = lazily(__name__, {"DemonstrationsFile": "demosearch.demonstrations_file"})
