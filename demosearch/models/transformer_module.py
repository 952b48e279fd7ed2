"""A model as the first module of a SentenceTransformer, for training, export and comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demosearch.errors import UserError

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.modules import Transformer


def transformer_module(
    path: str, options: dict[str, Any], *, layer: int | None = None, chat_template: bool = False
) -> Transformer:
    """Return a model whose token embeddings are the states of one layer.

    Args:
        path: hub id or folder.
        options: keyword arguments of transformers' `from_pretrained`.
        layer: index into `hidden_states`; None is the model's output, which does not keep the states
            of the other layers in memory.
        chat_template: put every text into the tokenizer's chat template as a user's message;
            otherwise texts are used unchanged, even if the model has a chat template.
    """
    from sentence_transformers.sentence_transformer.modules import Transformer

    state: Any = "last_hidden_state" if layer is None else ["hidden_states", layer]
    entry = {"method": "forward", "method_output_name": state}
    messages = {"message": {**entry, "format": "flat"}} if chat_template else {}
    return Transformer(
        path,
        model_kwargs={**options, "trust_remote_code": False},
        processor_kwargs={"trust_remote_code": False},
        config_kwargs={"trust_remote_code": False},
        modality_config={"text": entry, **messages},
        module_output_name="token_embeddings",
    )


def pad(transformer: Transformer, side: str) -> None:
    """Let a tokenizer pad on one side, `left` or `right`, and give it a padding token if it has none.

    The padding token is another special token, because an ordinary one would change how texts that
    contain it are tokenized.

    Padding on the right changes nothing in a decoder. Padding on the left shifts learned positions,
    unless the model derives them from the attention mask, because sentence-transformers does not pass
    positions.

    Raises:
        UserError: the tokenizer has no special token.
    """
    tokenizer = transformer.tokenizer
    tokenizer.padding_side = side
    if tokenizer.pad_token is not None:
        return
    special = (tokenizer.eos_token, tokenizer.bos_token, *tokenizer.all_special_tokens)
    token = next((token for token in special if token is not None), None)
    if token is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} must have a special token for padding but has"
            " none; set pad_token in its tokenizer_config.json"
        )
    tokenizer.pad_token = token
