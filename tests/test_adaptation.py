from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demosearch import Embedder, Encoder
from demosearch.cli.app import main
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.postprocess import Unlabeled, Whitening
from tests.examples import demonstrations_file

TEXTS = [f"Sentence number {row} is here." for row in range(200)]


@pytest.fixture
def best(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    value = demonstrations_file(encoder.record).model_dump()
    value["prompts"][0]["layer"] = encoder.layers
    path = tmp_path / "best.json"
    DemonstrationsFile.model_validate(value).write(path)
    return path


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


def test_whitening_is_fitted_on_the_texts_of_a_file(
    best: Path, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapted.json"
    assert main(["adapt", str(best), "--unlabeled", str(lines), "--out", str(out)]) == 0
    assert "whitened, exponent 0.25, ridge 0.01, fitted on 200 texts" in capsys.readouterr().out
    plain, adapted = (Embedder.load(path, device="cpu") for path in (best, out))
    expected = Whitening(plain.encode(TEXTS), Unlabeled("lines.txt", TEXTS)).map()
    np.testing.assert_allclose(
        adapted.encode(TEXTS[:9]), expected.apply(plain.encode(TEXTS[:9])), atol=1e-4
    )
    np.testing.assert_array_equal(
        adapted.encode(TEXTS[:9], postprocess=False), plain.encode(TEXTS[:9])
    )
    before, after = map(DemonstrationsFile.read, (best, out))
    assert after.postprocess.refitted
    assert after.dev == before.dev


def test_the_settings_of_the_file_are_kept_unless_others_are_given(
    best: Path, lines: Path, tmp_path: Path
) -> None:
    first, second, third = (str(tmp_path / f"{name}.json") for name in "abc")
    unlabeled = ["--unlabeled", str(lines), "--quiet"]
    given = ["--exponent", "0.4", "--ridge", "0.2"]
    assert main(["adapt", str(best), *unlabeled, *given, "--out", first]) == 0
    assert main(["adapt", first, *unlabeled, "--out", second]) == 0
    assert main(["adapt", first, *unlabeled, "--exponent", "0", "--out", third]) == 0
    records = [DemonstrationsFile.read(path).postprocess for path in (first, second, third)]
    assert [(record.exponent, record.ridge) for record in records] == [
        (0.4, 0.2),
        (0.4, 0.2),
        (0, 0.2),
    ]
    assert records[0] == records[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--exponent", "2"], "exponent must be from 0 to 1 but got 2"),
        (["--ridge", "-1"], "ridge must be at least 0 but got -1"),
        (["--unlabeled", "missing.txt"], "missing.txt"),
        (["--out", "vectors.npy"], "--out must be a file that ends in .json"),
    ],
)
def test_wrong_input_is_one_line(
    best: Path,
    lines: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    out = str(tmp_path / "out.json")
    given = {
        "--unlabeled": str(lines),
        "--out": out,
        **dict(zip(*[iter(options)] * 2, strict=True)),
    }
    flat = [part for pair in given.items() for part in pair]
    assert main(["adapt", str(best), *flat]) == 2
    assert message in capsys.readouterr().err
    assert not Path(out).exists()
