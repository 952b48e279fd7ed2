from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from demosearch.report.style import LINE, names_beside


@pytest.mark.parametrize("level", [0.0, 50.0, 100.0])
def test_labels_of_close_points_do_not_overlap(level: float) -> None:
    axes = Figure().subplots()
    axes.set_ylim(0, 100)
    names_beside(axes, [(f"model {number}", 1.0, level) for number in range(9)])
    heights = np.sort([text.get_position()[1] for text in axes.texts])
    assert len(heights) == 9
    assert np.diff(heights).min() >= LINE - 1e-9
    assert heights[-1] <= 1
    # As close to the points as that allows.
    assert np.abs(heights - level / 100).max() <= 8 * LINE + 1e-9


def test_a_label_is_beside_its_point() -> None:
    axes = Figure().subplots()
    axes.set_ylim(20, 80)
    names_beside(axes, [("low", 1.0, 35.0), ("high", 2.0, 65.0)])
    assert {text.get_text(): text.get_position()[1] for text in axes.texts} == {
        "low": 0.25,
        "high": 0.75,
    }
