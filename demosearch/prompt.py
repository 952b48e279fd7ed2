"""Prompts: how a sentence, and the demonstrations before it, are put into words for the model.

One `Prompt.render` serves the selector, the embedder, the evaluator and the fine-tuner, so that the
text a demonstration was chosen with is the text it is used with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from demosearch.demonstration import Demonstration, PromptRecord
from demosearch.errors import UserError

TEXT = "{text}"
WORD = "{word}"


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
        query: the part that holds the text to embed; `{text}` stands in it exactly once.
        demonstration: one solved instance; `{text}` and `{word}` each exactly once.
        joiner: what stands between demonstrations, and between the last one and the query.
        preparation: what is done to a text before it is inserted.
        source: where the wording comes from.

    Raises:
        UserError: a placeholder is missing or repeated.
    """

    name: str
    query: str
    demonstration: str
    joiner: str = ""
    preparation: Preparation = Preparation.PAPER
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        wanted = (("query", TEXT), ("demonstration", TEXT), ("demonstration", WORD))
        wrong = [
            f"'{part}' needs {placeholder} exactly once, it has {count}"
            for part, placeholder in wanted
            if (count := getattr(self, part).count(placeholder)) != 1
        ]
        if wrong:
            raise UserError(f"template '{self.name}': {'; '.join(wrong)}")

    def render_demonstration(self, demonstration: Demonstration) -> str:
        """Return the solved instance, its sentence and word inserted verbatim."""
        # One pass, so that a sentence which itself holds "{word}" stays what it is.
        first, second = sorted((TEXT, WORD), key=self.demonstration.index)
        values = {TEXT: demonstration.sentence, WORD: demonstration.word}
        head, _, rest = self.demonstration.partition(first)
        middle, _, tail = rest.partition(second)
        return head + values[first] + middle + values[second] + tail


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template(
            name="prompteol",
            query='This sentence : "{text}" means in one word:"',
            demonstration='This sentence : "{text}" means in one word:"{word}".',
            source="arXiv 2307.16645, section 3.2",
        ),
    )
}
DEFAULT_TEMPLATE = "prompteol"


def find_template(name: str) -> Template:
    """Return a known template.

    Raises:
        UserError: no template has this name.
    """
    if name not in TEMPLATES:
        raise UserError(f"unknown template '{name}'; known: {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with its demonstrations, and the layer whose state is the embedding.

    Attributes:
        template: the wording.
        demonstrations: solved instances in the order in which they stand in the prompt.
        layer: index into transformers' `hidden_states`; None is the last one.
    """

    template: Template = TEMPLATES[DEFAULT_TEMPLATE]
    demonstrations: tuple[Demonstration, ...] = ()
    layer: int | None = None

    @property
    def head(self) -> str:
        """What stands before the text: the same for every sentence."""
        template = self.template
        solved = [template.render_demonstration(one) for one in self.demonstrations]
        return template.joiner.join([*solved, template.query.partition(TEXT)[0]])

    @property
    def tail(self) -> str:
        """What stands after the text: the same for every sentence."""
        return self.template.query.partition(TEXT)[2]

    def prepare(self, text: str) -> str:
        """Return the text as the template wants it."""
        return prepare(text) if self.template.preparation is Preparation.PAPER else text

    def render(self, text: str) -> str:
        """Return the whole prompt for one text.

        >>> print(Prompt().render("A cat sleeps"))
        This sentence : "A cat sleeps." means in one word:"
        """
        return self.head + self.prepare(text) + self.tail

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
            pooling="last",
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
        )
        return cls(template, tuple(record.demonstrations), record.layer if layer is None else layer)
