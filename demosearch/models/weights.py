"""What can be known about weights without loading them: how many, how large, and whether any are missing."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError
from demosearch.models.known import ModelSource
from demosearch.models.options import LoadOptions
from demosearch.models.precision import Precision, default_device, dtype_of, memory_of
from demosearch.models.source import load_errors, weights_path
from demosearch.models.text_decoder import refuse_multimodal


def count_parameters(config: PreTrainedConfig) -> tuple[int, int]:
    """Return how many weights a base model has, and how many of them are in linear layers."""
    with torch.device("meta"):
        model = AutoModel.from_config(config, trust_remote_code=False)
    total = sum(parameter.numel() for parameter in model.parameters())
    linear = sum(
        parameter.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
        for parameter in module.parameters()
    )
    return total, linear


def weights_bytes(source: ModelSource, precision: Precision) -> int:
    """Return the bytes a model's weights take at a precision, from its configuration alone.

    Raises:
        UserError: the configuration cannot be read.
    """
    dtype = dtype_of(precision, default_device())
    path, _ = weights_path(source, dtype, any_type=True)
    with quiet_transformers(), load_errors(source):
        total, linear = count_parameters(AutoConfig.from_pretrained(path, trust_remote_code=False))
    return memory_of(linear, total - linear, precision)


def check_weights(source: ModelSource, path: str, options: LoadOptions | None = None) -> None:
    """Check, without loading them, that a text model's weights are complete.

    Args:
        source: what `resolve` returned.
        path: what transformers loads the model from.
        options: whether weights in pickle format are accepted.

    Raises:
        UserError: a weight is missing, or the model is multimodal.
    """
    with quiet_transformers(), load_errors(source):
        refuse_multimodal(source, AutoConfig.from_pretrained(path, trust_remote_code=False))
        _, report = AutoModel.from_pretrained(
            path,
            trust_remote_code=False,
            device_map="meta",
            use_safetensors=LoadOptions.of(options).use_safetensors,
            output_loading_info=True,
        )
    refuse_missing(source, report)


def refuse_missing(source: ModelSource, report: dict[str, Any]) -> None:
    """Raise an error if transformers reports missing weights, which it initializes at random.

    Raises:
        UserError: a weight is missing.
    """
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"model '{source.name}' has no weights for {missing[0]} ({len(missing)} missing in total),"
            " so that they would be random; use a complete model"
        )
