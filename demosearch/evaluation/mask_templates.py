"""Prompts for models with a mask token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demosearch.errors import UserError

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.modules import Transformer

TEXT, MASK = "{text}", "{mask}"


@dataclass(frozen=True, slots=True)
class MaskTemplate:
    """A prompt in which the state of the mask token is the embedding.

    Attributes:
        name: the name that `--template` accepts.
        query: the prompt, with `{text}` and `{mask}`.
        source: the publication of the wording.
    """

    name: str
    query: str
    source: str

    def render(self, text: str, mask: str) -> str:
        """Return the prompt for a text; a missing final full stop is added, as in the authors' code."""
        if text and text[-1] not in ".?\"'":
            text += "."
        head, _, tail = self.query.partition(TEXT)
        return head + text + tail.replace(MASK, mask)


_PROMPTBERT = "arXiv 2201.04337, and its authors' code"
MASK_TEMPLATES: dict[str, MaskTemplate] = {
    template.name: template
    for template in (
        MaskTemplate("bert-prompt", 'This sentence : "{text}" means{mask}.', _PROMPTBERT),
        MaskTemplate("promptbert", 'This sentence of "{text}" means{mask}.', _PROMPTBERT),
        MaskTemplate("promptroberta", "This sentence : ' {text} ' means{mask}.", _PROMPTBERT),
    )
}


def find_mask_template(name: str | None, transformer: Transformer, model: str) -> MaskTemplate:
    """Return the mask template with a name.

    Args:
        name: a key of `MASK_TEMPLATES`; None means the template for the model's type.
        transformer: the model.
        model: its name, for errors.

    Raises:
        UserError: the name is unknown, or the model has no mask token.
    """
    if transformer.tokenizer.mask_token is None:
        raise UserError(f"method prompt requires a mask token, and '{model}' has none; use mean")
    if name is None:
        roberta = "roberta" in transformer.auto_model.config.model_type
        return MASK_TEMPLATES["promptroberta" if roberta else "bert-prompt"]
    if name not in MASK_TEMPLATES:
        raise UserError(f"template must be one of {', '.join(MASK_TEMPLATES)} but got '{name}'")
    return MASK_TEMPLATES[name]
