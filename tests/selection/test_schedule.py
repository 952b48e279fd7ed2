from __future__ import annotations

from pathlib import Path

import pytest

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.selection.rungs import rung_sizes, survivors
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, search_in_memory

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_the_best_configurations_of_a_rung_are_on_the_next_one(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    search_in_memory(encoder, tmp_path)
    encoded = sorted((encoder.encoded[f"W{noise}"] for noise in NOISES), reverse=True)
    rungs = rung_sizes(len(DEV))
    left = [len(NOISES), *(survivors(len(NOISES), rung) for rung in range(len(rungs) - 1))]
    assert encoded == sorted(
        (
            2 * max(size for size, number in zip(rungs, left, strict=True) if index < number)
            for index in range(len(NOISES))
        ),
        reverse=True,
    )
    assert encoder.encoded["W5"] == 2 * len(DEV)


def test_a_search_in_which_too_many_candidates_fail_is_refused(tmp_path: Path) -> None:
    failing = [
        Demonstration(sentence=f"Too long {row}.", word="Fail", source="fake") for row in range(4)
    ]
    with pytest.raises(
        UserError,
        match=r"of 16 candidates could not be scored; the first one failed because: this prompt",
    ):
        search_in_memory(FakeEncoder(), tmp_path, [*fake_candidates(NOISES), *failing])
