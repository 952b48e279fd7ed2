"""Contrastive fine-tuning of the prompted model with a LoRA."""

from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.train import Training, finetune
from demosearch.finetune.triplets import read_triplets

__all__ = ["FinetuneSettings", "Training", "finetune", "read_triplets"]
