"""Showing a training's progress in our bar."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerState

from demosearch.progress import Bar


class ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Moves the bar on with every step and notes the last loss and the best dev score."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._loss = ""

    def on_train_begin(self, _arguments: object, state: TrainerState, *_: Any, **__: Any) -> None:
        """Learn how many steps there will be."""
        self._bar.set_total(state.max_steps)

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
