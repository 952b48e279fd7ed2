"""The settings of a fine-tuning; the defaults are the paper's recipe (its appendix and code)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from demosearch.models.known import Precision


class FinetuneSettings(BaseModel):
    """How the adapter is trained."""

    model_config = ConfigDict(extra="forbid")

    description: str = Field("", description="what the recipe is for")
    precision: Precision | None = Field(
        None, description="of the frozen weights; null: the fastest of 16 and 32 bits"
    )
    batch_size: Annotated[
        int, Field(ge=2, description="rows a step, over all processes; the paper has 200 for 13B")
    ] = 256
    mini_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="rows in memory at once, by gradient caching; the loss is the whole batch's",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice instead of keeping them"
    )
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    epochs: Annotated[int, Field(ge=1)] = 1
    max_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="end after so many steps, whatever the epochs"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    temperature: Annotated[float, Field(gt=0, description="of InfoNCE")] = 0.05
    max_text_tokens: Annotated[int, Field(ge=1, description="a text is cut after so many")] = 32
    lora_r: Annotated[int, Field(ge=1)] = 64
    lora_alpha: Annotated[int, Field(ge=1)] = 16
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    eval_steps: Annotated[
        int, Field(ge=1, description="dev score and checkpoint every so many steps")
    ] = 50
    seed: int = 0
