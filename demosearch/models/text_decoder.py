"""The text decoder of a multimodal model, e.g. of Gemma 3, Qwen-VL or Llama 4.

torch and transformers are imported inside the functions: configurations are read before either is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demosearch.errors import UserError
from demosearch.models.known import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# The largest relative distance; both passes compute the same products.
_TOLERANCE = 1e-3


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return the configuration of a multimodal model's text decoder; of another model its own."""
    found: PreTrainedConfig = config.get_text_config(decoder=True)
    return found


def is_multimodal(config: PreTrainedConfig) -> bool:
    """Whether a model has a text decoder beside other parts."""
    return text_config(config) is not config


def text_decoder(model: PreTrainedModel) -> PreTrainedModel:
    """Return the text decoder of a multimodal base model, without its head; of another model itself.

    Raises:
        UserError: the model has no decoder that gives the states of the whole model for a text.
    """
    from transformers import MODEL_MAPPING

    config = model.config
    if not is_multimodal(config):
        return model
    wanted: Any = MODEL_MAPPING.get(type(text_config(config)), None)
    decoder: Any = next((part for part in model.modules() if type(part) is wanted), None)
    if decoder is None or not _same_states(model, decoder):
        raise UserError(
            f"models of type '{config.model_type}' are not supported: their text decoder alone does"
            " not give the states of the whole model"
        )
    for name in ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "hf_quantizer"):
        if hasattr(model, name):
            setattr(decoder, name, getattr(model, name))
    found: PreTrainedModel = decoder
    return found


def _same_states(model: PreTrainedModel, decoder: PreTrainedModel) -> bool:
    """Whether a model gives a text the states that its decoder gives it alone.

    Some models read the prompt in both directions, for example.
    """
    from demosearch.models.probe import probe_states

    states, alone = (probe_states(part.eval()) for part in (model, decoder))
    return bool((states - alone).norm() <= _TOLERANCE * states.norm())


def refuse_multimodal(source: ModelSource, config: PreTrainedConfig) -> None:
    """Raise an error for a multimodal model.

    Raises:
        UserError: the model is multimodal.
    """
    if is_multimodal(config):
        raise UserError(
            f"model '{source.name}' is multimodal (type '{config.model_type}'), which cannot be"
            " fine-tuned or exported; use a text model"
        )
