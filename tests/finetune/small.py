"""A small training's rows and settings."""

from __future__ import annotations

from demosearch.finetune import FinetuneSettings

TRIPLETS = [
    (f"A man number {row} walks", f"Somebody {row} walks", f"Nobody {row} walks")
    for row in range(24)
]
SETTINGS = FinetuneSettings(
    precision="fp32",
    batch_size=8,
    warmup_steps=1,
    lora_r=4,
    eval_steps=2,
    learning_rate=0.01,
    lora_dropout=0,
)
