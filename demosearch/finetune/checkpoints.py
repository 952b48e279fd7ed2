"""The folder of a training: is it free, where to resume, and what cannot be written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from demosearch._common.files import read_text, write_json
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_STARTED_FILE = "started.json"
# What torch and safetensors report when the disk is full.
_DISK_FULL = ("unexpected pos", "PytorchStreamWriter", "I/O error", "No space left")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The checkpoint from which training is resumed.

    Attributes:
        path: its folder.
        dev_before: Spearman x 100 before training; None without dev pairs.
    """

    path: str
    dev_before: float | None

    @property
    def step(self) -> int:
        """The number of steps that were completed."""
        return int(self.path.rpartition("-")[2])


def check_folder(out: Path) -> None:
    """Check that a folder holds neither a finished adapter nor checkpoints of another program.

    Raises:
        UserError: it does.
    """
    checkpoints = out / CHECKPOINTS
    # Checkpoints are deleted last: if they exist, the adapter may be incomplete.
    if (out / "adapter_config.json").exists() and not checkpoints.exists():
        raise UserError(f"--out {out} already contains an adapter; choose another folder")
    is_ours = (checkpoints / _STARTED_FILE).exists()
    # A hidden file is left when the process was killed before the start file was complete.
    if not is_ours and any(not path.name.startswith(".") for path in checkpoints.glob("*")):
        raise UserError(
            f"--out {out} contains a folder '{CHECKPOINTS}' that this command did not write; choose"
            " another folder"
        )


def write_start(out: Path, identity: str, dev_before: float | None) -> None:
    """Record the inputs of a training run."""
    write_json(out / CHECKPOINTS / _STARTED_FILE, {"identity": identity, "dev_before": dev_before})


def find_checkpoint(out: Path, identity: str) -> Checkpoint | None:
    """Return the last complete checkpoint of the same training, or None.

    Args:
        out: the training's folder.
        identity: hash of everything that decides the training.

    Raises:
        UserError: the folder holds another training.
    """
    started = out / CHECKPOINTS / _STARTED_FILE
    if not started.exists():
        return None
    known = json.loads(read_text(started, "training"))
    if known["identity"] != identity:
        raise UserError(
            f"--out {out} contains an unfinished training run with different settings or data; choose another"
            " folder, or delete it"
        )
    complete = [path for path in (out / CHECKPOINTS).glob("checkpoint-*") if _is_complete(path)]
    if not complete:
        return None
    last = max(complete, key=lambda path: int(path.name.rpartition("-")[2]))
    logger.info("resuming from %s", last)
    return Checkpoint(str(last), known["dev_before"])


def _is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely: the trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (checkpoint / "optimizer.pt").exists()


@contextmanager
def reported_failures(out: Path) -> Iterator[None]:
    """Report a full disk or memory in one line.

    Raises:
        UserError: in place of such an error.
    """
    # Here, because torch is imported for it.
    from demosearch.encoder.token_budget import is_out_of_memory

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise UserError(
                "out of memory; use --set mini_batch_size=32 (or less) to process fewer rows at a time,"
                " --set gradient_checkpointing=true to store fewer activations, or --precision nf4"
            ) from error
        if not isinstance(error, OSError) and not _contains(str(error), _DISK_FULL):
            raise
        raise UserError(
            f"cannot write to {out}: {error}; the last complete checkpoint is kept"
        ) from error


def _contains(text: str, phrases: Sequence[str]) -> bool:
    return any(phrase in text for phrase in phrases)
