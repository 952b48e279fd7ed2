"""Contrastive fine-tuning of the prompted model with a LoRA."""

from demosearch.finetune.rows import read_training_rows
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.train import Training, finetune

__all__ = ["FinetuneSettings", "Training", "finetune", "read_training_rows"]
