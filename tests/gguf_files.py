"""GGUF files of tiny models, written with the `gguf` package as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaTokenizer,
    GPT2Config,
    LlamaConfig,
    LlamaTokenizer,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
    Starcoder2Config,
)

from tests.tiny import CONTEXT, VOCABULARY, _sentencepiece, save_model

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2 = GPT2Config(
    vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=64, n_layer=3, n_head=4,
    pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip


def _interleaved(heads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return llama.cpp's order of the rows of LLaMA's queries and keys (its `permute`)."""

    def permute(weights: np.ndarray) -> np.ndarray:
        rows = weights.shape[0] // heads // 2
        return weights.reshape(heads, 2, rows, -1).swapaxes(1, 2).reshape(weights.shape)

    return permute


def _plus_one(weights: np.ndarray) -> np.ndarray:
    return weights + 1


def _transposed(weights: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(weights.T)


@dataclass(frozen=True)
class Family:
    """How llama.cpp writes a family.

    Attributes:
        config: of a tiny model.
        settings: besides those of all families.
        changes: of weights, by the end of their name in transformers.
    """

    config: PreTrainedConfig
    settings: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)


_HEADS = {"attention.key_length": 16, "attention.value_length": 16}
FAMILIES: dict[str, Family] = {
    "llama": Family(
        LlamaConfig(**_SIZES, rope_theta=5000.0),
        {"rope.freq_base": 5000.0, "rope.dimension_count": 16, "vocab_size": VOCABULARY},
        {"q_proj.weight": _interleaved(4), "k_proj.weight": _interleaved(2)},
    ),
    "qwen2": Family(Qwen2Config(**_SIZES, rope_theta=5000.0), {"rope.freq_base": 5000.0}),
    # transformers assumes its default of 128, whatever the file says.
    "qwen3": Family(
        Qwen3Config(**_SIZES, head_dim=128, rope_theta=5000.0, tie_word_embeddings=True),
        {"rope.freq_base": 5000.0, "attention.key_length": 128, "attention.value_length": 128},
    ),
    "gemma2": Family(
        Gemma2Config(**_SIZES, head_dim=256, query_pre_attn_scalar=256, sliding_window=12),
        {
            "attention.key_length": 256,
            "attention.value_length": 256,
            "attention.sliding_window": 12,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        {"norm.weight": _plus_one},
    ),
    "gemma3": Family(
        Gemma3TextConfig(
            **{**_SIZES, "num_hidden_layers": 7},
            head_dim=256,
            sliding_window=12,
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        ),
        {
            "rope.freq_base": 1e6,
            "attention.key_length": 256,
            "attention.value_length": 256,
            "attention.sliding_window": 12,
        },
        {"norm.weight": _plus_one},
    ),
    "phi3": Family(Phi3Config(**_SIZES), {"rope.dimension_count": 16, "rope.freq_base": 1e4}),
    # transformers ignores the base of its positions.
    "starcoder2": Family(
        Starcoder2Config(**_SIZES, rope_theta=5000.0), {"rope.freq_base": 5000.0}
    ),
    "stablelm": Family(
        StableLmConfig(**_SIZES, rope_theta=5000.0),
        {"rope.dimension_count": 4, "rope.freq_base": 5000.0, "use_parallel_residual": False},
    ),
    "gpt2": Family(
        _GPT2,
        changes=dict.fromkeys(("c_attn.weight", "c_fc.weight", "c_proj.weight"), _transposed),
    ),
}  # fmt: skip


def save_tiny(
    family: str, folder: Path, *, sentencepiece: bool | None = None, **changes: Any
) -> Path:
    """Save a tiny model of a family, with its tokenizer, in transformers' layout.

    Args:
        family: by llama.cpp's name.
        folder: where the model is saved.
        sentencepiece: the kind of tokenizer, if it is not the family's own.
        **changes: of its configuration.
    """
    config = FAMILIES[family].config
    is_gemma = family.startswith("gemma")
    tokenizer = None
    if is_gemma if sentencepiece is None else sentencepiece:
        model = json.loads(_sentencepiece().to_str())["model"]
        parts: dict[str, Any] = {
            "vocab": model["vocab"],
            "merges": [tuple(m) for m in model["merges"]],
        }
        names = {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        }
        tokenizer = (GemmaTokenizer if is_gemma else LlamaTokenizer)(
            **parts, **names, add_bos_token=True
        )
    save_model(type(config)(**{**config.to_dict(), **changes}), folder, tokenizer)
    return folder


def write_gguf(
    folder: Path,
    path: Path,
    family: str,
    *,
    settings: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    file_type: int = 0,
) -> Path:
    """Write a model that `save_tiny` saved as a GGUF file.

    Args:
        folder: the model.
        path: the file.
        family: its family by llama.cpp's name.
        settings: additional or other settings; names without a dot belong to the family, None leaves one
            out.
        tensors: additional or other tensors; None leaves one out.
        kind: the type of all matrices.
        file_type: the number of that type as a setting.
    """
    rules = FAMILIES[family]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    writer = GGUFWriter(path, family)
    written = {
        **_common_settings(model.config, family),
        **{f"{family}.{key}": value for key, value in rules.settings.items()},
        **_vocabulary(folder),
        "general.file_type": file_type,
        **(settings or {}),
    }
    for key, value in written.items():
        if value is not None:
            _add(writer, key, value)
    architecture = next(key for key, name in MODEL_ARCH_NAMES.items() if name == family)
    names = get_tensor_name_map(architecture, model.config.num_hidden_layers)
    weights: dict[str, np.ndarray | None] = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        change = next((rule for end, rule in rules.changes.items() if name.endswith(end)), None)
        array = value.numpy()
        weights[gguf_name(names, name)] = change(array) if change else array
    for name, value in {**weights, **(tensors or {})}.items():
        if value is None:
            continue
        if value.ndim == 1 or kind is GGMLQuantizationType.F32:
            writer.add_tensor(name, np.ascontiguousarray(value, dtype=np.float32))
        else:
            writer.add_tensor(name, quantize(np.ascontiguousarray(value), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(names: Any, name: str) -> str:
    """Return llama.cpp's name of a weight."""
    stem, _, suffix = name.rpartition(".")
    return f"{names.get_name(stem)}.{suffix}"


def _common_settings(config: PreTrainedConfig, family: str) -> dict[str, Any]:
    values = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": getattr(config, "intermediate_size", None),
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None),
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "attention.layer_norm_epsilon": next(
            (
                getattr(config, name)
                for name in ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon")
                if hasattr(config, name)
            ),
            None,
        ),
    }
    return {f"{family}.{key}": value for key, value in values.items()}


def _vocabulary(folder: Path) -> dict[str, Any]:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    special = set(tokenizer.all_special_tokens)
    is_byte_level = "\u0120" in "".join(tokens)
    kind = {"model": "gpt2", "pre": "gpt-2", "merges": [" ".join(pair) for pair in model["merges"]]}
    if not is_byte_level:
        # Gemma's tokens are in the order of their merges, and its scores are not used.
        kind = {
            "model": "llama",
            "pre": "default",
            "scores": [float(-index) for index in range(len(tokens))],
            "add_space_prefix": "Gemma" not in type(tokenizer).__name__,
        }
    return {
        **{f"tokenizer.ggml.{key}": value for key, value in kind.items()},
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
