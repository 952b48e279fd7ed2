from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from demosearch.report.figures import LINE, _names_beside


@pytest.mark.parametrize("level", [0.0, 50.0, 100.0])
def test_names_of_points_that_lie_together_do_not_cover_each_other(level: float) -> None:
    axes = Figure().subplots()
    axes.set_ylim(0, 100)
    _names_beside(axes, [(f"model {number}", 1.0, level) for number in range(9)])
    heights = np.sort([text.get_position()[1] for text in axes.texts])
    assert len(heights) == 9
    assert np.diff(heights).min() >= LINE - 1e-9
    assert heights[-1] <= 1
    # As near to their points as that allows.
    assert np.abs(heights - level / 100).max() <= 8 * LINE + 1e-9


def test_a_name_stands_beside_its_point() -> None:
    axes = Figure().subplots()
    axes.set_ylim(20, 80)
    _names_beside(axes, [("low", 1.0, 35.0), ("high", 2.0, 65.0)])
    assert {text.get_text(): text.get_position()[1] for text in axes.texts} == {
        "low": 0.25,
        "high": 0.75,
    }
