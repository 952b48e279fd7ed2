"""sentence-transformers' trainer, with what it gets wrong about adapters put right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformerTrainer
from torch.utils.data import BatchSampler

ADAPTER_FILE = "adapter_model.safetensors"


class AdapterTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """Restores checkpoints of an adapter into the model that is being trained.

    The library builds the whole model again from the checkpoint, without the settings it was loaded
    with: over a base in 4 bits the shapes then differ, so that the best checkpoint is not restored (it
    only logs an error and keeps the last) and a training cannot go on. It also holds the base twice.

    Several processes share batches; the library lets each draw its own, so that a premise of one may
    be a negative of another's, and what they train on together is not what one alone would.
    """

    def get_batch_sampler(
        self, dataset: Any, batch_size: int, drop_last: bool, *args: Any, **options: Any
    ) -> Any:
        """Return the sampler of one process alone, or of a part of every batch."""
        if (parts := self.args.world_size) == 1:
            return super().get_batch_sampler(dataset, batch_size, drop_last, *args, **options)
        whole = super().get_batch_sampler(dataset, parts * batch_size, drop_last, *args, **options)
        return Parts(whole, parts)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        weights = load_file(Path(checkpoint_path) / ADAPTER_FILE)
        model = self.model[0].auto_model
        result = set_peft_model_state_dict(model, weights, adapter_name=model.active_adapters()[0])
        if unexpected := getattr(result, "unexpected_keys", None):
            raise ValueError(
                f"{checkpoint_path} is no checkpoint of this training: {unexpected[0]}"
            )


class Parts(BatchSampler):
    """The batches of a sampler, part by part; accelerate gives each process every nth.

    Args:
        whole: the sampler of whole batches, all of them full.
        parts: into how many equal ones a batch is cut.
    """

    def __init__(self, whole: Any, parts: int) -> None:
        super().__init__(whole.sampler, whole.batch_size // parts, drop_last=True)
        self._whole = whole
        self._parts = parts

    def __iter__(self) -> Iterator[list[int]]:
        """Yield rows."""
        for batch in self._whole:
            for start in range(0, len(batch), self.batch_size):
                yield batch[start : start + self.batch_size]

    def __len__(self) -> int:
        """Return the number of parts."""
        return self._parts * len(self._whole)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for another epoch."""
        self._whole.set_epoch(epoch)
