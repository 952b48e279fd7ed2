from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from demosearch import Prompt, search
from demosearch.selection import SearchInputs
from demosearch.templates import TEMPLATES
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV

pytestmark = pytest.mark.usefixtures("fewer_resamples", "in_memory")

OWN, OTHER = TEMPLATES["prompteol"], TEMPLATES["knowledge"]


class Better(FakeEncoder):
    """The layer before the last one is better, and so is the other template."""

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        return noises[0] * (0.6 if prompt.template == OTHER else 1)

    def compare(self, texts, prompt, layers, first, second):  # type: ignore[no-untyped-def]
        plain = super().compare(texts, prompt, [None], first, second)[0]
        noise = [
            zlib.crc32(f"{texts[row]} {texts[other]}".encode()) / 2**32
            for row, other in zip(first, second, strict=True)
        ]
        share = {1: 2.0, 2: 0.0, 3: 0.8}
        rows = [plain + share[layer or 3] * np.array(noise) for layer in layers]
        return np.stack(rows).astype(np.float32)


def _score(encoder: FakeEncoder, prompt: Prompt, layer: int) -> float:
    texts = [*DEV.sentences1, *DEV.sentences2]
    count = len(DEV)
    (found,) = encoder.compare(texts, prompt, [layer], range(count), range(count, 2 * count))
    return 100 * float(stats.spearmanr(found, DEV.scores).statistic)


def test_the_gain_is_taken_apart(tmp_path: Path) -> None:
    inputs = SearchInputs(templates=(OWN, OTHER))
    result = search(
        Better(), fake_candidates([30, 20, 50]), DEV, folder=tmp_path, layer="auto", inputs=inputs
    )
    file = result.file
    (best,) = result.prompts
    assert (best.layer, best.template) == (2, OTHER)
    # Each part is over the best that could be had without it.
    scores = [
        _score(Better(), Prompt(OWN), 3),
        _score(Better(), Prompt(OWN), 2),
        _score(Better(), Prompt(OTHER), 2),
        _score(Better(), best, 2),
    ]
    assert [step.part for step in file.steps] == ["layer", "template", "demonstrations"]
    gains = [step.gain for step in file.steps]
    np.testing.assert_allclose(gains, np.diff(scores), atol=0.01)
    assert sum(gains) == pytest.approx(file.dev.gain)
    assert [system.prompts for system in result.systems] == [
        (Prompt(OWN),),
        (replace(Prompt(OWN), layer=2),),
        (replace(Prompt(OTHER), layer=2),),
        (best,),
    ]
    # What the demonstrations gain is less than the whole gain, also corrected.
    assert 0 < file.estimate.demonstrations_gain < file.estimate.gain


def test_the_prompt_without_demonstrations_competes_at_every_layer(tmp_path: Path) -> None:
    # With any of these demonstrations, the score is worse than without one at layer 2.
    result = search(Better(), fake_candidates([70, 80, 90]), DEV, folder=tmp_path, layer="auto")
    file = result.file
    assert file.demonstrations == []
    assert file.prompts[0].layer == 2
    layer, demonstrations = file.steps
    assert layer.gain == pytest.approx(file.dev.gain)
    assert (demonstrations.gain, demonstrations.gain_ci95) == (0, (0, 0))
    assert demonstrations.demonstrations == 0
    assert file.ranking[0].id == "baseline"


def test_a_template_is_scored_on_all_pairs_without_demonstrations(tmp_path: Path) -> None:
    class Worse(FakeEncoder):
        def noise(self, prompt: Prompt, noises: list[float]) -> float:
            return noises[0] * (1.5 if prompt.template == OTHER else 1)

    inputs = SearchInputs(templates=(OWN, OTHER))
    candidates = fake_candidates(range(20, 40))
    file = search(Worse(), candidates, DEV, folder=tmp_path, inputs=inputs).file
    assert {"baseline", "none@knowledge"} <= {row.id for row in file.ranking}
    assert [step.gain for step in file.steps if step.part == "template"] == [0]
