"""Watching a training: our bar, the learning curve, and an end when the loss is no number."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerState

from demosearch._common.progress import Bar
from demosearch.errors import UserError


class ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Moves the bar on with every step and notes the last loss and the best dev score."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._loss = ""

    def on_train_begin(self, _arguments: object, state: TrainerState, *_: Any, **__: Any) -> None:
        """Learn how many steps there will be, and how many there were before a restart."""
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
        """Show the newest loss and the best dev score so far."""
        if logs and "loss" in logs:
            self._loss = f"loss {float(logs['loss']):.3f}"
        best = f", best dev {100 * state.best_metric:.1f}" if state.best_metric else ""
        self._bar.note(self._loss + best)


class StopWhenNotFinite(TrainerCallback):  # type: ignore[misc]
    """Ends a training whose loss is no number any more; the checkpoints before it stay."""

    def on_log(
        self,
        _arguments: object,
        state: TrainerState,
        *_: Any,
        logs: dict[str, Any] | None = None,
        **__: Any,
    ) -> None:
        """Look at the newest loss.

        Raises:
            UserError: it is not finite.
        """
        if logs and "loss" in logs and not math.isfinite(float(logs["loss"])):
            raise UserError(
                f"the loss is {logs['loss']} at step {state.global_step}; lower learning_rate, or"
                " train in bf16 or fp32"
            )
