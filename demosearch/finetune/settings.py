"""The settings of a fine-tuning; the defaults are the paper's recipe (its appendix and code)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from demosearch._common.settings import Settings
from demosearch.models.known import Precision


class FinetuneSettings(Settings):
    """How the adapter is trained.

    `precision` is a field because a recipe names it, as the paper's does (NF4). `finetune` copies
    `LoadOptions.precision`, if it is set, into the settings, so that the settings in `training.json` are
    always those that were used.
    """

    description: str = Field("", description="purpose of the recipe")
    precision: Precision | None = Field(
        None,
        description="number format of the frozen weights; null: the fastest of fp32, bf16 and fp16 on"
        " the device",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        256, description="rows per step, over all processes; the paper uses 200 for 13B"
    )
    mini_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="rows in memory at a time (gradient caching); the loss is still computed over the"
        " whole batch",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass instead of storing them"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(5e-4, description="peak learning rate")
    epochs: Annotated[int, Field(ge=1)] = Field(1, description="number of epochs")
    max_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="number of steps; overrides epochs"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        100, description="steps over which the learning rate rises to its peak"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.05, description="temperature of the InfoNCE loss"
    )
    max_text_tokens: Annotated[int, Field(ge=1)] = Field(
        32, description="texts are truncated to this number of tokens"
    )
    lora_r: Annotated[int, Field(ge=1)] = Field(64, description="rank of the LoRA matrices")
    lora_alpha: Annotated[int, Field(ge=1)] = Field(16, description="scaling of the LoRA update")
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="dropout in front of the LoRA matrices"
    )
    eval_steps: Annotated[int, Field(ge=1)] = Field(
        50, description="steps between evaluations on the dev pairs, and between checkpoints"
    )
    seed: int = Field(0, description="random seed")
