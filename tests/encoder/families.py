"""Tiny models of every type of decoder that transformers knows, and how the encoder serves them.

`python -m tests.encoder.families` writes docs/families.md.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from demosearch.encoder.encoder import Encoder
from demosearch.encoder.forward import UNLIMITED
from demosearch.encoder.twin import POINT, VOCABULARY, randomize, small_settings
from demosearch.errors import UserError
from demosearch.models.records import ModelRecord
from demosearch.prompt import Preparation, Prompt, Template
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "families.md"
TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
TOLERANCE = 1e-5
LAYERS = 6
PROMPT = Prompt(Template("ids", "{text}", "", preparation=Preparation.NONE))

# Tiny models of these types cannot be built.
NOT_TESTABLE = {
    "blt": "reads bytes with a second model, which is not part of a tiny configuration",
    "dbrx": "transformers cannot build it from its own default configuration",
    "emu3": "AutoModel has no class for its text decoder",
    "gemma4_assistant": "reads the states of another model",
    "mllama": "AutoModel has no class for its text decoder",
    "musicgen": "transformers cannot build its base model from its configuration",
    "musicgen_melody": "transformers cannot build its base model from its configuration",
    "trocr": "AutoModel has no class for it",
}
# What the defaults of a type lack, or what six layers require.
_BLOCKS = ["conv", "conv", "full_attention"] * 2
_MAMBA = {"hidden_size": 64, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8}
_FULL_AND_SLIDING = {
    kind: {"rope_type": "default", "rope_theta": 1e4}
    for kind in ("full_attention", "sliding_attention")
}
_DOTS3 = {
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "head_dim": 32, "per_layer_config": {},
}  # fmt: skip
_GEMMA3N = {
    "num_kv_shared_layers": 2, "activation_sparsity_pattern": [0.0] * LAYERS,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
}  # fmt: skip
_QWEN4 = {
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 256, "indexer_budget": 32,
    "indexer_compress_ratio": 4,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "bamba": {**_MAMBA, "attn_layer_indices": [2, 5]},
    "cohere_compass_text": {"rope_parameters": _FULL_AND_SLIDING},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {
        "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1,
    },
    "dots3_note": _DOTS3,
    "dots3_note_text": _DOTS3,
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 128},
    "gemma3n": _GEMMA3N,
    "gemma3n_text": _GEMMA3N,
    "gpt_neo": {"attention_types": [[["global", "local"], 3]]},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "mamba", "attention"] * 2},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "lfm2": {"layer_types": _BLOCKS},
    "lfm2_moe": {"layer_types": _BLOCKS},
    "mamba2": {"hidden_size": 64, "expand": 1, "num_heads": 4, "head_dim": 16, "n_groups": 1},
    "ministral": {"head_dim": 16},
    "nemotron": {"head_dim": 16, "num_key_value_heads": 2},
    "qwen4_exp": _QWEN4,
    "qwen4_exp_text": _QWEN4,
    "reformer": {"axial_pos_embds": False},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 3, "attention_hidden_size": 128,
        "attention_head_dim": 32, "num_key_value_heads": 4,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 3, "attention_hidden_size": 128,
        "attention_head_dim": 32, "num_key_value_heads": 4, "hybrid_layer_ids": [1, 3, 5],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """How the models of one type are served.

    Attributes:
        type: `model_type` of the configuration.
        served: by variant of the configuration: packed, packed up to a length, or plain.
        refusal: why the models are refused, or cannot be tested.
        wrong: the largest relative distance between a state and that of a plain forward pass.
    """

    type: str
    served: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    wrong: float = 0.0


@cache
def family(model_type: str) -> Family:
    """Build a tiny model of a type, encode texts and compare with a plain pass of each text."""
    served: dict[str, str] = {}
    wrong = 0.0
    try:
        for variant, model in tiny_models(model_type):
            if model.config.is_encoder_decoder:
                encoder_of(model)
            truth = [alone(copy.deepcopy(model), text) for text in TEXTS]
            encoder = encoder_of(model)
            longest = encoder._forward.longest_packed
            served[variant] = (
                "plain" if not longest else "packed" if longest == UNLIMITED else "packed, short"
            )
            wrong = max(wrong, distance(encoder, truth))
    except UserError as error:
        return Family(model_type, refusal=str(error).rpartition(" not supported: ")[2])
    return Family(model_type, served, wrong=wrong)


def tiny_models(model_type: str) -> Iterator[tuple[str, PreTrainedModel]]:
    """Yield seeded tiny models of a type, by the names of variants of its configuration."""
    settings = SETTINGS.get(model_type, {})
    yield "default", build(model_type, settings)
    config = AutoConfig.for_model(model_type)
    if config.is_encoder_decoder:
        return
    names = config.get_text_config().to_dict()
    if "sliding_window" in names and not names["sliding_window"]:
        window = {"sliding_window": POINT, "use_sliding_window": True, "max_window_layers": 2}
        known = {name: value for name, value in window.items() if name in names}
        yield "window", build(model_type, {**settings, **known})
    rope = build_config(model_type, settings).to_dict().get("rope_parameters") or {}
    if rope.get("rope_type") == "default" and (model := long_rope(model_type, settings, rope)):
        yield "LongRoPE", model


def long_rope(
    model_type: str, settings: dict[str, Any], rope: dict[str, Any]
) -> PreTrainedModel | None:
    """Return a model with LongRoPE; None if models of this type cannot have it."""
    factors = int(16 * rope.get("partial_rotary_factor", 1.0)) // 2
    rope = {
        **rope, "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": POINT,
        "short_factor": [1.0] * factors, "long_factor": [4.0] * factors, "short_mscale": 1.0,
        "long_mscale": 1.2,
    }  # fmt: skip
    try:
        model = build(model_type, settings, rope_parameters=rope)
        alone(copy.deepcopy(model), TEXTS[0])
    # The classes refuse unknown settings in their own ways.
    except Exception:
        return None
    return model


def build_config(model_type: str, settings: dict[str, Any], **late: Any) -> Any:
    """Return the configuration of a tiny decoder; a composite type is represented by its decoder.

    Args:
        model_type: the type.
        settings: settings that differ from the defaults.
        **late: settings that only suit a tiny decoder.
    """
    config = AutoConfig.for_model(model_type)
    if config.is_encoder_decoder:
        return config
    text = config.get_text_config()
    kind = type(config) if text is config else type(text)
    small = small_settings(kind(**{"num_hidden_layers": LAYERS, **settings}))
    return kind.from_dict({**small, **settings, **late})


def build(model_type: str, settings: dict[str, Any], **late: Any) -> PreTrainedModel:
    """Return a seeded tiny model."""
    config = build_config(model_type, settings, **late)
    if config.is_encoder_decoder:
        # Refused by its configuration; its weights do not matter.
        with torch.device("meta"):
            model: PreTrainedModel = AutoModel.from_config(config)
        return model
    torch.manual_seed(1)
    model = AutoModel.from_config(config, dtype=torch.float32)
    randomize(model)
    with torch.no_grad():
        for parameter in model.parameters():
            # With larger weights, recurrent layers amplify rounding beyond the tolerance.
            parameter.mul_(0.6 if parameter.dim() > 1 else 1)
    return model.eval()


def _texts() -> list[list[int]]:
    numbers = np.random.default_rng(0)

    def ids(length: int) -> list[int]:
        return [int(number) for number in numbers.integers(10, VOCABULARY - 20, length)]

    prefix, short = ids(POINT + 5), ids(5)
    behind = [[*prefix, *ids(length)] for length in (1, POINT - 6, POINT, POINT, 2 * POINT + 3)]
    crossing = [[*short, *ids(length)] for length in (1, POINT - 6, POINT - 5, POINT - 4, 40)]
    apart = [ids(length) for length in (1, 2, POINT - 1, POINT, POINT + 1, 2 * POINT + 1, 61)]
    return [*behind, *crossing, *apart]


TEXTS = _texts()


def alone(model: PreTrainedModel, ids: Sequence[int]) -> list[np.ndarray]:
    """Return the states of the last token by layer from a plain forward pass of one text."""
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    return [states[0, -1].numpy() for states in output.hidden_states]


def distance(encoder: Encoder, truth: Sequence[Sequence[np.ndarray]]) -> float:
    """Return the largest relative distance of states, in batches of several sizes and of one text."""
    largest = 0.0
    words = [" ".join(f"[{number}]" for number in text) for text in TEXTS]
    calls: list[tuple[int, Sequence[int]]] = [(2048, range(len(TEXTS))), (70, range(len(TEXTS)))]
    calls += [(2048, [index]) for index in (4, 9, 16)]
    for budget, rows in calls:
        encoder.token_budget = budget
        by_layer = encoder.encode_layers([words[row] for row in rows], PROMPT)
        for layer, states in enumerate(by_layer):
            for state, row in zip(states, rows, strict=True):
                right = truth[row][layer]
                largest = max(largest, float(np.linalg.norm(state - right) / np.linalg.norm(right)))
    return largest


def encoder_of(model: PreTrainedModel) -> Encoder:
    """Return an encoder whose tokens are words: [0] [1] ..."""
    words = Tokenizer(
        models.WordLevel({f"[{number}]": number for number in range(VOCABULARY)}, unk_token="[0]")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[1]", pad_token="[2]")
    record = ModelRecord(name="tiny", source="tiny", revision="", precision="fp32", parameters=1)
    return Encoder(model, tokenizer, record)


def page(families: Sequence[Family]) -> str:
    """Return the page of the docs about all types."""
    served = [row for each in families if each.served for row in [_row(each)]]
    reasons: dict[str, list[str]] = {}
    for each in families:
        if each.refusal:
            reasons.setdefault(each.refusal, []).append(each.type)
    untested: dict[str, list[str]] = {}
    for name, reason in NOT_TESTABLE.items():
        untested.setdefault(reason, []).append(name)
    return "\n".join(
        [
            _INTRODUCTION.format(
                version=transformers.__version__, types=len(TYPES), served=len(served)
            ),
            "| `model_type` | default settings | sliding window | LongRoPE |",
            "|---|---|---|---|",
            *served,
            "",
            "## Refused",
            "",
            "| reason | `model_type` |",
            "|---|---|",
            *(f"| {reason} | {_codes(names)} |" for reason, names in sorted(reasons.items())),
            "",
            "## Not tested",
            "",
            "A tiny model of these types cannot be built. They are checked when they are loaded, as all"
            " others.",
            "",
            "| reason | `model_type` |",
            "|---|---|",
            *(f"| {reason} | {_codes(names)} |" for reason, names in sorted(untested.items())),
            "",
        ]
    )


_INTRODUCTION = """<!-- Written by `python -m tests.encoder.families`; do not edit. -->

