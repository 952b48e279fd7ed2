from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demosearch import Prompt, search
from demosearch.errors import UserError
from demosearch.metrics.metric import PEARSON
from demosearch.selection import SearchInputs, SearchSettings, Unlabeled
from demosearch.selection import inputs as module
from demosearch.selection.inputs import read_unlabeled
from demosearch.templates import TEMPLATES
from tests.fakes import FakeEncoder, fake_candidates
from tests.selection.searches import DEV, NOISES, timeless

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_the_defaults_are_what_the_default_settings_name() -> None:
    assert SearchInputs() == SearchInputs.read(SearchSettings(), DEV)


def test_names_in_the_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("One.\nTwo.\nOne.\n")
    result = search(FakeEncoder(), fake_candidates(NOISES), DEV, folder=tmp_path)
    result.file.write(tmp_path / "other.json")
    settings = SearchSettings(
        template="knowledge,echo",
        metric="pearson",
        warm_start=(str(tmp_path / "other.json"),),
        postprocess="whiten",
        unlabeled=str(tmp_path / "texts.txt"),
    )
    inputs = SearchInputs.read(settings, DEV)
    assert inputs == SearchInputs(
        templates=(TEMPLATES["knowledge"], TEMPLATES["echo"]),
        metric=PEARSON,
        warm_start=tuple(result.file.demonstrations),
        unlabeled=Unlabeled("texts.txt", ["One.", "Two."]),
    )
    dev = SearchInputs.read(SearchSettings(postprocess="all"), DEV).unlabeled
    assert dev == Unlabeled(f"{DEV.name} dev", DEV.sentences())
    # Without whitening, texts are not read.
    settings = SearchSettings(postprocess="embfilter", unlabeled="missing.txt")
    assert SearchInputs.read(settings, DEV).unlabeled is None


def test_values_and_the_settings_that_name_them_give_the_same_search(tmp_path: Path) -> None:
    candidates = fake_candidates(NOISES)
    named = search(FakeEncoder(), candidates, DEV, folder=tmp_path / "a", metric="pearson")
    given = search(
        FakeEncoder(), candidates, DEV, folder=tmp_path / "b", inputs=SearchInputs(metric=PEARSON)
    )
    assert timeless(named.file) == timeless(given.file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("template", "knowledge"),
        ("metric", "pearson"),
        ("warm_start", ("a.json",)),
        ("unlabeled", "stsb-train"),
    ],
)
def test_a_setting_that_the_inputs_were_not_read_from_is_an_error(
    tmp_path: Path, name: str, value: object
) -> None:
    encoder, candidates = FakeEncoder(), fake_candidates(NOISES)
    with pytest.raises(UserError, match=f"^{name} must not be set beside `inputs` but got "):
        search(encoder, candidates, DEV, folder=tmp_path, inputs=SearchInputs(), **{name: value})
    assert not encoder.encoded


def test_some_inputs_may_be_read_and_others_given(tmp_path: Path) -> None:
    settings = SearchSettings(template="knowledge")
    (demonstration,) = fake_candidates([97])
    inputs = replace(SearchInputs.read(settings, DEV), warm_start=(demonstration,))
    result = search(
        FakeEncoder(), fake_candidates(NOISES), DEV, settings, folder=tmp_path, inputs=inputs
    )
    assert [row.word for row in result.file.carried_over] == ["W97"]
    assert result.prompt.template == TEMPLATES["knowledge"] != Prompt().template


def test_unlabeled_texts_must_not_be_empty() -> None:
    with pytest.raises(UserError, match=r"^far must contain at least one text to fit"):
        Unlabeled("far", [])


def test_of_many_unlabeled_texts_a_sample_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TEXTS", 3)
    (tmp_path / "texts.txt").write_text("".join(f"Text {row}.\n" for row in range(9)))
    texts = read_unlabeled(str(tmp_path / "texts.txt")).texts
    assert len(set(texts)) == 3
    assert texts == sorted(texts)
    assert read_unlabeled(str(tmp_path / "texts.txt")).texts == texts


def test_the_setting_of_earlier_versions_is_whitening() -> None:
    settings = SearchSettings(center="texts.txt")
    assert (settings.postprocess, settings.unlabeled) == ("whiten", "texts.txt")
    assert SearchSettings(center=None) == SearchSettings()


def test_templates_with_the_same_name_are_refused() -> None:
    plain = TEMPLATES["prompteol"]
    with pytest.raises(UserError, match="names of templates must differ but got 'prompteol' twice"):
        SearchInputs(templates=(plain, replace(plain, joiner=" ")))
