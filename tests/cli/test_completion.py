from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from demosearch.cli.app import main
from demosearch.cli.completion import Shell


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--print-completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", get_args(Shell))
def test_the_script_of_each_shell_has_all_commands(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = script(shell, capsys)
    for name in ("evaluate", "max-extra-tokens", "sentence-transformers"):
        assert name in printed


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("demosearch ev", ["evaluate"]),
        ("demosearch search --pa", ["--patience"]),
        ("demosearch export --to v", ["vllm"]),
        ("demosearch search --layer a", ["auto"]),
        ("demosearch search --candidates some", ["some.folder", "some.jsonl"]),
        ("demosearch run --ensemble s", []),
    ],
)
def test_bash_completes_words(
    words: str, completed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bash = shutil.which("bash")
    assert bash, "the test requires bash"
    ask = (
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _demosearch;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    (tmp_path / "some.jsonl").touch()
    (tmp_path / "some.folder").mkdir()
    printed = subprocess.run(
        [bash, "-c", f"{script('bash', capsys)}\n{ask}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout
    assert sorted(printed.split()) == completed


def test_options_without_choices_complete_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert "complete -o default -F _demosearch demosearch" in script("bash", capsys)
    assert ":warm-start:_files'" in script("zsh", capsys)