# Model families

transformers {version} knows {types} types of models with a language-model head. `tests/encoder/test_conformance.py` builds a tiny model of each
type, with windows and switching points of a few tokens, and compares the encoder with a plain forward pass of one text at a time: all layers,
batches of several sizes, single texts, with and without a shared prefix. The states are equal to 1e-5 of their norm, or the type is refused
when it is loaded. `model_type` is a field of a model's `config.json`.

## Served

{served} types are served, in one of three ways:

- **packed**: texts are packed without padding and share the keys and values of the prompt's prefix.
- **packed, short**: so are texts whose prompt is shorter than the first attention window, chunk or switching point of the positions. Longer
  ones are encoded as those of plain types.
- **plain**: texts of the same length share a batch, and the whole prompt is computed for each text. This is several times slower with
  demonstrations.

The way is chosen when a model is loaded, from its own settings, and can differ from this table if they differ from the defaults. The third
column is for settings with a sliding window if the defaults have none, and the fourth for settings with LongRoPE, where a type supports them.
"""


def _row(each: Family) -> str:
    cells = [each.served.get(variant, "") for variant in ("default", "window", "LongRoPE")]
    return f"| `{each.type}` | {' | '.join(cells)} |"


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def all_families() -> list[Family]:
    """Return the results of all types of which a tiny model can be built."""
    return [family(name) for name in TYPES if name not in NOT_TESTABLE]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    PAGE.write_text(page(all_families()), encoding="utf-8")
