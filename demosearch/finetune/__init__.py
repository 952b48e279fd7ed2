"""Contrastive fine-tuning of the prompted model with a LoRA."""

from demosearch.finetune.rows import read_training_rows
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.train import finetune
from demosearch.finetune.training import Training

__all__ = ["FinetuneSettings", "Training", "finetune", "read_training_rows"]
