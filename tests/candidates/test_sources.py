from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demosearch.candidates import CandidateSettings
from demosearch.candidates.sources import (
    open_labeler,
    read_sentences,
    resolved,
    warn_of_unused_sentences,
)
from demosearch.errors import UserError
from demosearch.models.options import LoadOptions


def test_auto_is_resolved_by_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(CandidateSettings(), None).labeler == "local"
    assert resolved(CandidateSettings(), None).sentences == "starter"
    assert resolved(CandidateSettings(), None, hub=True).sentences == "stsb-train"
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert resolved(CandidateSettings(), None).labeler == "openai"


@pytest.mark.data
def test_a_file_of_sentences_without_a_labeler_is_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_unused_sentences(CandidateSettings(labeler="none", sentences="starter"))
    warn_of_unused_sentences(CandidateSettings(labeler="local", sentences="mine.txt"))
    assert not caplog.messages
    warn_of_unused_sentences(CandidateSettings(labeler="none", sentences="mine.txt"))
    (warning,) = caplog.messages
    assert warning.startswith("the sentences of mine.txt are not used, because the labeler is none")


def test_auto_sentences_are_those_of_stsb_train_if_it_is_available(data: Path) -> None:
    assert resolved(CandidateSettings(), str(data)).sentences == "stsb-train"
    assert len(read_sentences("stsb-train", str(data))) > 10000


def test_sentences_are_read_from_text_files_and_tables(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("One here.\n\nTwo here.\nOne here.\n")
    (tmp_path / "s.jsonl").write_text('{"text": "One here."}\n{"sentence": "Two here."}\n')
    for name in ("s.txt", "s.jsonl"):
        assert read_sentences(str(tmp_path / name), None) == ["One here.", "Two here."]
    assert len(read_sentences("starter", None)) >= 100
    (tmp_path / "e.txt").write_text("\n")
    with pytest.raises(UserError, match="contains no sentences"):
        read_sentences(str(tmp_path / "e.txt"), None)
    with pytest.raises(UserError, match="cannot read"):
        read_sentences(str(tmp_path / "none.txt"), None)


def test_a_column_that_is_missing_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("title,score\nOne here.,3\n")
    with pytest.raises(UserError, match=r"s\.csv, line 2: the column 'sentence' is missing"):
        read_sentences(str(tmp_path / "s.csv"), None)


def test_the_local_labeler_requires_a_model() -> None:
    with pytest.raises(UserError, match="requires a model; add --model"):
        open_labeler(CandidateSettings(labeler="local"), None, LoadOptions())


def test_the_error_for_a_missing_openai_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("chat", "chat_server"):
        monkeypatch.delitem(sys.modules, f"demosearch.candidates.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"openai labeler requires .*'demosearch\[openai\]'"):
        open_labeler(CandidateSettings(labeler="openai"), None, LoadOptions())
