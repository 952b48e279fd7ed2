"""Loading weights at a precision, on one device or spread over several."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    DistributedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError
from demosearch.models.adapter import put_adapter_on
from demosearch.models.choice import automatic_precision
from demosearch.models.gguf import quantization_of
from demosearch.models.known import ModelSource, Origin
from demosearch.models.memory import free_memory
from demosearch.models.options import LoadOptions
from demosearch.models.packaged import describe_package
from demosearch.models.precision import (
    Precision,
    default_device,
    dtype_of,
    limit_packing,
    quantization_config,
)
from demosearch.models.records import AdapterRecord, ModelRecord
from demosearch.models.revision import revision_of
from demosearch.models.source import load_errors, weights_path
from demosearch.models.text_decoder import text_config, text_decoder
from demosearch.models.weights import count_parameters, refuse_missing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights and tokenizer in memory, and the record of what exactly they are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    record: ModelRecord
    adapter: AdapterRecord | None


def load(
    source: ModelSource,
    options: LoadOptions | None = None,
    *,
    split: bool = False,
    head: bool = False,
    **keywords: Any,
) -> LoadedModel:
    """Load weights and tokenizer.

    Args:
        source: what `resolve` returned.
        options: precision, devices and adapter; None means the defaults. With several `devices` the
            layers are spread over them in order, and inputs enter at the first one. Weights in pickle
            format are read by torch's unpickler, which is restricted to tensors.
        split: split every layer over the processes that torchrun has started.
        head: also load the language-model head, which only the local labeler needs.
        **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

    Raises:
        UserError: the weights cannot be found or read; the message says what to do.
    """
    options = LoadOptions.of(options, **keywords)
    devices = options.device_names
    device = devices[0] if devices else options.device or default_device()
    precision = options.precision or automatic_precision(source, device)
    dtype = dtype_of(precision, device)
    path, revision = weights_path(source, dtype)
    architecture = AutoModelForCausalLM if head else AutoModel
    with quiet_transformers(), load_errors(source, device):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if split:
            _check_can_be_split(config)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        # Counted here: a quantized or split model holds fewer numbers.
        parameters, _ = count_parameters(text_config(config))
        model, report = architecture.from_pretrained(
            path,
            config=config,
            trust_remote_code=False,
            dtype=dtype,
            quantization_config=quantization_config(precision, dtype),
            use_safetensors=options.use_safetensors,
            output_loading_info=True,
            **_device_arguments(device, devices, split),
        )
        refuse_missing(source, report)
        if precision is Precision.NF4:
            # Before the first pass, in which bitsandbytes packs weights.
            limit_packing(model, trained=False)
        decoder = model if head else text_decoder(model)
    if architecture.__name__ in (getattr(config, "auto_map", None) or {}):
        logger.warning(
            "model '%s' has code of its own (auto_map), which is never run; it was loaded as"
            " transformers' %s",
            source.name,
            type(model).__name__,
        )
    revision = revision or revision_of(source, model.config)
    adapter = put_adapter_on(decoder, options)
    decoder.eval()
    record = ModelRecord(
        name=source.name,
        source=_describe(source),
        revision=revision,
        precision=precision.value,
        parameters=parameters,
        quantization=quantization_of(source),
    )
    return LoadedModel(decoder, tokenizer, record, adapter)


def _describe(source: ModelSource) -> str:
    """Return what files record as the source of the weights."""
    if source.origin is Origin.PACKAGE:
        # Earlier versions wrote this spelling into studies and demonstrations files, and it is part
        # of the keys under which scores are stored.
        return f"{describe_package(source.source)}, dequantised"
    return source.source


def _check_can_be_split(config: Any) -> None:
    if not config.base_model_tp_plan:
        raise UserError(
            f"models of type '{config.model_type}' cannot be split by torchrun; start one process and"
            " spread the model with --devices"
        )


def _device_arguments(device: str, devices: Sequence[str] | None, split: bool) -> dict[str, Any]:
    """Return transformers' arguments for where the weights go."""
    if split:
        return {"distributed_config": DistributedConfig(tp_plan="auto")}
    if devices is None or len(devices) == 1:
        return {"device_map": {"": device}}
    # accelerate fills the devices in order and leaves out those that are not named.
    room: dict[int | str, int] = {
        name if (index := torch.device(name).index) is None else index: free_memory(name)
        for name in devices
    }
    return {"device_map": "auto", "max_memory": room}
