from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from scipy import stats

from demosearch.errors import UserError
from demosearch.metrics import metric
from demosearch.metrics.metric import PEARSON, SPEARMAN, find_metric


def test_the_known_metrics_are_found_by_name() -> None:
    assert find_metric("spearman") is SPEARMAN
    assert find_metric("pearson") is PEARSON


def test_a_metric_of_a_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = [
        EntryPoint("kendall", "tests.metrics.registered:kendall", metric.ENTRY_POINTS),
        EntryPoint("gone", "tests.metrics.registered:gone", metric.ENTRY_POINTS),
        EntryPoint("broken", "tests.metrics.registered:broken", metric.ENTRY_POINTS),
    ]
    monkeypatch.setattr(
        metric, "entry_points", lambda group: EntryPoints(registered).select(group=group)
    )
    generator = np.random.default_rng(8)
    similarities, gold = generator.normal(size=(2, 3, 20)), generator.normal(size=20)
    scores = find_metric("kendall").score(similarities, gold)
    expected = [[stats.kendalltau(row, gold).statistic for row in rows] for rows in similarities]
    np.testing.assert_allclose(scores, expected)
    with pytest.raises(UserError, match=r"^metric must be one of spearman, pearson, broken, "):
        find_metric("none")
    with pytest.raises(UserError, match="metric 'gone' cannot be loaded"):
        find_metric("gone")
    with pytest.raises(UserError, match="metric 'broken' failed: no luck"):
        find_metric("broken").score(similarities, gold)
