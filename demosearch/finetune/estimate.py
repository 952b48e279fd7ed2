"""What a training will take, said before it begins."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from demosearch.finetune.rows import columns_of
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.student import contrastive_loss

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

# Bytes a trained parameter takes: its value, its gradient, and Adam's two moments.
_BYTES_TRAINED = 16
# So many rows are tried.
_TRIED_ROWS = 8


def say_estimate(
    student: SentenceTransformer,
    rendered: list[list[str]],
    settings: FinetuneSettings,
    trained: int,
    processes: int,
    done: int,
) -> None:
    """Log what the training will take, from one small step that changes nothing.

    Of several processes one measures, by itself: what they tell each other comes on top.

    Args:
        student: what is trained.
        rendered: the rows.
        settings: of the training.
        trained: how many parameters are.
        processes: that share a batch.
        done: steps of an earlier sitting.
    """
    import torch

    # Without the texts of other processes.
    loss = contrastive_loss(student, settings, 1)
    here = settings.batch_size // processes
    tried = min(settings.mini_batch_size or _TRIED_ROWS, here, len(rendered))
    features = [
        student.preprocess([row[place] for row in rendered[:tried]])
        for place, _ in columns_of(rendered)
    ]
    features = [{name: _on(student, value) for name, value in one.items()} for one in features]
    on_gpu = student.device.type == "cuda"
    # As in training: checkpoints of activations are not taken otherwise.
    student.train()
    for _ in range(2):
        # The first step is slower by what is set up only once.
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        resting = torch.cuda.memory_allocated() if on_gpu else 0
        started = time.monotonic()
        loss(features, None).backward()
        student.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()
    seconds_a_row = (time.monotonic() - started) / tried
    student.eval()
    weights = sum(each.numel() * each.element_size() for each in student.parameters())
    held = ""
    if on_gpu:
        rows = (torch.cuda.max_memory_allocated() - resting) / tried
        rows *= min(settings.mini_batch_size or here, here)
        most = resting + rows + trained * _BYTES_TRAINED
        held = f", at most {most / 2**30:.1f} GiB in all"
    steps = settings.max_steps or len(rendered) // settings.batch_size * settings.epochs
    seconds = seconds_a_row * here * (steps - done)
    if settings.warmup_steps >= steps:
        logger.warning(
            "the learning rate rises over %d steps, of which there are %d: it never gets to %g;"
            " lower warmup_steps",
            settings.warmup_steps,
            steps,
            settings.learning_rate,
        )
    logger.info(
        "%d%s steps of %d rows, about %s; %.1fM trained parameters (%.2f GiB with their moments) on"
        " %.2f GiB of weights%s",
        steps - done,
        f" of {steps}" if done else "",
        settings.batch_size,
        _duration(seconds),
        trained / 1e6,
        trained * _BYTES_TRAINED / 2**30,
        weights / 2**30,
        held,
    )


def _on(student: SentenceTransformer, value: Any) -> Any:
    return value.to(student.device) if hasattr(value, "to") else value


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
