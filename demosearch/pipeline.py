"""The settings of a run, and the recipes that ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demosearch._common.files import parse_yaml, read_text
from demosearch._common.resources import resource
from demosearch.candidates.settings import CandidateSettings
from demosearch.errors import UserError, first_error
from demosearch.models.options import LoadOptions
from demosearch.selection.settings import SearchSettings

DEFAULT_PIPELINE = "paper"

_Settings = TypeVar("_Settings", bound=BaseModel)


class Pipeline(SearchSettings, LoadOptions):
    """The settings of a run: the contents of a pipeline file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field("", description="purpose of the pipeline")
    dev: str = Field(
        "stsb",
        description="development pairs: stsb, starter, a file or a folder; several are separated by"
        " commas, and the mean of their scores is the objective",
    )
    test: str | None = Field(
        None, description="test pairs, scored once after the search; null: none"
    )
    data: str | None = Field(
        None,
        description="folder with stsb and stsb-train, or hub; default: DEMOSEARCH_DATA if it is set,"
        " otherwise the hub",
    )
    candidates_file: str | None = Field(
        None, description="candidates file to use instead of building candidates"
    )
    candidates: CandidateSettings = Field(default_factory=lambda: CandidateSettings())

    @property
    def search_settings(self) -> SearchSettings:
        """The options of the search."""
        return SearchSettings.model_validate(_part(self, SearchSettings))

    @property
    def load_options(self) -> LoadOptions:
        """The options that models are loaded with."""
        return LoadOptions.model_validate(_part(self, LoadOptions))


def _part(settings: Pipeline, kind: type[BaseModel]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in kind.model_fields}


def pipeline_names() -> list[str]:
    """Return the names of the shipped pipelines."""
    return sorted(path.stem for path in resource("pipelines").glob("*.yaml"))


def describe_pipelines() -> list[dict[str, Any]]:
    """Return the name, command and description of every shipped pipeline."""
    rows = []
    for name in pipeline_names():
        path = resource("pipelines", f"{name}.yaml")
        value = parse_yaml(read_text(path, "pipeline"), f"pipeline {path}")
        command = value.get("command", "run")
        rows.append({"name": name, "command": command, "description": value["description"]})
    return rows


def load_pipeline(name: str, changes: Sequence[str] = (), **options: Any) -> Pipeline:
    """Read a pipeline of `run` and apply what the user changed.

    Args:
        name: a shipped pipeline or a YAML file.
        changes: `key=value`, the key dotted for nested settings; values are YAML.
        options: further settings; None leaves the pipeline's.

    Raises:
        UserError: no such pipeline, no valid YAML, or a wrong setting (named).
    """
    value, path = read_pipeline(name, "run")
    given = {key: option for key, option in options.items() if option is not None}
    if "dev" in given and "test" not in given:
        # The pipeline's test set belongs to its dev set.
        value.pop("test", None)
    return checked(Pipeline, changed(value | given, changes), path)


def read_pipeline(name: str, command: str) -> tuple[dict[str, Any], Path]:
    """Return the settings of a pipeline as its file has them, and the file.

    Args:
        name: a shipped pipeline or a YAML file.
        command: the command that asks; a pipeline that does not say is one of `run`.

    Raises:
        UserError: no such pipeline, no valid YAML, or one of another command.
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
        raise UserError(f"pipeline {path} holds no settings")
    if (found := value.pop("command", "run")) != command:
        raise UserError(f"pipeline '{name}' is one of `demosearch {found}`, not of `{command}`")
    return value, path


def checked(kind: type[_Settings], value: dict[str, Any], path: Path) -> _Settings:
    """Return settings of a kind.

    Raises:
        UserError: one is wrong (named).
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(f"pipeline {path}: {first_error(error)}") from error


def changed(value: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return settings with `key=value` changes applied; dotted keys reach nested settings.

    Raises:
        UserError: a change has no `=`, its value is no YAML, or its key leads nowhere.
    """
    for change in changes:
        _set(value, change)
    return value


def _set(value: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise UserError(f"--set {change}: write key=value, e.g. candidates.n_sentences=50")
    *parents, last = key.split(".")
    for parent in parents:
        inner = value.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {change}: '{parent}' holds no settings")
        value = inner
    value[last] = parse_yaml(text, f"--set {change}")
