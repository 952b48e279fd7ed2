from __future__ import annotations

from pathlib import Path

import pytest

from demosearch import Prompt, search
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.selection import SearchInputs
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, long_candidates

pytestmark = pytest.mark.usefixtures("fewer_resamples", "in_memory")


def test_prompts_that_are_too_long_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "demosearch")
    encoder = FakeEncoder()
    plain = encoder.prompt_tokens(Prompt())
    lengths = {
        candidate.word: encoder.prompt_tokens(Prompt(demonstrations=(candidate,))) - plain
        for candidate in long_candidates()
    }
    most = lengths["W60"]
    file = search(
        encoder, long_candidates(), DEV, folder=tmp_path, max_extra_tokens=most, shots=2
    ).file
    # As good as the prompt without demonstrations, which is preferred.
    assert [row.word for row in file.ranking[:2]] == ["", "W60"]
    assert file.demonstrations == []
    assert set(encoder.encoded) == {word for word, length in lengths.items() if length <= most}
    assert "they have more than" in caplog.text
    assert file.ranking[1].tokens == most
    with pytest.raises(UserError, match="every candidate has more than 0 extra tokens"):
        search(encoder, long_candidates(), DEV, folder=tmp_path / "none", max_extra_tokens=0)


def test_a_warm_start_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    long = Demonstration(sentence="word " * 60 + "end.", word="W2")
    file = search(
        FakeEncoder(),
        fake_candidates(NOISES),
        DEV,
        folder=tmp_path,
        inputs=SearchInputs(warm_start=(long,)),
        max_extra_tokens=30,
        budget="0.3",
    ).file
    assert file.demonstrations[0].word != "W2"
    assert file.carried_over is None
