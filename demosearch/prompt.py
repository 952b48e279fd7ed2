"""Prompts: how a sentence, and the demonstrations before it, are put into words for the model.

One `Prompt.render` serves the selector, the embedder, the evaluator and the fine-tuner, so that the
text a demonstration was chosen with is the text it is used with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError

TEXT = "{text}"
WORD = "{word}"
DEMONSTRATIONS = "{demonstrations}"
_QUOTED_DEMONSTRATION = 'This sentence : "{text}" means in one word:"{word}".'


class Pooling(StrEnum):
    """Which states of a prompt's tokens are the embedding."""

    LAST = "last"
    #: the mean over the tokens of the text, of its last copy where the template holds two
    MEAN = "mean"


class Preparation(StrEnum):
    """What is done to a text before it is put into a template."""

    PAPER = "paper"
    NONE = "none"


def prepare(text: str) -> str:
    """Prepare a text as the paper's code does.

    A full stop is appended where the last character is none of `.?"'`, double quotes become single
    ones (a double quote would end the sentence inside the template), and a final question mark
    becomes a full stop. Empty text stays empty. Preparing twice is preparing once.

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


@dataclass(frozen=True, slots=True)
class Template:
    """The wording of a prompt, with `{text}` and `{word}` where the sentence and its word go.

    Attributes:
        name: how commands and files call it.
        query: the part that holds the text to embed. `{text}` stands in it once (or twice, where the
            mean over the second copy is the embedding); `{demonstrations}` at most once, before it:
            that is where the solved instances go, in front of everything if it is missing.
        demonstration: one solved instance; `{text}` and `{word}` each exactly once. Empty for a
            template that takes none.
        joiner: what stands between demonstrations, and after the last one.
        preparation: what is done to a text before it is inserted.
        pooling: which states are the embedding.
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
        wrong = list(_misplaced(self))
        if wrong:
            raise UserError(f"template '{self.name}': {'; '.join(wrong)}")

    @property
    def takes_demonstrations(self) -> bool:
        """Whether there is a form for solved instances."""
        return bool(self.demonstration)

    def render_demonstration(self, demonstration: Demonstration) -> str:
        """Return the solved instance, its sentence and word inserted verbatim."""
        # One pass, so that a sentence which itself holds "{word}" stays what it is.
        first, second = sorted((TEXT, WORD), key=self.demonstration.index)
        values = {TEXT: demonstration.sentence, WORD: demonstration.word}
        head, _, rest = self.demonstration.partition(first)
        middle, _, tail = rest.partition(second)
        return head + values[first] + middle + values[second] + tail


def _misplaced(template: Template) -> Iterator[str]:
    """Yield what is wrong with a template's placeholders."""
    copies = (1, 1) if template.pooling is Pooling.LAST else (1, 2)
    allowed = [("query", TEXT, copies), ("query", DEMONSTRATIONS, (0, 1))]
    if template.demonstration:
        allowed += [("demonstration", TEXT, (1, 1)), ("demonstration", WORD, (1, 1))]
    times = {(1, 1): "exactly once", (1, 2): "once or twice", (0, 1): "at most once"}
    for part, placeholder, (fewest, most) in allowed:
        count = getattr(template, part).count(placeholder)
        if not fewest <= count <= most:
            yield f"'{part}' needs {placeholder} {times[fewest, most]}, it has {count}"
    if DEMONSTRATIONS in template.query.partition(TEXT)[2]:
        yield f"in 'query' {DEMONSTRATIONS} must stand before {TEXT}"


PROMPTEOL = Template(
    name="prompteol",
    query='This sentence : "{text}" means in one word:"',
    source="arXiv 2307.16645, section 3.2",
)


class PromptRecord(BaseModel):
    """One prompt with its full texts; several are averaged by weight."""

    model_config = ConfigDict(extra="forbid")

    template: str = Field(description="name of the template")
    query: str = Field(
        description="text of the query part, with {text} and, if not in front, {demonstrations}"
    )
    demonstration: str = Field(
        description="text of one demonstration, with {text} and {word}; empty: takes none"
    )
    joiner: str = Field(description="text between demonstrations and after the last one")
    preparation: Literal["paper", "none"] = Field(description="what is done to a text first")
    pooling: Literal["last", "mean"] = Field(
        description="the last token's state, or the mean over the text (its last copy)"
    )
    layer: int = Field(ge=0, description="index into transformers' hidden_states")
    demonstrations: list[Demonstration] = Field(description="in the order of the prompt")
    weight: float = Field(gt=0, description="share of this prompt in the mean")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with its demonstrations, and the layer whose state is the embedding.

    Attributes:
        template: the wording.
        demonstrations: solved instances in the order in which they stand in the prompt.
        layer: index into transformers' `hidden_states`; None is the last one.
    """

    template: Template = PROMPTEOL
    demonstrations: tuple[Demonstration, ...] = ()
    layer: int | None = None

    def __post_init__(self) -> None:
        if self.demonstrations and not self.template.takes_demonstrations:
            raise UserError(f"template '{self.template.name}' takes no demonstrations")

    @property
    def parts(self) -> list[str]:
        """The prompt's text around the copies of the text: one more part than there are copies."""
        template = self.template
        solved = "".join(
            template.render_demonstration(one) + template.joiner for one in self.demonstrations
        )
        first, *rest = template.query.split(TEXT)
        before, slot, after = first.partition(DEMONSTRATIONS)
        return [before + solved + after if slot else solved + first, *rest]

    @property
    def head(self) -> str:
        """What stands before the text: the same for every sentence."""
        return self.parts[0]

    @property
    def tail(self) -> str:
        """What stands after the last copy of the text: the same for every sentence."""
        return self.parts[-1]

    def prepare(self, text: str) -> str:
        """Return the text as the template wants it."""
        return prepare(text) if self.template.preparation is Preparation.PAPER else text

    def render(self, text: str) -> str:
        """Return the whole prompt for one text.

        >>> print(Prompt().render("A cat sleeps"))
        This sentence : "A cat sleeps." means in one word:"
        """
        return self.prepare(text).join(self.parts)

    def with_demonstrations(self, *demonstrations: Demonstration) -> Prompt:
        """Return the same prompt with other demonstrations."""
        return replace(self, demonstrations=demonstrations)

    def record(self, layer: int, weight: float = 1.0) -> PromptRecord:
        """Return the prompt with its full texts, as files keep it; `layer` is resolved already."""
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
        """Return the prompt that a file describes by its full texts; `layer` overrides the file's."""
        template = Template(
            name=record.template,
            query=record.query,
            demonstration=record.demonstration,
            joiner=record.joiner,
            preparation=Preparation(record.preparation),
            pooling=Pooling(record.pooling),
        )
        return cls(template, tuple(record.demonstrations), record.layer if layer is None else layer)
