"""The best score so far, as the progress bar shows it."""

from __future__ import annotations

import numpy as np

from demosearch._common.progress import Bar
from demosearch.selection.configurations import Configuration, ConfigurationKey


class Leader:
    """Shows the best score on the largest rung so far in the progress bar."""

    def __init__(self, progress: Bar, baseline: ConfigurationKey) -> None:
        self._progress = progress
        self._baseline_key = baseline
        self._best = (0, -np.inf)
        self._baseline: dict[int, float] = {}

    def report(self, configuration: Configuration, pairs: int, scores: dict[int, float]) -> None:
        """Advance the bar, and show the score if it is the best one on the largest rung so far."""
        self._progress.advance(pairs)
        if configuration.key == self._baseline_key:
            self._baseline = scores
            return
        size, score = max(scores.items(), default=(0, -np.inf))
        if (size, score) > self._best:
            self._best = (size, score)
            gain = score - self._baseline.get(size, np.nan)
            self._progress.note(
                f"best {score:.1f} ({gain:+.1f}) {configuration.describe()['word']}"
            )
