"""Prompts: templates that turn a sentence and its demonstrations into text for the model.

Selection, embedding, evaluation and fine-tuning all use `Prompt.render`, so that a demonstration is used
with exactly the text it was chosen with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from demosearch._common.words import fold, without_final_punctuation
from demosearch.demonstration import Demonstration, as_demonstrations
from demosearch.errors import UserError

TEXT = "{text}"
WORD = "{word}"
DEMONSTRATIONS = "{demonstrations}"
_QUOTED_DEMONSTRATION = 'This sentence : "{text}" means in one word:"{word}".'


class Pooling(StrEnum):
    """Which tokens of a prompt provide the embedding."""

    LAST = "last"
    #: the mean over the tokens of the text, or of its second copy if the template has two
    MEAN = "mean"


class Preparation(StrEnum):
    """How a text is changed before it is inserted into a template."""

    PAPER = "paper"
    NONE = "none"


def prepare(text: str) -> str:
    """Prepare a text as the paper's code does.

    A period is appended unless the last character is one of `.?"'`. Double quotes become single quotes,
    because a double quote would end the sentence inside the template. A final question mark becomes a
    period. Empty text stays empty. Preparing a text twice gives the same result as preparing it once.

    >>> prepare('She said "no"')
    "She said 'no'"
    >>> prepare("Is it raining?")
    'Is it raining.'
    """
    text = text.strip()
    if not text:
        return ""
    if text[-1] not in ".?\"'":
        text += "."
    text = text.replace('"', "'")
    if text[-1] == "?":
        text = text[:-1] + "."
    return text


def comparison_key(text: str) -> str:
    """Return a key that is the same for texts that count as the same sentence.

    Case, the final punctuation marks, the Unicode form and the points of Hebrew and Arabic are ignored,
    so that no spelling of a dev or test sentence becomes a demonstration.

    >>> comparison_key("Is it raining?") == comparison_key("is it raining")
    True
    """
    return without_final_punctuation(fold(prepare(text)))


@dataclass(frozen=True, slots=True)
class Template:
    """The wording of a prompt, with placeholders `{text}`, `{word}` and `{demonstrations}`.

    Attributes:
        name: the name of the template in commands and files.
        query: the part with the text to embed. It contains `{text}` once, or twice if the embedding is
            the mean over the second copy, and `{demonstrations}` at most once before `{text}`. Without
            that placeholder, demonstrations are put in front of the query.
        demonstration: the form of a demonstration; contains `{text}` and `{word}` exactly once. Empty if
            the template takes no demonstrations.
        joiner: text between demonstrations and after the last one.
        preparation: how a text is changed before it is inserted.
        pooling: which tokens provide the embedding.
        source: where the wording comes from.

    Raises:
        UserError: a placeholder is missing, repeated or misplaced.
    """

    name: str
    query: str
    demonstration: str = _QUOTED_DEMONSTRATION
    joiner: str = ""
    preparation: Preparation = Preparation.PAPER
    pooling: Pooling = Pooling.LAST
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        mistakes = list(_misplaced(self))
        if mistakes:
            raise UserError(f"template '{self.name}': {'; '.join(mistakes)}")

    @property
    def takes_demonstrations(self) -> bool:
        """Whether the template has a form for demonstrations."""
        return bool(self.demonstration)

    def render_demonstration(self, demonstration: Demonstration) -> str:
        """Return the text of a demonstration; sentence and word are inserted verbatim."""
        # A single pass, so that "{word}" inside a sentence is not replaced.
        first, second = sorted((TEXT, WORD), key=self.demonstration.index)
        values = {TEXT: demonstration.sentence, WORD: demonstration.word}
        head, _, rest = self.demonstration.partition(first)
        middle, _, tail = rest.partition(second)
        return head + values[first] + middle + values[second] + tail


def _misplaced(template: Template) -> Iterator[str]:
    """Yield the mistakes in the placeholders of a template."""
    copies = (1, 1) if template.pooling is Pooling.LAST else (1, 2)
    allowed = [("query", TEXT, copies), ("query", DEMONSTRATIONS, (0, 1))]
    if template.demonstration:
        allowed += [("demonstration", TEXT, (1, 1)), ("demonstration", WORD, (1, 1))]
    times = {(1, 1): "exactly once", (1, 2): "once or twice", (0, 1): "at most once"}
    for part, placeholder, (fewest, most) in allowed:
        count = getattr(template, part).count(placeholder)
        if not fewest <= count <= most:
            yield f"'{part}' must contain {placeholder} {times[fewest, most]} but contains it {count} times"
    if DEMONSTRATIONS in template.query.partition(TEXT)[2]:
        yield f"in 'query' {DEMONSTRATIONS} must come before {TEXT}"


PROMPTEOL = Template(
    name="prompteol",
    query='This sentence : "{text}" means in one word:"',
    source="arXiv 2307.16645, section 3.2",
)


class PromptRecord(BaseModel):
    """A prompt with its full texts, as files record it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    template: str = Field(description="name of the template")
    query: str = Field(
        description="text of the query, with {text} and, unless demonstrations come first,"
        " {demonstrations}"
    )
    demonstration: str = Field(
        description="text of a demonstration, with {text} and {word}; empty: no demonstrations"
    )
    joiner: str = Field(description="text between demonstrations and after the last one")
    preparation: Literal["paper", "none"] = Field(description="how a text is changed first")
    pooling: Literal["last", "mean"] = Field(
        description="the state of the last token, or the mean over the text (its last copy)"
    )
    layer: int = Field(ge=0, description="index into transformers' hidden_states")
    demonstrations: list[Demonstration] = Field(description="in the order of the prompt")
    weight: float = Field(gt=0, description="weight of this prompt in the mean")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with its demonstrations, and the layer whose state is the embedding.

    Attributes:
        template: the wording.
        demonstrations: demonstrations in the order of the prompt.
        layer: index into transformers' `hidden_states`; None is the last layer.
    """

    template: Template = PROMPTEOL
    demonstrations: tuple[Demonstration, ...] = ()
    layer: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "demonstrations", as_demonstrations(self.demonstrations))
        if self.demonstrations and not self.template.takes_demonstrations:
            raise UserError(f"template '{self.template.name}' takes no demonstrations")

    @property
    def parts(self) -> list[str]:
        """The parts of the prompt around the copies of the text, one more than there are copies."""
        template = self.template
        shown = "".join(
            template.render_demonstration(demonstration) + template.joiner
            for demonstration in self.demonstrations
        )
        first, *rest = template.query.split(TEXT)
        before, slot, after = first.partition(DEMONSTRATIONS)
        return [before + shown + after if slot else shown + first, *rest]

    @property
    def head(self) -> str:
        """The part before the text, which is the same for every sentence."""
        return self.parts[0]

    @property
    def tail(self) -> str:
        """The part after the last copy of the text, which is the same for every sentence."""
        return self.parts[-1]

    def prepare(self, text: str) -> str:
        """Return the text as the template requires it."""
        return prepare(text) if self.template.preparation is Preparation.PAPER else text

    def render(self, text: str) -> str:
        """Return the complete prompt for a text.

        >>> print(Prompt().render("A cat sleeps"))
        This sentence : "A cat sleeps." means in one word:"
        """
        return self.prepare(text).join(self.parts)

    def with_demonstrations(self, *demonstrations: Demonstration) -> Prompt:
        """Return the same prompt with other demonstrations."""
        return replace(self, demonstrations=demonstrations)

    def record(self, layer: int, weight: float = 1.0) -> PromptRecord:
        """Return the prompt with its full texts, as files record it.

        Args:
            layer: non-negative index into `hidden_states`.
            weight: of the prompt in the mean over several prompts.
        """
        template = self.template
        return PromptRecord(
            template=template.name,
            query=template.query,
            demonstration=template.demonstration,
            joiner=template.joiner,
            preparation=template.preparation.value,
            pooling=template.pooling.value,
            layer=layer,
            demonstrations=list(self.demonstrations),
            weight=weight,
        )

    @classmethod
    def of(cls, record: PromptRecord, layer: int | None = None) -> Prompt:
        """Return the prompt of a record; `layer` replaces the layer of the record."""
        template = Template(
            name=record.template,
            query=record.query,
            demonstration=record.demonstration,
            joiner=record.joiner,
            preparation=Preparation(record.preparation),
            pooling=Pooling(record.pooling),
        )
        return cls(template, tuple(record.demonstrations), record.layer if layer is None else layer)
