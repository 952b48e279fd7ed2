"""Contrastive fine-tuning of the prompted model with a LoRA adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.finetune.rows import read_training_rows
    from demosearch.finetune.settings import FinetuneSettings
    from demosearch.finetune.train import finetune
    from demosearch.finetune.training_record import Training

__all__ = ["FinetuneSettings", "Training", "finetune", "read_training_rows"]

# Settings and rows are checked before torch is imported.
_HOMES = {
    "FinetuneSettings": "demosearch.finetune.settings",
    "Training": "demosearch.finetune.training_record",
    "finetune": "demosearch.finetune.train",
    "read_training_rows": "demosearch.finetune.rows",
}

__getattr__ = lazily(__name__, _HOMES)
