"""The learning curve: loss and dev score by step, as a table and as a figure."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demosearch._common.files import atomic_write
from demosearch.finetune.training_record import Step, Training

logger = logging.getLogger(__name__)

CURVE_FILE, CURVE_PICTURE = "curve.csv", "curve.png"
# The names that the trainer gives to the dev pairs and their score.
DEV = "dev"
DEV_SCORE = f"{DEV}_spearman_cosine"


def learning_curve(history: Sequence[dict[str, Any]]) -> list[Step]:
    """Return one point per step from the trainer's log."""
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    name = f"eval_{DEV_SCORE}"
    scores = {entry["step"]: 100 * entry[name] for entry in history if name in entry}
    return [
        Step(
            step=step,
            loss=round(float(losses[step]), 6) if step in losses else None,
            dev=round(float(scores[step]), 4) if step in scores else None,
        )
        for step in sorted(losses.keys() | scores.keys())
    ]


def write_curve(out: Path, training: Training) -> None:
    """Write the curve, including the score before the first step, and its figure."""
    with atomic_write(out / CURVE_FILE) as file:
        table = csv.writer(file)
        table.writerow(Step.model_fields)
        table.writerows(point.model_dump().values() for point in _whole_curve(training))
    _draw(out / CURVE_PICTURE, training)


def _whole_curve(training: Training) -> list[Step]:
    """Return the learning curve, including the score before the first step."""
    if training.dev_before is None:
        return training.curve
    return [Step(step=0, loss=None, dev=training.dev_before), *training.curve]


def _draw(path: Path, training: Training) -> None:
    """Draw the learning curve, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.info("the learning curve is not drawn: matplotlib is not installed")
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    losses = figure.subplots()
    points = [(point.step, point.loss) for point in training.curve if point.loss is not None]
    losses.plot(*zip(*points, strict=True), color="tab:gray", linewidth=1, label="loss")
    losses.set(xlabel="step", ylabel="loss", ylim=(0, None))
    scored = [(point.step, point.dev) for point in _whole_curve(training) if point.dev is not None]
    if scored:
        scores = losses.twinx()
        scores.plot(*zip(*scored, strict=True), color="tab:blue", marker="o", label="dev")
        scores.set_ylabel("dev, Spearman x 100", color="tab:blue")
        if training.best_step is not None:
            scores.axvline(training.best_step, color="tab:blue", linestyle=":", linewidth=1)
    losses.set_title(f"{training.model}: {training.rows} rows, {training.steps} steps")
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
