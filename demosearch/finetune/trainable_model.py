"""The trainable model: the prompted model with a new LoRA adapter, and its loss."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError, one_line
from demosearch.finetune.settings import FinetuneSettings
from demosearch.models.known import Precision, resolve
from demosearch.models.options import LoadOptions
from demosearch.models.precision import dtype_of, limit_packing, quantization_config
from demosearch.models.source import load_errors, weights_path
from demosearch.models.transformer_module import pad, transformer_module
from demosearch.models.weights import check_weights
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_model(
    model: str,
    precision: Precision,
    device: str,
    prompt: Prompt,
    settings: FinetuneSettings,
    options: LoadOptions,
) -> SentenceTransformer:
    """Return the base model with last-token pooling and a new LoRA adapter on all linear layers.

    Args:
        model: known name, hub id, folder or GGUF file.
        precision: number format of the frozen weights.
        device: a torch device.
        prompt: its layer is the one that is trained.
        settings: of the LoRA adapter.
        options: whether pickle files may be read.

    Raises:
        UserError: the weights cannot be loaded, or no adapter can be trained on them.
    """
    from peft import LoraConfig, prepare_model_for_kbit_training
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import set_seed
    from transformers.pytorch_utils import Conv1D

    from demosearch.encoder.layers import state_width
    from demosearch.encoder.padding import find_padding_side
    from demosearch.encoder.route import check_supported

    source = resolve(model)
    dtype = dtype_of(precision, device)
    path, _ = weights_path(source, dtype)
    arguments: dict[str, Any] = {"dtype": dtype, "use_safetensors": options.use_safetensors}
    if precision.quantized:
        arguments |= {
            "quantization_config": quantization_config(precision, dtype),
            "device_map": {"": device},
        }
    check_weights(source, path, options)
    with quiet_transformers(), load_errors(source):
        # Prompts are rendered already; the chat template of a chat model must not be applied.
        transformer = transformer_module(path, arguments, layer=prompt.layer)
    base = transformer.auto_model
    check_supported(base)
    pad(transformer, find_padding_side(base, ("right",), "fine-tuned"))
    end_at_the_prompt(transformer.tokenizer)
    if precision.quantized:
        prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
        limit_packing(base, trained=True)
    # The initial weights of the adapter are random.
    set_seed(settings.seed)
    config = LoraConfig(
        task_type="FEATURE_EXTRACTION",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=_targets(base, prompt.layer),
        # GPT-2 stores its weights transposed.
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in base.modules()),
    )
    try:
        with warnings.catch_warnings():
            # PEFT warns of patterns that it adds itself for fused experts.
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern", RuntimeWarning)
            base.add_adapter(config)
    except ValueError as error:
        if settings.lora_dropout and "lora_dropout" in str(error):
            raise UserError(
                f"lora_dropout must be 0 for models of type '{base.config.model_type}' but got"
                f" {settings.lora_dropout}: the weights of their experts are one tensor"
            ) from error
        raise UserError(
            f"models of type '{base.config.model_type}' cannot be fine-tuned:"
            f" {one_line(error, 200)}"
        ) from error
    _check_runs(base)
    _check_can_be_loaded(base)
    for parameter in base.parameters():
        if parameter.requires_grad:
            # In 16 bits, small updates of Adam would be rounded to zero.
            parameter.data = parameter.data.float()
    if settings.gradient_checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    pooling = Pooling(state_width(base.config, prompt.layer), "lasttoken")
    return SentenceTransformer(modules=[transformer, pooling], device=device)


def _check_runs(base: PreTrainedModel) -> None:
    """Check that a model runs with its new adapter: PEFT wraps some layers whose output it cannot add to."""
    import torch

    from demosearch.encoder.token_budget import is_out_of_memory

    try:
        with torch.no_grad():
            base(input_ids=torch.tensor([[1, 1, 1]], device=base.device), use_cache=False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"models of type '{base.config.model_type}' cannot be fine-tuned, because they do not run with"
            f" a LoRA adapter: {one_line(error, 200)}"
        ) from error


def _check_can_be_loaded(base: PreTrainedModel) -> None:
    """Check that PEFT finds the weights of the new adapter again by the names that it gives them.

    When PEFT loads an adapter, it renames the weights as transformers renames those of old checkpoints. For
    some types the patterns also match current names; checkpoints of a training are then not restored.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    weights = get_peft_model_state_dict(base, adapter_name=base.active_adapters()[0])
    result = set_peft_model_state_dict(base, weights, adapter_name=base.active_adapters()[0])
    if unexpected := sorted(result.unexpected_keys):
        raise UserError(
            f"models of type '{base.config.model_type}' cannot be fine-tuned, because PEFT does not load"
            f" their adapters: it reads a weight as {unexpected[0]}"
        )


def end_at_the_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a tokenizer append nothing to a text, so that the last token is the prompt's, as in `Encoder`.

    Raises:
        UserError: the tokenizer always appends a token.
    """
    from tokenizers import processors

    from demosearch.encoder.tokens import beginning_tokens, prompt_ids

    text = ["a"]
    wanted = prompt_ids(tokenizer, text)
    if tokenizer(text)["input_ids"] == wanted:
        return
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        begin = beginning_tokens(tokenizer)
        names = tokenizer.convert_ids_to_tokens(begin)
        backend.post_processor = processors.TemplateProcessing(
            single=[*names, "$A"], special_tokens=list(dict(zip(names, begin, strict=True)).items())
        )
    if tokenizer(text)["input_ids"] != wanted:
        raise UserError(
            "fine-tuning requires a tokenizer that appends no token to a text, but this one does; use"
            " another model"
        )


def contrastive_loss(
    model: SentenceTransformer, settings: FinetuneSettings, processes: int
) -> torch.nn.Module:
    """Return the InfoNCE loss over the whole batch, including the texts of all processes."""
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )

    options = {"scale": 1 / settings.temperature, "gather_across_devices": processes > 1}
    if settings.mini_batch_size is not None:
        options["mini_batch_size"] = settings.mini_batch_size
        cached: torch.nn.Module = CachedMultipleNegativesRankingLoss(model, **options)
        return cached
    loss: torch.nn.Module = MultipleNegativesRankingLoss(model, **options)
    return loss


def _targets(base: PreTrainedModel, layer: int | None) -> str | list[str]:
    """Return the linear layers that contribute to the states of a layer; None is the last layer."""
    if layer is None:
        return "all-linear"
    import torch
    from transformers.pytorch_utils import Conv1D

    from demosearch.encoder.layers import decoder_layers

    below = {id(part) for block in decoder_layers(base)[:layer] for part in block.modules()}
    return [
        name
        for name, part in base.named_modules()
        if isinstance(part, (torch.nn.Linear, Conv1D)) and id(part) in below
    ]
