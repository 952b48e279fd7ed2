from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demosearch import Embedder, search
from demosearch.metrics.similarity import cosine
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, DyingEncoder, Killed, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples", "in_memory")


def test_prompts_with_different_errors_are_averaged(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    noises = [40, 41, 42, 43, 90, 95]
    result = search(encoder, fake_candidates(noises), DEV, folder=tmp_path, ensemble=3)
    file = result.file
    assert 2 <= len(file.prompts) <= 3
    assert len(result.prompts) == len(file.prompts) == file.steps[-1].prompts
    assert file.demonstrations == [
        demonstration for prompt in result.prompts for demonstration in prompt.demonstrations
    ]
    # The score is that of the embedder with these prompts.
    states = Embedder(encoder, result.prompts).encode
    found = cosine(states(DEV.sentences1), states(DEV.sentences2))
    expected = 100 * stats.spearmanr(found, DEV.scores).statistic
    assert file.dev.spearman == pytest.approx(expected, abs=0.01)
    assert file.dev.spearman > file.ranking[0].spearman
    assert file.steps[-1].spearman == file.dev.spearman
    # The corrected gain repeats the choice of an ensemble, not of one prompt.
    assert file.estimate.gain > file.ranking[0].spearman - file.dev.baseline_spearman


@pytest.mark.parametrize(("most", "looked_at"), [(2, 8), (5, 10)])
def test_a_large_ensemble_is_chosen_among_twice_as_many_prompts(
    tmp_path: Path, most: int, looked_at: int
) -> None:
    found = search(
        FakeEncoder(),
        fake_candidates([*range(40, 50), 90, 95]),
        DEV,
        folder=tmp_path,
        strategy="exhaustive",
        ensemble=most,
    )
    assert found.file.estimate.candidates == looked_at


class Narrowing(FakeEncoder):
    """The last layer is narrower, as OPT-350M's; odd words are best there, even ones a layer before."""

    def width(self, layer: int | None) -> int:
        return 3 if layer == 2 else 2

    def encode(self, texts, prompt, *, advance=None):  # type: ignore[no-untyped-def]
        states = super().encode(texts, prompt, advance=advance)
        return np.pad(states, ((0, 0), (0, self.width(prompt.layer) - 2)))

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        (plain,) = super().compare(texts, replace(prompt, layer=3), [3], first, second)
        best = 3 if prompt.demonstrations and prompt.demonstrations[0].word in ("W41", "W43") else 2
        return np.stack([plain if layer == best else plain**9 - plain for layer in layers])


def test_prompts_whose_layers_differ_in_width_are_not_averaged(tmp_path: Path) -> None:
    candidates = fake_candidates([42, 44, 41, 43])
    result = search(Narrowing(), candidates, DEV, folder=tmp_path, layer="auto", ensemble=4)
    ranked = {row.layer for row in result.file.ranking}
    assert ranked == {2, 3}
    assert [prompt.layer for prompt in result.prompts] == [result.file.ranking[0].layer] * 2


def test_an_ensemble_is_computed_once(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates([40, 41, 42, 43]), "dev": DEV, "ensemble": 3}
    first = search(FakeEncoder(), **arguments, folder=tmp_path).file
    again = FakeEncoder()
    second = search(again, **arguments, folder=tmp_path).file
    assert again.encoded.total() == 0
    assert second == first
    assert not list(tmp_path.rglob("*.states.npz"))


def test_a_kill_during_an_ensemble_costs_one_prompt(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates([40, 41, 42, 43]), "dev": DEV, "ensemble": 3}
    whole = FakeEncoder()
    expected = search(whole, **arguments, folder=tmp_path / "whole").file
    search(FakeEncoder(), **(arguments | {"ensemble": 1}), folder=tmp_path / "killed")
    dying, second = DyingEncoder(2), FakeEncoder()
    with suppress(Killed):
        search(dying, **arguments, folder=tmp_path / "killed")
    found = search(second, **arguments, folder=tmp_path / "killed").file
    assert timeless(found) == timeless(expected)
    # Two of five prompts, one of them without demonstrations, were finished.
    assert (dying.encoded.total(), second.encoded.total()) == (2 * 480, 3 * 480)
