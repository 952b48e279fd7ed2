from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot

from demosearch.report import read_runs
from demosearch.report.figures import race
from tests.report.test_page import make_run


def test_the_baseline_has_one_line_although_it_is_among_the_finalists(tmp_path: Path) -> None:
    (run,) = read_runs([make_run(tmp_path / "run", layer="auto")])
    assert "baseline" in {candidate.id for candidate in run.file.ranking}
    figure = race(run)
    lines = figure.axes[0].lines
    labels = [str(line.get_label()) for line in lines]
    pyplot.close(figure)
    (baseline,) = [line for line in lines if line.get_label() == "baseline"]
    same = [line for line in lines if np.array_equal(line.get_ydata(), baseline.get_ydata())]
    assert same == [baseline]
    # All finalists with a demonstration have a line of their own.
    words = {candidate.word for candidate in run.file.ranking if candidate.id != "baseline"}
    assert words <= set(labels)
