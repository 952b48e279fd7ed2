from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from tests.examples import demonstrations_file


def test_reading_a_written_file_gives_the_same_file(tmp_path: Path) -> None:
    file = demonstrations_file()
    file.write(tmp_path / "d.json")
    assert DemonstrationsFile.read(tmp_path / "d.json") == file


def test_a_written_file_conforms_to_the_published_schema(tmp_path: Path) -> None:
    demonstrations_file().write(tmp_path / "d.json")
    written = json.loads((tmp_path / "d.json").read_text())
    schema = DemonstrationsFile.model_json_schema()
    jsonschema.validate(written, schema)
    del written["dev"]["spearman"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema)


def delete(value: dict[str, Any], *path: str | int) -> None:
    *parents, last = path
    inner: Any = value
    for key in parents:
        inner = inner[key]
    del inner[last]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("format",), "format must be 'demosearch.demonstrations/1' but got None"),
        (("model",), "model is missing"),
        (("dev", "spearman"), "dev.spearman is missing"),
        (("prompts", 0, "query"), "prompts.0.query is missing"),
    ],
)
def test_a_missing_field_is_named(
    tmp_path: Path, path: tuple[str | int, ...], message: str
) -> None:
    value = demonstrations_file().model_dump(mode="json")
    delete(value, *path)
    (tmp_path / "d.json").write_text(json.dumps(value))
    with pytest.raises(UserError) as error:
        DemonstrationsFile.read(tmp_path / "d.json")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format": "demosearch.demonstrations/2"}']
)
def test_another_file_is_a_one_line_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(UserError) as error:
        DemonstrationsFile.read(tmp_path / "d.json")
    assert "d.json" in str(error.value)
    assert "\n" not in str(error.value)
