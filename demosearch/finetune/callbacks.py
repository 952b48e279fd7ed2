"""Callbacks of the trainer: the progress bar, and an end when the loss is not finite."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerState

from demosearch._common.progress import Bar
from demosearch.errors import UserError
from demosearch.finetune.curve import DEV_SCORE


class ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Advances the bar with every step, and shows the last loss and the best dev score."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._loss = ""

    def on_train_begin(self, _arguments: object, state: TrainerState, *_: Any, **__: Any) -> None:
        """Set the number of steps, and those completed before a restart."""
        self._bar.set_total(state.max_steps)
        self._bar.advance(state.global_step)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count the step."""
        self._bar.advance(1)

    def on_log(
        self,
        _arguments: object,
        state: TrainerState,
        *_: Any,
        logs: dict[str, Any] | None = None,
        **__: Any,
    ) -> None:
        """Show the latest loss and the best dev score so far."""
        if logs and "loss" in logs:
            self._loss = f"loss {float(logs['loss']):.3f}"
        best = f", best dev {100 * state.best_metric:.1f}" if state.best_metric else ""
        self._bar.note(self._loss + best)


class StopWhenNotFinite(TrainerCallback):  # type: ignore[misc]
    """Ends a training whose loss or dev score is not finite; earlier checkpoints are kept."""

    def on_evaluate(
        self,
        _arguments: object,
        state: TrainerState,
        *_: Any,
        metrics: dict[str, Any] | None = None,
        **__: Any,
    ) -> None:
        """Check the latest dev score.

        Raises:
            UserError: it is not finite.
        """
        if metrics and f"eval_{DEV_SCORE}" in metrics:
            check_dev_score(float(metrics[f"eval_{DEV_SCORE}"]), state.global_step)

    def on_log(
        self,
        _arguments: object,
        state: TrainerState,
        *_: Any,
        logs: dict[str, Any] | None = None,
        **__: Any,
    ) -> None:
        """Check the latest loss.

        Raises:
            UserError: it is not finite.
        """
        if logs and "loss" in logs and not math.isfinite(float(logs["loss"])):
            raise UserError(
                f"the loss is {logs['loss']} at step {state.global_step}; lower learning_rate, or"
                " train in bf16 or fp32"
            )


def check_dev_score(score: float, step: int) -> None:
    """Check that a dev score is a number.

    Raises:
        UserError: it is not: an embedding is not finite, or the similarities of all dev pairs are equal,
            or the gold scores are.
    """
    if not math.isfinite(score):
        advice = "lower learning_rate, or use" if step else "use"
        raise UserError(
            f"the dev score is {score} at step {step}: an embedding is not finite, or all similarities or"
            f" all gold scores of the dev pairs are equal; train in bf16 or fp32, {advice} other dev"
            " pairs"
        )
