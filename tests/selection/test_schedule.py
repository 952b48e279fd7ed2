from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.metrics.metric import SPEARMAN
from demosearch.selection.rungs import FIRST_TEST, MIN_FINALISTS, rung_sizes, survivors
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, inputs, search_in_memory

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_the_best_configurations_of_a_rung_are_on_the_next_one(tmp_path: Path) -> None:
    # Without the influence of a pair on the metric, nothing is dropped before the cuts.
    metric = replace(SPEARMAN, influences=None)
    encoder = FakeEncoder()
    search_in_memory(encoder, tmp_path, inputs=inputs(metric=metric))
    encoded = sorted((encoder.encoded[f"W{noise}"] for noise in NOISES), reverse=True)
    assert encoded == sorted(by_the_cuts(len(NOISES)), reverse=True)
    assert encoder.encoded["W5"] == 2 * len(DEV)


def test_configurations_that_several_others_are_significantly_better_than_are_dropped(
    tmp_path: Path,
) -> None:
    good, bad = [2, 3, 4, 5, 6], list(range(80, 100))
    encoder = FakeEncoder()
    file = search_in_memory(encoder, tmp_path, fake_candidates([*bad, *good]))
    encoded = {noise: encoder.encoded[f"W{noise}"] for noise in (*good, *bad)}
    rungs = rung_sizes(len(DEV))
    assert max(encoded[noise] for noise in bad) == 2 * rungs[FIRST_TEST]
    # The cuts would have let some of them go on.
    assert sum(size > 2 * rungs[FIRST_TEST] for size in by_the_cuts(25)) > len(good)
    assert sum(encoded[noise] == 2 * len(DEV) for noise in good) >= MIN_FINALISTS
    assert file.demonstrations[0].word in {f"W{noise}" for noise in good}


def by_the_cuts(candidates: int) -> list[int]:
    """Return the number of sentences of each configuration if only the cuts end its race."""
    rungs = rung_sizes(len(DEV))
    left = [candidates, *(survivors(candidates, rung) for rung in range(len(rungs) - 1))]
    return [
        2 * max(size for size, number in zip(rungs, left, strict=True) if index < number)
        for index in range(candidates)
    ]


def test_a_search_in_which_too_many_candidates_fail_is_refused(tmp_path: Path) -> None:
    failing = [
        Demonstration(sentence=f"Too long {row}.", word="Fail", source="fake") for row in range(4)
    ]
    with pytest.raises(
        UserError,
        match=r"of 16 candidates could not be scored; the first one failed because: this prompt",
    ):
        search_in_memory(FakeEncoder(), tmp_path, [*fake_candidates(NOISES), *failing])
