from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demosearch import Embedder, search
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.metrics.similarity import cosine
from demosearch.selection import SearchInputs, Unlabeled
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, DyingEncoder, Killed, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples", "in_memory")


WIDTH = 8


class Elongated(FakeEncoder):
    """States that vary most in one direction and are far from the origin, as a language model's.

    The first sentences of the pairs point in all directions, and the second ones are at an angle to them.
    """

    def width(self, layer: int | None) -> int:
        del layer
        return WIDTH

    def _state(self, text: str, word: str, noise: float) -> np.ndarray:
        along, across = super()._state(text, word, noise)
        generator = np.random.default_rng(zlib.crc32(text.split()[2].encode()))
        axes = np.linalg.qr(generator.normal(size=(WIDTH, 2)))[0]
        state = axes @ np.array([along, across])
        return (state * [4, 2, *[1] * (WIDTH - 2)] + 2).astype(np.float32)

    def unembedding(self) -> np.ndarray:
        return np.diag(np.arange(1.0, WIDTH + 1)).astype(np.float32)


def test_whitening_is_chosen_if_it_improves_the_score(tmp_path: Path) -> None:
    encoder = Elongated()
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV, "folder": tmp_path}
    result = search(encoder, **arguments, postprocess="whiten")
    file = result.file
    assert file.postprocess.kind == "whiten"
    assert (file.postprocess.fitted_on, file.postprocess.texts) == ("fake dev", 480)
    assert [step.part for step in file.steps] == ["demonstrations", "postprocess"]
    assert file.steps[-1].spearman == file.dev.spearman > file.ranking[0].spearman
    # The gains of the steps add up to the whole gain.
    assert sum(step.gain for step in file.taken_steps) == pytest.approx(file.dev.gain)
    # The file as read again gives the score that it holds.
    file.write(tmp_path / "best.json")
    read = DemonstrationsFile.read(tmp_path / "best.json")
    states = Embedder(encoder, result.prompts, postprocess=read.postprocessing).encode
    found = cosine(states(DEV.sentences1), states(DEV.sentences2))
    expected = 100 * stats.spearmanr(found, DEV.scores).statistic
    assert read.dev.spearman == pytest.approx(expected, abs=0.01)
    # Nothing is encoded again.
    again = Elongated()
    assert timeless(search(again, **arguments, postprocess="whiten").file) == timeless(file)
    assert again.encoded.total() == 0


def test_an_ensemble_is_averaged_and_then_mapped(tmp_path: Path) -> None:
    encoder = Elongated()
    arguments = {"candidates": fake_candidates([15, 16, 17, 18]), "dev": DEV, "folder": tmp_path}
    result = search(encoder, **arguments, postprocess="whiten", ensemble=3)
    file = result.file
    assert [step.part for step in file.taken_steps[:3]] == [
        "demonstrations", "postprocess", "averaging",
    ]  # fmt: skip
    assert len(file.prompts) == len(set(result.prompts)) >= 2
    assert sum(step.gain for step in file.taken_steps) == pytest.approx(file.dev.gain)
    assert file.postprocess.exponent == result.systems[-2].postprocess.record.exponent
    # The map is fitted on the means of normalized embeddings, and the file gives the score that it holds.
    file.write(tmp_path / "best.json")
    postprocess = DemonstrationsFile.read(tmp_path / "best.json").postprocessing
    states = [encoder.encode(DEV.sentences(), prompt) for prompt in result.prompts]
    mean = np.mean([rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in states], axis=0)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(postprocess.mean, mean.mean(axis=0), atol=1e-6)
    read = Embedder(encoder, result.prompts, postprocess=postprocess).encode
    found = cosine(read(DEV.sentences1), read(DEV.sentences2))
    expected = 100 * stats.spearmanr(found, DEV.scores).statistic
    assert file.dev.spearman == pytest.approx(expected, abs=0.01)
    # Nothing is encoded again.
    again = Elongated()
    resumed = search(again, **arguments, postprocess="whiten", ensemble=3).file
    assert timeless(resumed) == timeless(file)
    assert again.encoded.total() == 0


def test_post_processing_that_does_not_help_is_left_out_and_recorded(tmp_path: Path) -> None:
    inputs = SearchInputs(unlabeled=Unlabeled("far", ["text 0 0", "text 0.1 1"]))
    file = search(
        FakeEncoder(),
        fake_candidates(NOISES),
        DEV,
        folder=tmp_path,
        postprocess="whiten",
        inputs=inputs,
    ).file
    assert file.postprocess is None
    assert file.postprocessing is None
    assert not file.steps[-1].taken
    assert file.dev.spearman == file.ranking[0].spearman


def test_embfilter_takes_the_unembedding_of_the_encoder(tmp_path: Path) -> None:
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV}
    file = search(Elongated(), **arguments, folder=tmp_path, postprocess="embfilter").file
    (step,) = [step for step in file.steps if step.part == "postprocess"]
    assert step.postprocess.startswith("embfilter, ratio ")
    with pytest.raises(UserError, match="embfilter requires an encoder with a method"):
        search(FakeEncoder(), **arguments, folder=tmp_path / "2", postprocess="embfilter")


def test_few_texts_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = SearchInputs(unlabeled=Unlabeled("few", ["text 0 0", "text 1 1"]))
    search(
        Elongated(),
        fake_candidates(NOISES),
        DEV,
        folder=tmp_path,
        postprocess="whiten",
        inputs=inputs,
    )
    assert "few has 2 texts for 8 dimensions; at least 24 are recommended" in caplog.text


def test_a_kill_costs_one_prompt(tmp_path: Path) -> None:
    class Dying(DyingEncoder, Elongated):
        pass

    arguments = {"candidates": fake_candidates([40, 41, 42]), "dev": DEV}
    expected = search(Elongated(), **arguments, folder=tmp_path / "a", postprocess="whiten").file
    search(Elongated(), **arguments, folder=tmp_path / "b")
    with suppress(Killed):
        search(Dying(2), **arguments, folder=tmp_path / "b", postprocess="whiten")
    second = Elongated()
    found = search(second, **arguments, folder=tmp_path / "b", postprocess="whiten").file
    assert timeless(found) == timeless(expected)
    # Two of four prompts, one of them without demonstrations, were finished.
    assert second.encoded.total() == 2 * 480
    assert not list(tmp_path.rglob("*.states.npz"))


@pytest.mark.parametrize("value", ["center", "whiten,nothing", ""])
def test_an_unknown_kind_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match="postprocess must be none, all or of whiten, embfilter"):
        search(FakeEncoder(), fake_candidates([1]), DEV, folder=tmp_path, postprocess=value)
