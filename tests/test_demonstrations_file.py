from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile, PostprocessRecord, doubt, standing
from demosearch.errors import UserError
from tests.examples import demonstrations_file


def test_id_is_the_beginning_of_a_hash() -> None:
    one = Demonstration(sentence="A jockey riding a horse.", word="Equestrian")
    digest = hashlib.sha256(b"A jockey riding a horse.\x1fEquestrian").hexdigest()
    assert one.id == digest[:12]


def test_an_edited_text_gets_a_new_id() -> None:
    old = Demonstration(sentence="A dog.", word="Dog")
    assert Demonstration(id=old.id, sentence="A cat.", word="Cat").id != old.id


@pytest.mark.parametrize(
    ("sentence", "word"),
    [('a "quoted" one.', "X"), ("two\nlines.", "X"), ("fine.", 'X"'), ("", "X"), ("a.", " ")],
)
def test_text_that_would_leave_its_place_is_refused(sentence: str, word: str) -> None:
    with pytest.raises(ValidationError):
        Demonstration(sentence=sentence, word=word)


def test_write_then_read_is_identity(tmp_path: Path) -> None:
    file = demonstrations_file()
    file.write(tmp_path / "d.json")
    assert DemonstrationsFile.read(tmp_path / "d.json") == file


def test_the_published_schema_describes_what_is_written(tmp_path: Path) -> None:
    demonstrations_file().write(tmp_path / "d.json")
    written = json.loads((tmp_path / "d.json").read_text())
    schema = DemonstrationsFile.model_json_schema()
    jsonschema.validate(written, schema)
    del written["dev"]["spearman"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema)


def change(value: dict[str, Any], *path: str | int) -> None:
    *parents, last = path
    inner: Any = value
    for part in parents:
        inner = inner[part]
    del inner[last]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("format",), "format is None, this version reads 'demosearch.demonstrations/1'"),
        (("model",), "model is missing"),
        (("dev", "spearman"), "dev.spearman is missing"),
        (("prompts", 0, "query"), "prompts.0.query is missing"),
    ],
)
def test_a_missing_field_is_named(
    tmp_path: Path, path: tuple[str | int, ...], message: str
) -> None:
    value = demonstrations_file().model_dump(mode="json")
    change(value, *path)
    (tmp_path / "d.json").write_text(json.dumps(value))
    with pytest.raises(UserError) as error:
        DemonstrationsFile.read(tmp_path / "d.json")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format": "demosearch.demonstrations/2"}']
)
def test_what_is_no_demonstrations_file_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(UserError) as error:
        DemonstrationsFile.read(tmp_path / "d.json")
    assert "d.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("close", "words"),
    [
        (0, "ahead of each of the 2 others scored on all pairs, beyond the 95% interval"),
        (1, "not to be told apart from 1 of the 2 others scored on all pairs"),
    ],
)
def test_the_best_is_said_to_be_ahead_only_where_it_is(close: int, words: str) -> None:
    file = demonstrations_file()
    ranking = [
        file.ranking[0].model_copy(update={"id": str(place), "spearman": 70.0 - place})
        for place in range(3)
    ]
    dev = file.dev.model_copy(
        update={
            "indistinguishable": [one.id for one in ranking[1:][:close]],
            "runner_up_ci95": (0.0, 2.0),
        }
    )
    assert standing(file) is None
    assert standing(file.model_copy(update={"ranking": ranking, "dev": dev})) == words


def test_a_gain_that_may_be_none_is_doubted() -> None:
    file = demonstrations_file()
    assert doubt(file) is None
    corrected = file.estimate.model_copy(update={"ci95": (-0.5, 7.0)})
    assert "interval of the gain reaches 0" in doubt(
        file.model_copy(update={"estimate": corrected})
    )
    # Without a corrected gain, the plain one's interval counts.
    dev = file.dev.model_copy(update={"gain_ci95": (0.0, 8.0)})
    assert doubt(file.model_copy(update={"dev": dev})) is None
    assert "reaches 0" in doubt(file.model_copy(update={"dev": dev, "estimate": None}))
    # What centering gains is not in the corrected gain.
    centered = PostprocessRecord(kind="center", fitted_on="dev", texts=2, sha256="0" * 64)
    assert doubt(file.model_copy(update={"estimate": corrected, "postprocess": centered})) is None
    worse = file.dev.model_copy(update={"spearman": 65.25})
    assert "nothing that was scored on all pairs is better" in doubt(
        file.model_copy(update={"dev": worse})
    )
