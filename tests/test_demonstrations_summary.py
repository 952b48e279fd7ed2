from __future__ import annotations

import pytest

from demosearch.demonstrations_records import StepRecord
from demosearch.demonstrations_summary import doubt_in_words, lead_in_words, step_in_words
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
    assert "interval of the corrected gain includes 0" in doubt_in_words(
        file.model_copy(update={"estimate": corrected})
    )
    # Without an estimate, the interval of the uncorrected gain decides.
    dev = file.dev.model_copy(update={"gain_ci95": (0.0, 8.0)})
    assert doubt_in_words(file.model_copy(update={"dev": dev})) is None
    assert "includes 0" in doubt_in_words(file.model_copy(update={"dev": dev, "estimate": None}))
    # What the demonstrations gain decides, where it is known.
    whole = file.estimate.model_copy(
        update={"demonstrations_gain": 1.0, "demonstrations_ci95": (-0.5, 2.0)}
    )
    assert "demonstrations are not significantly better" in doubt_in_words(
        file.model_copy(update={"estimate": whole})
    )
    none = doubt_in_words(file.model_copy(update={"demonstrations": []}))
    assert none == "the prompt without demonstrations is best; the file holds it"
    worse = file.dev.model_copy(update={"spearman": 65.25})
    assert "no finalist is better than the baseline" in doubt_in_words(
        file.model_copy(update={"dev": worse})
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"part": "layer", "layer": 28}, "layer 28, without demonstrations"),
        (
            {"part": "template", "template": "knowledge", "layer": 28},
            "template knowledge, layer 28, without demonstrations",
        ),
        ({"part": "demonstrations", "layer": 26}, "1 demonstration, layer 26"),
        (
            {"part": "demonstrations", "layer": 28, "demonstrations": 0},
            "no demonstration, layer 28",
        ),
        ({"part": "averaging", "prompts": 2}, "mean of 2 prompts"),
        (
            {"part": "postprocess", "layer": 30, "postprocess": "whitened, exponent 0.25"},
            "whitened, exponent 0.25, 1 demonstration, layer 30",
        ),
        ({"centered": True}, "1 prompt, 1 demonstration, centered"),
    ],
)
def test_a_step_in_words(fields: dict[str, object], words: str) -> None:
    defaults = {"prompts": 1, "demonstrations": 1, "spearman": 80.0, "gain": 1.0}
    step = StepRecord.model_validate({**defaults, "gain_ci95": (0.5, 1.5), **fields})
    assert step_in_words(step) == words
