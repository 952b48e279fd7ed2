"""A model as the first module of sentence-transformers: for training, for export, for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.modules import Transformer


def transformer_module(
    place: str, options: dict[str, Any], *, layer: int | None = None, chat_template: bool = False
) -> Transformer:
    """Return a model whose token embeddings are the states of one layer.

    Args:
        place: what transformers loads it from.
        options: what transformers is told besides.
        layer: index into `hidden_states`; None is the model's output, which costs no memory for the
            other layers.
        chat_template: put every text into the tokenizer's chat template as a user's message;
            otherwise a text is what it is, whatever chat template a model brings.
    """
    from sentence_transformers.sentence_transformer.modules import Transformer

    state: Any = "last_hidden_state" if layer is None else ["hidden_states", layer]
    entry = {"method": "forward", "method_output_name": state}
    messages = {"message": {**entry, "format": "flat"}} if chat_template else {}
    return Transformer(
        place,
        model_kwargs=options,
        modality_config={"text": entry, **messages},
        module_output_name="token_embeddings",
    )


def pad(transformer: Transformer, side: str) -> None:
    """Pad texts on one side, `left` or `right`, with whatever the tokenizer has.

    Behind a text padding changes nothing in a decoder. In front of it learned positions are others,
    unless the model counts them by the attention mask: sentence-transformers gives it no positions.
    """
    tokenizer = transformer.tokenizer
    tokenizer.padding_side = side
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
