"""A tiny twin of a model: the same class and settings with small sizes, windows and switching points.

Whether packing is exact for a model depends on its code and its settings, not on its size. But some
code acts only on long rows: behind an attention window, in the next attention chunk, or when the
frequencies of the positions are switched. In a twin these points are within a few tokens of the start,
so that a check at load crosses all of them in less than a second.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from demosearch._common.progress import quiet_transformers

VOCABULARY = 128
CONTEXT = 96
# Windows, chunks and switching points of a twin, in tokens.
POINT = 16

# Names of settings that are a number of tokens at which the code of some model acts differently.
_POINTS = re.compile(
    r"window(?!_layers|_pattern)|chunk_size$|chunk_length$|block_size$|local_attention$|original_max_position"
    r"|floor_scale|n_floor|index_topk|indexer_budget|rel_extent"
)
# Sizes of a twin; a smaller size of the model is kept.
_WIDTHS = {
    64: "hidden_size n_embd d_model emb_dim embedding_dim embedding_size input_embedding_size"
    " word_embed_proj_dim attention_hidden_size lru_width mamba_d_ssm intermediate_size ffn_dim"
    " ffn_hidden_size dff dim_ff d_inner n_inner intermediate_size_mlp dense_intermediate_size"
    " prefix_dense_intermediate_size",
    32: "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size qk_head_dim"
    " shared_experts_intermediate_size moe_shared_expert_intermediate_size expert_ffn_hidden_size"
    " moe_latent_size",
    16: "hidden_size_per_layer_input ple_embed_dim head_dim attention_head_dim d_head dim_head"
    " kv_channels swa_head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim kv_lora_rank q_lora_rank"
    " o_lora_rank query_pre_attn_scalar index_head_dim indexer_head_dim linear_key_head_dim"
    " linear_value_head_dim linear_head_dim mamba_d_head mamba_head_dim mamba_headdim",
    8: "rotary_dim num_experts n_routed_experts num_local_experts moe_num_experts state_size"
    " ssm_state_size mamba_d_state mamba_num_heads mamba_n_heads n_mamba_heads",
    4: "num_attention_heads n_head n_heads attention_heads num_heads swa_num_attention_heads"
    " num_attention_heads_per_layer index_n_heads indexer_n_heads time_step_rank mamba_dt_rank"
    " linear_num_heads linear_num_value_heads",
    2: "num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts zero_expert_num n_group"
    " num_expert_group linear_num_key_heads",
    1: "topk_group",
    VOCABULARY: "vocab_size vocab_size_per_layer_input unpadded_vocab_size ngram_vocab_size_base",
}
# The prompts of the check have to fit, so a shorter context becomes longer.
_CONTEXTS = {
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length",
    "model_max_length",
}  # fmt: skip
_HEADS = 4
_SIZES = {name: size for size, names in _WIDTHS.items() for name in names.split()}
_KEY_HEADS = {"num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "num_query_groups"}
_FACTORS = {"short_factor", "long_factor"}
_NOT_KEPT = (
    "quantization_config", "_name_or_path", "transformers_version", "dtype", "id2label", "label2id",
)  # fmt: skip


def is_known(name: str) -> bool:
    """Whether a setting of this name is small in a twin, or counts nothing."""
    return name in _ALL_SIZES or is_point(name) or name.endswith("token_id")


def is_point(name: str) -> bool:
    """Whether a setting of this name is a number of tokens at which a model acts differently."""
    return _POINTS.search(name) is not None


def switching_point(config: PreTrainedConfig) -> int | None:
    """Return a number of tokens that crosses no window, chunk or switching point; None without any."""
    # Some models switch at the last position in front of the point.
    return min((point - 1 for point in _points(config.to_dict())), default=None)


def small_settings(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the settings of a configuration with small sizes, windows and switching points.

    The number of layers stays, because layers may differ from one another.
    """
    settings = config.to_dict()
    return _small({name: value for name, value in settings.items() if name not in _NOT_KEPT})


def tiny_twin(model: PreTrainedModel) -> PreTrainedModel | None:
    """Return a seeded twin of a model on the CPU, in float32; None if it cannot be built or run."""
    try:
        with (
            quiet_transformers(),
            torch.inference_mode(False),
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            torch.device("cpu"),
        ):
            torch.manual_seed(0)
            twin: PreTrainedModel = type(model)._from_config(
                type(model.config).from_dict(small_settings(model.config)),
                attn_implementation=model.config._attn_implementation,
                dtype=torch.float32,
            )
            randomize(twin)
            states = twin.eval()(input_ids=torch.tensor([[10, 11, 12]]), use_cache=False)[0]
    # The classes of some two hundred types check their settings in their own ways.
    except Exception:
        return None
    # Random weights may be too large for the layers of some type; that says nothing about the model.
    return twin if states.isfinite().all() else None


def randomize(model: PreTrainedModel) -> None:
    """Replace the initial weights, with which all tokens attend nearly evenly and layers do little."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            if parameter.dim() > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            else:
                parameter.nan_to_num_(0).clamp_(-10, 10).add_(noise * 0.1)


def _points(settings: dict[str, Any]) -> list[int]:
    points = []
    for name, value in settings.items():
        if isinstance(value, dict):
            points += _points(value)
        elif is_point(str(name)) and _is_number(value) and value > 0:
            points.append(int(value))
    return points


def _small(settings: dict[str, Any]) -> dict[str, Any]:
    small = {
        name: _smaller(name, value, settings.get("num_attention_heads"))
        for name, value in settings.items()
    }
    # LongRoPE has a factor for each pair of a head's rotated dimensions.
    pairs = int(_SIZES["head_dim"] * settings.get("partial_rotary_factor", 1.0)) // 2
    for name in _FACTORS & small.keys():
        factors = small[name]
        small[name] = factors[:: max(1, len(factors) // pairs)][:pairs]
    return small


def _smaller(name: str, value: Any, heads: Any) -> Any:
    if isinstance(value, dict):
        return _small(value)
    if isinstance(value, list):
        # Layers may have sizes of their own.
        return [_smaller(name, item, heads) for item in value] if name in _ALL_SIZES else value
    if not _is_number(value):
        return value
    if name in _KEY_HEADS:
        return _smaller("num_attention_heads", value, heads) if value == heads else min(value, 2)
    if name == "num_attention_heads":
        # More than the model has, if it has three: the number has to divide the width.
        return _HEADS if value > 2 else value
    if name in _CONTEXTS:
        return CONTEXT
    if name in _SIZES:
        return min(value, _SIZES[name])
    if name.endswith("token_id"):
        return min(value, VOCABULARY - 1)
    return min(value, POINT) if is_point(name) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_ALL_SIZES = _SIZES.keys() | _KEY_HEADS | _CONTEXTS
