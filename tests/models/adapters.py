"""Adapters of many types on tiny models, made with PEFT, with weights that change the states."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

LAYERS = ["q_proj", "v_proj", "down_proj"]
_LORA = {"r": 4, "target_modules": LAYERS, "init_lora_weights": False}


def _lora(**options: Any) -> PeftConfig:
    return peft.LoraConfig(**{**_LORA, **options})


def _tokens(indices: list[int]) -> PeftConfig:
    return peft.TrainableTokensConfig(token_indices=indices, target_modules=["embed_tokens"])


# Configurations that fit a model with a head and the base model alone.
ADAPTERS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lambda: _lora(lora_alpha=3),
    "rslora": lambda: _lora(use_rslora=True),
    "dora": lambda: _lora(use_dora=True),
    "lora-bias": lambda: _lora(bias="lora_only", lora_bias=True),
    "lora-pissa": lambda: _lora(init_lora_weights="pissa"),
    "lora-embedding": lambda: _lora(target_modules=["q_proj", "embed_tokens"]),
    "lora-regex": lambda: _lora(target_modules=r".*layers\.[02]\..*(q_proj|up_proj)"),
    "lora-linear": lambda: _lora(target_modules="all-linear"),
    "ranks": lambda: _lora(
        rank_pattern={"v_proj": 2}, alpha_pattern={r"layers\.1\.self_attn\.q_proj": 32}
    ),
    "excluded": lambda: _lora(exclude_modules=r".*\.0\..*"),
    "saved-norm": lambda: _lora(modules_to_save=["norm"]),
    "saved-embedding": lambda: _lora(modules_to_save=["embed_tokens"]),
    "tokens": lambda: _lora(trainable_token_indices=[5, 40, 41]),
    "tokens-alone": lambda: _tokens([5, 40, 41]),
    "adalora": lambda: peft.AdaLoraConfig(init_r=4, target_modules=LAYERS, total_step=10),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        init_ia3_weights=False,
    ),
    "loha": lambda: peft.LoHaConfig(r=4, target_modules=LAYERS, init_weights=False),
    "lokr": lambda: peft.LoKrConfig(r=4, target_modules=LAYERS, init_weights=False),
    "oft": lambda: peft.OFTConfig(
        r=0, oft_block_size=12, target_modules=["q_proj"], init_weights=False
    ),
    "boft": lambda: peft.BOFTConfig(
        boft_block_size=4, target_modules=["q_proj"], init_weights=False
    ),
    "ln-tuning": lambda: peft.LNTuningConfig(target_modules=["input_layernorm", "norm"]),
    "vera": lambda: peft.VeraConfig(r=4, target_modules=["q_proj"], init_weights=False),
    "vera-seed": lambda: peft.VeraConfig(
        r=4, target_modules=["q_proj"], init_weights=False, save_projection=False
    ),
}
# Configurations that name modules as they are called below a head.
WITH_HEAD: dict[str, Callable[[], PeftConfig]] = {
    "anchored": lambda: _lora(
        alpha_pattern={r"^model\.layers\.0\.self_attn\.q_proj": 64},
        rank_pattern={r"^model\.layers\.1\.self_attn\.v_proj": 2},
    ),
    "some-layers": lambda: _lora(layers_to_transform=[1]),
    "full-names": lambda: _lora(target_modules=["model.layers.1.self_attn.q_proj"]),
    "model-layers": lambda: _lora(target_modules=r"model\.layers\.[01]\.mlp\.(up|down)_proj"),
    "layers-pattern": lambda: _lora(layers_to_transform=[0], layers_pattern="layers"),
    "head": lambda: _lora(target_modules=["q_proj", "lm_head"]),
    "head-dora": lambda: _lora(target_modules=["q_proj", "lm_head"], use_dora=True),
    "saved-head": lambda: _lora(modules_to_save=["embed_tokens", "lm_head"]),
}


def make_adapter(
    config: Callable[[], PeftConfig], model: Path, folder: Path, *, head: bool, seed: int = 3
) -> None:
    """Write an adapter with random weights for a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        trained = get_peft_model(_base(model, head), config())
        with torch.no_grad():
            for parameter in trained.parameters():
                if parameter.requires_grad:
                    size = 0.3 * float(parameter.std()) if parameter.std() > 0.05 else 0.2
                    parameter.add_(torch.randn_like(parameter) * size)
        trained.save_pretrained(folder)


def peft_states(model: Path, adapter: Path, texts: list[str], *, head: bool) -> torch.Tensor:
    """Return the last token's last states as PEFT itself computes them, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Any = PeftModel.from_pretrained(_base(model, head), str(adapter)).eval()
        states = []
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            with torch.inference_mode():
                output = loaded(**inputs, output_hidden_states=True)
            states.append(output.hidden_states[-1][0, -1])
    return torch.stack(states)


def _base(model: Path, head: bool) -> PreTrainedModel:
    torch.manual_seed(11)
    loaded: PreTrainedModel = (AutoModelForCausalLM if head else AutoModel).from_pretrained(
        model, dtype=torch.float32
    )
    return loaded
