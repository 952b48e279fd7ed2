"""sentence-transformers' trainer, its arguments, and two corrections for adapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from torch.utils.data import BatchSampler

from demosearch.finetune.curve import DEV_SCORE
from demosearch.finetune.settings import FinetuneSettings

ADAPTER_FILE = "adapter_model.safetensors"


class AdapterTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """Restores an adapter's checkpoints into the model that is being trained.

    The library loads the whole model again from the checkpoint, without the arguments that it was
    loaded with. With a 4-bit base the shapes then differ: the best checkpoint is not restored (the
    library logs an error and keeps the last one), and a training cannot be resumed. The base is also
    held in memory twice.

    Several processes share each batch. The library lets every process draw its own batches, so that a
    premise in one may be a negative in another, and the result differs from that of one process.
    """

    def get_batch_sampler(
        self, dataset: Any, batch_size: int, drop_last: bool, *args: Any, **options: Any
    ) -> Any:
        """Return the sampler of a single process, or of one part of every batch."""
        if (parts := self.args.world_size) == 1:
            return super().get_batch_sampler(dataset, batch_size, drop_last, *args, **options)
        batches = super().get_batch_sampler(
            dataset, parts * batch_size, drop_last, *args, **options
        )
        return BatchParts(batches, parts)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        weights = load_file(Path(checkpoint_path) / ADAPTER_FILE)
        model = self.model[0].auto_model
        result = set_peft_model_state_dict(model, weights, adapter_name=model.active_adapters()[0])
        if unexpected := getattr(result, "unexpected_keys", None):
            raise ValueError(
                f"{checkpoint_path} is not a checkpoint of this training: {unexpected[0]}"
            )


class BatchParts(BatchSampler):
    """Splits the batches of a sampler into parts; accelerate gives each process every nth part.

    Args:
        batches: the sampler of complete batches.
        parts: number of equal parts of a batch.
    """

    def __init__(self, batches: Any, parts: int) -> None:
        super().__init__(batches.sampler, batches.batch_size // parts, drop_last=True)
        self._batches = batches
        self._parts = parts

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the row indices of each part."""
        for batch in self._batches:
            for start in range(0, len(batch), self.batch_size):
                yield batch[start : start + self.batch_size]

    def __len__(self) -> int:
        """Return the number of parts."""
        return self._parts * len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for a new epoch."""
        self._batches.set_epoch(epoch)


def training_arguments(
    folder: Path, settings: FinetuneSettings, device: str, processes: int, *, evaluated: bool
) -> SentenceTransformerTrainingArguments:
    """Return the trainer's arguments.

    Args:
        folder: for checkpoints.
        settings: of the training.
        device: a torch device.
        processes: that share a batch.
        evaluated: whether there are dev pairs.
    """
    on_cpu = device == "cpu"
    if torch.device(device).index is not None and processes == 1:
        # The trainer always uses the current GPU.
        torch.cuda.set_device(device)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch_size // processes,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        # A premise that appears twice in a batch would be its own negative.
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        # An incomplete batch has few negatives, or none.
        dataloader_drop_last=True,
        logging_steps=1,
        # A loss that is not finite must end the training.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.eval_steps,
        save_total_limit=1,
        load_best_model_at_end=evaluated,
        metric_for_best_model=f"eval_{DEV_SCORE}" if evaluated else None,
        greater_is_better=True if evaluated else None,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        # There is one progress bar, see callbacks.py.
        disable_tqdm=True,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and processes > 1 else None,
    )
    if arguments.n_gpu > 1:
        # Without torchrun the trainer would place a whole batch on every visible GPU.
        arguments._n_gpu = 1
    return arguments
