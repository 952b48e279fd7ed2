from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from demosearch.cli.app import main
from demosearch.cli.completion import SHELLS


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", shell])
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script_with_all_commands(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = script(shell, capsys)
    assert all(name in found for name in ("evaluate", "max-extra-tokens", "sentence-transformers"))


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("demosearch ev", ["evaluate"]),
        ("demosearch search --pa", ["--pareto", "--patience"]),
        ("demosearch export --to v", ["vllm"]),
        ("demosearch search --candidates some", ["some.jsonl"]),
        ("demosearch run --out some", ["some.folder"]),
        ("demosearch run --ensemble s", []),
    ],
)
def test_bash_completes(
    words: str, completed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bash = shutil.which("bash")
    assert bash, "the test needs bash"
    ask = (
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_demosearch;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    (tmp_path / "some.jsonl").touch()
    (tmp_path / "some.folder").mkdir()
    found = subprocess.run(
        [bash, "-c", f"{script('bash', capsys)}\n{ask}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    names = sorted(found.stdout.split())
    assert [name for name in names if name != "some.folder" or "--out" in words] == completed
