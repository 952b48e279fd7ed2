from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.evaluation.result import Result
from demosearch.finetune.training_record import Training
from demosearch.selection.gain import Gain
from tests.conftest import REPOSITORY
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


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (("prompts", 0, "weight"), "1e999", "prompts.0.weight must be a finite number but got inf"),
        (("prompts", 0, "weight"), "NaN", "prompts.0.weight must be a number but got None"),
        (("dev", "spearman"), "null", "dev.spearman must be a number but got None"),
        (("dev", "spearman"), "NaN", "dev.spearman must be a number but got None"),
        (("dev", "gain_ci95", 1), "Infinity", "dev.gain_ci95.1 must be a number but got None"),
    ],
)
def test_a_number_that_is_not_finite_is_named(
    tmp_path: Path, path: tuple[str | int, ...], text: str, message: str
) -> None:
    value = demonstrations_file().model_dump(mode="json")
    *parents, last = path
    inner: Any = value
    for key in parents:
        inner = inner[key]
    inner[last] = "HERE"
    (tmp_path / "d.json").write_text(json.dumps(value).replace('"HERE"', text))
    with pytest.raises(UserError) as error:
        DemonstrationsFile.read(tmp_path / "d.json")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_estimate_of_version_0_1_that_is_nan_is_null(tmp_path: Path) -> None:
    value = demonstrations_file().model_dump(mode="json")
    nan = float("nan")
    value["estimate"] = {"method": "splits", "gain": nan, "ci95": [nan, nan], "candidates": 3}
    (tmp_path / "d.json").write_text(json.dumps(value))
    assert DemonstrationsFile.read(tmp_path / "d.json").estimate is None


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (DemonstrationsFile, "## `demonstrations.json`"),
        (Result, "## `result.json` of `evaluate`"),
        (Gain, "## Run folder"),
        (Training, "## `training.json` of `finetune`"),
    ],
)
def test_the_documentation_names_each_score_that_can_be_null(
    kind: type[BaseModel], heading: str
) -> None:
    text = (REPOSITORY / "docs" / "files.md").read_text()
    section = text.partition(heading)[2].partition("\n## ")[0]
    schema = kind.model_json_schema()
    # Records and settings that several files contain are described once.
    shared = {"ModelRecord", "PostprocessRecord", "SystemRecord", "FinetuneSettings"}
    records = [schema, *(schema["$defs"][name] for name in schema["$defs"].keys() - shared)]
    for record in records:
        for name, field in record.get("properties", {}).items():
            if {"type": "null"} in field.get("anyOf", []):
                assert re.search(rf"[`.]{name}`", section), name
