"""Whether transformers reads all of a GGUF file: its family, its settings and its weights.

transformers ignores settings and tensors that it does not know, which would give wrong states without a
message. Here every setting has a rule, and a file with another setting is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from transformers import PreTrainedConfig, PreTrainedModel, __version__
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS, is_gguf_arch_supported
from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

from demosearch.errors import UserError, short
from demosearch.models.gguf_header import Header

# llama.cpp's names of families that transformers spells differently.
_SPELLINGS = {"qwen2moe", "qwen3moe", "gpt-oss", "minimax-m2"}
_ENCODER_DECODERS = {"t5", "t5encoder", "umt5"}
# Entries of transformers' table that are no families.
_NO_FAMILIES = {"general", "tokenizer"}
# Factors by which LLaMA 3.1 and later divide the frequencies of the positions.
_FREQUENCIES = "rope_freqs.weight"
_OUTPUT = "output.weight"
_ADVICE = "use the model's own folder or hub id"


def check_family(header: Header) -> None:
    """Check that transformers reads this family of models from GGUF files.

    Raises:
        UserError: it does not, the model has an encoder and a decoder, or the file is one of several.
    """
    name = header.architecture
    if header.settings.get("split.count", 1) > 1:
        raise UserError(
            f"model file {header.path} is one of {header.settings['split.count']} parts; join them with"
            " llama.cpp's: llama-gguf-split --merge"
        )
    if name in _ENCODER_DECODERS:
        raise UserError(
            f"model file {header.path} is of the family '{name}', which has an encoder and a decoder; use"
            " a decoder-only model"
        )
    if name in GGUF_SUPPORTED_ARCHITECTURES or name in _SPELLINGS or is_gguf_arch_supported(name):
        return
    families = (
        {*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_CONFIG_ARCHS} - _NO_FAMILIES - _ENCODER_DECODERS
    )
    raise UserError(
        f"model file {header.path} is of the family '{name}', which transformers {__version__} cannot"
        f" read from GGUF files; {_ADVICE}, or one of the families {', '.join(sorted(families))}"
    )


def check_extent(header: Header) -> None:
    """Check that the file holds all of its weights, in types that can be read.

    Raises:
        UserError: the file is cut or damaged, or a type is unknown.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    end = header.start
    for name, tensor in header.tensors.items():
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError):
            raise UserError(
                f"model file {header.path} stores {short(name)!r} in the format number {tensor.kind},"
                " which the package gguf does not know; update it, or use another quantization"
            ) from None
        if tensor.count % block:
            raise UserError(
                f"model file {header.path} is damaged ({short(name)!r} has {tensor.count:,} weights);"
                " download it again"
            )
        end = max(end, header.start + tensor.offset + tensor.count // block * size)
    if header.size < end:
        raise UserError(
            f"model file {header.path} must have {end:,} bytes but has {header.size:,}, so that it is cut;"
            " download it again"
        )


def complete_config(header: Header, config: PreTrainedConfig) -> None:
    """Check the settings against the configuration that transformers made of them, and complete it.

    Args:
        header: of the file.
        config: changed in place: the scaling of the positions, which transformers does not read.

    Raises:
        UserError: a setting is not part of the configuration, so that states would be wrong.
    """
    # transformers has a function for each of these families, which reads every setting.
    if header.architecture not in GGUF_CONFIG_ARCHS:
        settings = header.own_settings()
        for key, value in settings.items():
            if not _is_met(key, value, settings, config):
                raise _inexact(
                    header, f"setting {header.architecture}.{key} is {short(str(value))}"
                )
    heads = getattr(config, "query_pre_attn_scalar", None)
    if heads is not None and heads != _head_width(config):
        # Gemma 2 and 3 of 27B scale attention by another number, which the file does not hold.
        raise _inexact(header, f"attention is scaled for heads of {heads} dimensions")
    if _FREQUENCIES in header.tensors:
        _scale_frequencies(header, config)


def check_all_is_used(header: Header, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Check that a model has all weights of a file and no others.

    Args:
        header: of the file.
        model: the model that transformers made of it.
        missing: the weights that transformers did not find in the file.

    Raises:
        UserError: a weight is missing, or weights of the file were not used.
    """
    if names := sorted(missing):
        raise UserError(
            f"model file {header.path} has no weights for {names[0]} ({len(names)} missing in total), so"
            " that they would be random; use a complete model"
        )
    unused = {_FREQUENCIES}
    if model.config.tie_word_embeddings:
        unused.add(_OUTPUT)
    there = sum(tensor.count for name, tensor in header.tensors.items() if name not in unused)
    # Tied weights are one tensor under two names.
    weights = {part.data_ptr(): part.numel() for part in model.state_dict().values()}
    if (used := sum(weights.values())) != there:
        raise _inexact(
            header, f"number of weights is {there:,}, of which transformers reads {used:,}"
        )


def _inexact(header: Header, what: str) -> UserError:
    return UserError(
        f"model file {header.path} cannot be converted exactly: its {what}, which transformers"
        f" {__version__} does not support in GGUF files of this family; {_ADVICE}"
    )


def _is_met(key: str, value: Any, settings: dict[str, Any], config: PreTrainedConfig) -> bool:
    if key.startswith("rope.scal"):
        return _set_scaling(key, value, settings, config)
    if key in _SHAPES:
        return True
    rule = _RULES.get(key)
    return rule is not None and rule(value, config)


def _first(config: PreTrainedConfig, *names: str) -> Any:
    """Return the value of the first of the settings that a configuration has; None without any."""
    return next(
        (value for name in names if (value := getattr(config, name, None)) is not None), None
    )


def _same(*names: str) -> Callable[[Any, PreTrainedConfig], bool]:
    """Return the rule that a setting equals one of a configuration."""

    def rule(value: Any, config: PreTrainedConfig) -> bool:
        expected = _first(config, *names)
        values = set(value) if isinstance(value, list) else {value}
        return len(values) == 1 and _equal(values.pop(), expected)

    return rule


def _equal(value: Any, expected: Any) -> bool:
    if isinstance(value, (int, float)) and isinstance(expected, (int, float)):
        # Files hold float32.
        return math.isclose(value, expected, rel_tol=1e-5)
    return bool(value == expected)


def _head_width(config: PreTrainedConfig) -> int:
    width = _first(config, "head_dim")
    return int(width or config.hidden_size // config.num_attention_heads)


def _is_head_width(value: Any, config: PreTrainedConfig) -> bool:
    return bool(value == _head_width(config))


def _rotations(config: PreTrainedConfig, kind: str = "full_attention") -> dict[str, Any]:
    """Return the settings of rotary positions, of one kind of layers if they differ."""
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    nested: dict[str, Any] = parameters.get(kind, parameters)
    return nested


def _is_rotated_width(value: Any, config: PreTrainedConfig) -> bool:
    share = _rotations(config).get("partial_rotary_factor", 1.0)
    return bool(value == int(_head_width(config) * share))


def _set_base(value: Any, config: PreTrainedConfig) -> bool:
    # transformers reads this setting of most families and ignores it of StarCoder 2 and StableLM.
    rotations = _rotations(config)
    rotations["rope_theta"] = value
    return bool(rotations.get("rope_type"))


def _set_positions(value: Any, config: PreTrainedConfig) -> bool:
    # transformers ignores this setting of GPT-2. Some families have no largest position.
    if hasattr(config, "max_position_embeddings"):
        config.max_position_embeddings = value
    return True


def _is_base_of_windows(value: Any, config: PreTrainedConfig) -> bool:
    return _equal(value, _rotations(config, "sliding_attention").get("rope_theta"))


def _are_windows(value: Any, config: PreTrainedConfig) -> bool:
    """Whether a period, or a list of which layers have a window, is that of a configuration."""
    kinds = [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ()]
    if isinstance(value, list):
        return [bool(item) for item in value] == kinds
    return [index % value < value - 1 for index in range(len(kinds))] == kinds if value else False


def _set_scaling(key: str, value: Any, settings: dict[str, Any], config: PreTrainedConfig) -> bool:
    """Set a linear scaling of positions; of an unscaled model every setting of scaling is met."""
    kind = settings.get("rope.scaling.type", "linear" if key == "rope.scale_linear" else "none")
    factor = settings.get("rope.scaling.factor", settings.get("rope.scale_linear", 1.0))
    if kind == "none" or (kind == "linear" and factor == 1):
        return key != "rope.scaling.attn_factor" or value == 1
    if kind != "linear":
        return False
    rotations = _rotations(config)
    if rotations.get("rope_type") not in ("default", "linear"):
        return False
    rotations |= {"rope_type": "linear", "factor": float(factor)}
    return key in ("rope.scaling.type", "rope.scaling.factor", "rope.scale_linear")


def _scale_frequencies(header: Header, config: PreTrainedConfig) -> None:
    """Set the scaling of LLaMA 3.1 and later, if the factors in the file are those of its rule."""
    tensor = header.tensors[_FREQUENCIES]
    start = header.start + tensor.offset
    rotations = _rotations(config)
    width = _head_width(config)
    if tensor.kind != 0 or tensor.count != width // 2 or "rope_theta" not in rotations:
        raise _inexact(header, f"tensor {_FREQUENCIES} has {tensor.count} factors")
    factors = np.fromfile(header.path, "<f4", tensor.count, offset=start)
    if np.allclose(factors, 1):
        return
    scaling = {
        "rope_type": "llama3",
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    if not np.allclose(
        factors, _llama3_factors(width, rotations["rope_theta"], scaling), rtol=1e-4
    ):
        raise _inexact(
            header, f"tensor {_FREQUENCIES} has factors of another rule than LLaMA 3.1's"
        )
    rotations |= scaling


def _llama3_factors(width: int, base: float, scaling: dict[str, Any]) -> Any:
    """Return what LLaMA 3.1 divides each frequency by (Meta's `apply_scaling`)."""
    turns = scaling["original_max_position_embeddings"] / (
        2 * np.pi * base ** (np.arange(0, width, 2) / width)
    )
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - share) / scaling["factor"] + share)


# Settings that decide shapes, which are checked against the weights, or no states at all.
_SHAPES = {
    "block_count", "embedding_length", "feed_forward_length", "vocab_size",
    "tensor_data_layout", "expert_count", "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
}  # fmt: skip
_EPSILON = _same("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
_RULES: dict[str, Callable[[Any, PreTrainedConfig], bool]] = {
    "attention.head_count": _same("num_attention_heads"),
    "attention.head_count_kv": _same("num_key_value_heads", "num_kv_heads", "num_attention_heads"),
    "attention.key_length": _is_head_width,
    "attention.value_length": _is_head_width,
    "attention.key_length_swa": _is_head_width,
    "attention.value_length_swa": _is_head_width,
    "attention.layer_norm_rms_epsilon": _EPSILON,
    "attention.layer_norm_epsilon": _EPSILON,
    "attention.causal": lambda value, _: value is True,
    "attention.sliding_window": _same("sliding_window"),
    "attention.sliding_window_pattern": _are_windows,
    "attn_logit_softcapping": _same("attn_logit_softcapping"),
    "final_logit_softcapping": _same("final_logit_softcapping"),
    "context_length": _set_positions,
    "rope.dimension_count": _is_rotated_width,
    "rope.dimension_count_swa": _is_rotated_width,
    "rope.freq_base": _set_base,
    "rope.freq_base_swa": _is_base_of_windows,
    "use_parallel_residual": _same("use_parallel_residual"),
    "expert_used_count": _same("num_experts_per_tok"),
    "expert_weights_norm": _same("norm_topk_prob"),
    "ssm.conv_kernel": _same("conv_kernel"),
    "ssm.state_size": _same("state_size"),
    "ssm.time_step_rank": _same("time_step_rank"),
    "ssm.inner_size": _same("intermediate_size"),
    "ssm.dt_b_c_rms": lambda value, _: value is False,
}
