"""Word lists and pipelines are found in a checkout and in an installed wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from demosearch._common.resources import resource
from demosearch.errors import UserError
from tests.conftest import REPOSITORY


def test_a_missing_resource_is_an_error() -> None:
    assert resource("wordlists", "starter_pairs.csv").is_file()
    with pytest.raises(UserError, match=r"wordlists/none\.csv is missing"):
        resource("wordlists", "none.csv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q",
         "-w", str(folder), str(REPOSITORY)],
        check=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_one_top_level_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"demosearch"}
    for folder in ("wordlists", "pipelines"):
        for path in (REPOSITORY / folder).glob("*.[cty]*"):
            assert f"demosearch/{folder}/{path.name}" in names


@pytest.mark.parametrize("installed", ["wheel", "editable"])
def test_resources_are_found_outside_the_checkout(
    wheel: Path, tmp_path: Path, installed: str
) -> None:
    code = "from demosearch.pipeline import load_pipeline as l; print(l('quickstart').dev)"
    code += "; import demosearch; print(demosearch.__file__)"
    if installed == "wheel":
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    dev, location = result.stdout.split()
    assert dev == "starter"
    assert location.startswith(str(tmp_path / "site")) == (installed == "wheel")
