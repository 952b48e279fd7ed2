"""Pipelines: the settings of a run or of a fine-tuning, in YAML files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from demosearch._common.files import parse_yaml, read_text
from demosearch._common.resources import resource
from demosearch.candidates.settings import CandidateSettings
from demosearch.datasets.sources import pair_columns
from demosearch.errors import UserError, first_error
from demosearch.finetune.settings import FinetuneSettings
from demosearch.models.options import LoadOptions
from demosearch.selection.settings import SearchSettings

DEFAULT_PIPELINE = "paper"

_Settings = TypeVar("_Settings", bound=BaseModel)


class Pipeline(SearchSettings, LoadOptions):
    """The settings of a run: the contents of a pipeline file."""

    description: str = Field("", description="purpose of the pipeline")
    dev: str = Field(
        "stsb",
        description="development pairs: stsb, starter, a file or a folder; several are separated by"
        " commas, and the mean of their scores is the objective",
    )
    test: str | None = Field(
        None, description="test pairs, scored once after the search; null: none"
    )
    columns: tuple[str, str, str] | None = Field(
        None,
        description="columns of files of pairs: first sentence, second sentence, score; a list, or"
        " names separated by commas; default: sentence1,sentence2,score",
    )
    data: str | None = Field(
        None,
        description="folder with stsb/ or SentEval's data, or hub; default: DEMOSEARCH_DATA if it is set,"
        " otherwise the hub",
    )
    candidates_file: str | None = Field(
        None, description="candidates file to use instead of building candidates"
    )
    candidates: CandidateSettings = Field(default_factory=lambda: CandidateSettings())

    @field_validator("columns", mode="before")
    @classmethod
    def _are_three(cls, value: Any) -> Any:
        if not isinstance(value, str | list | tuple) or not all(isinstance(n, str) for n in value):
            return value
        try:
            return pair_columns(value)
        except UserError as error:
            raise ValueError(str(error).removeprefix("columns ")) from None

    @property
    def search_settings(self) -> SearchSettings:
        """The options of the search."""
        return SearchSettings.of(self)

    @property
    def load_options(self) -> LoadOptions:
        """The options that models are loaded with."""
        return LoadOptions.of(self)


def pipeline_names() -> list[str]:
    """Return the names of the shipped pipelines."""
    return sorted(path.stem for path in resource("pipelines").glob("*.yaml"))


def describe_pipelines() -> list[dict[str, Any]]:
    """Return the name, command and description of each shipped pipeline."""
    rows = []
    for name in pipeline_names():
        path = resource("pipelines", f"{name}.yaml")
        value = parse_yaml(read_text(path, "pipeline"), f"pipeline {path}")
        command = value.get("command", "run")
        rows.append({"name": name, "command": command, "description": value["description"]})
    return rows


def load_pipeline(name: str, changes: Sequence[str] = (), **options: Any) -> Pipeline:
    """Read a pipeline of `run` and apply the changes of the user.

    Args:
        name: a shipped pipeline or a YAML file.
        changes: `key=value`, with a dotted key for nested settings and a YAML value.
        **options: fields of `Pipeline`, applied before `changes`; None keeps the value of the pipeline.

    Raises:
        UserError: the pipeline is unknown, it is not valid YAML, or a setting is wrong (named).
    """
    value, path = read_pipeline(name, "run")
    given = {key: option for key, option in options.items() if option is not None}
    if "dev" in given and "test" not in given:
        # The test set of the pipeline belongs to its dev set.
        value.pop("test", None)
    return validated(Pipeline, value, path, given, changes)


def load_finetuning(name: str, changes: Sequence[str] = (), **options: Any) -> FinetuneSettings:
    """Read a pipeline of `finetune` and apply the changes of the user.

    Args:
        name: a shipped pipeline or a YAML file.
        changes: `key=value` with a YAML value.
        **options: fields of `FinetuneSettings`, applied before `changes`; None keeps the value of the
            pipeline.

    Raises:
        UserError: the pipeline is unknown, it is not valid YAML, or a setting is wrong (named).
    """
    value, path = read_pipeline(name, "finetune")
    given = {key: option for key, option in options.items() if option is not None}
    return validated(FinetuneSettings, value, path, given, changes)


def read_pipeline(name: str, command: str) -> tuple[dict[str, Any], Path]:
    """Return the settings in the file of a pipeline, and the path of the file.

    Args:
        name: a shipped pipeline or a YAML file.
        command: the command of the pipeline; the default of a file without one is `run`.

    Raises:
        UserError: the pipeline is unknown, it is not valid YAML, or it belongs to another command.
    """
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        if name not in pipeline_names():
            raise UserError(
                f"unknown pipeline '{name}'; known: {', '.join(pipeline_names())}, or a YAML file"
            )
        path = resource("pipelines", f"{name}.yaml")
    value = parse_yaml(read_text(path, "pipeline"), f"pipeline {path}")
    if not isinstance(value, dict):
        raise UserError(f"pipeline {path} must contain settings by name")
    if (owner := value.pop("command", "run")) != command:
        raise UserError(
            f"pipeline '{name}' is a pipeline of `demosearch {owner}`, not of `demosearch {command}`"
        )
    return value, path


def validated(
    kind: type[_Settings],
    value: dict[str, Any],
    path: Path,
    options: Mapping[str, Any] | None = None,
    changes: Sequence[str] = (),
) -> _Settings:
    """Return the settings of a file with options and changes applied.

    Args:
        kind: the class of the settings.
        value: the contents of the file.
        path: the file, for messages.
        options: settings that override the file.
        changes: `key=value`, which override the file and the options.

    Raises:
        UserError: a setting is wrong; the message names it and where it was set.
    """
    options = options or {}
    value = {**value, **options}
    changed = [_apply(value, change) for change in changes]

    def name(location: tuple[int | str, ...]) -> str:
        key = ".".join(map(str, location))
        for change in changed:
            if key == change:
                return f"--set {key}:"
            if f"{key}.".startswith(f"{change}.") or f"{change}.".startswith(f"{key}."):
                return f"--set {change}: {key}"
        # The command line validates its options before; here they are keywords of Python callers.
        return key if location and location[0] in options else f"pipeline {path}: {key}"

    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(first_error(error, name, model=kind)) from error


def _apply(value: dict[str, Any], change: str) -> str:
    """Apply a change in place and return its dotted key.

    Raises:
        UserError: the change has no `=`, its value is not YAML, or its key leads into a value.
    """
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise UserError(
            f"--set must be key=value, e.g. candidates.n_sentences=50, but got {change}"
        )
    *parents, last = key.split(".")
    for parent in parents:
        inner = value.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {key}: {parent} is not a group of settings")
        value = inner
    value[last] = parse_yaml(text, f"--set {change}")
    return key
