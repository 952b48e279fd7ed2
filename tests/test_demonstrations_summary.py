from __future__ import annotations

import pytest

from demosearch.demonstrations_file import PostprocessRecord
from demosearch.demonstrations_summary import doubt_in_words, lead_in_words
from tests.examples import demonstrations_file


@pytest.mark.parametrize(
    ("close", "words"),
    [
        (0, "significantly better than the other 2 finalists (95% interval)"),
        (2, "not significantly better than the other 2 finalists"),
        (1, "not significantly better than 1 of the other 2 finalists"),
    ],
)
def test_the_lead_is_called_significant_only_if_it_is(close: int, words: str) -> None:
    file = demonstrations_file()
    ranking = [
        file.ranking[0].model_copy(update={"id": str(index), "spearman": 70.0 - index})
        for index in range(3)
    ]
    dev = file.dev.model_copy(
        update={
            "indistinguishable": [ranked.id for ranked in ranking[1:][:close]],
            "runner_up_ci95": (0.0, 2.0),
        }
    )
    assert lead_in_words(file) is None
    assert lead_in_words(file.model_copy(update={"ranking": ranking, "dev": dev})) == words


def test_a_gain_whose_interval_includes_0_is_doubted() -> None:
    file = demonstrations_file()
    assert doubt_in_words(file) is None
    corrected = file.estimate.model_copy(update={"ci95": (-0.5, 7.0)})
    assert "interval of the gain includes 0" in doubt_in_words(
        file.model_copy(update={"estimate": corrected})
    )
    # Without an estimate, the interval of the uncorrected gain decides.
    dev = file.dev.model_copy(update={"gain_ci95": (0.0, 8.0)})
    assert doubt_in_words(file.model_copy(update={"dev": dev})) is None
    assert "includes 0" in doubt_in_words(file.model_copy(update={"dev": dev, "estimate": None}))
    # The estimate does not include the gain of centering.
    centered = PostprocessRecord(kind="center", fitted_on="dev", texts=2, sha256="0" * 64)
    assert (
        doubt_in_words(file.model_copy(update={"estimate": corrected, "postprocess": centered}))
        is None
    )
    worse = file.dev.model_copy(update={"spearman": 65.25})
    assert "no finalist is better than the baseline" in doubt_in_words(
        file.model_copy(update={"dev": worse})
    )
