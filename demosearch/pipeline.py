"""The settings of a run, and the recipes that ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from demosearch._common.files import parse_yaml, read_text
from demosearch._common.resources import resource
from demosearch.candidates.generate import CandidateSettings
from demosearch.errors import UserError, first_error
from demosearch.models.known import Precision
from demosearch.templates import DEFAULT_TEMPLATE

LAST = "last"
DEFAULT_PIPELINE = "paper"

_Settings = TypeVar("_Settings", bound=BaseModel)


class Pipeline(BaseModel):
    """The settings of a run: the contents of a pipeline file."""

    model_config = ConfigDict(extra="forbid")

    description: str = Field("", description="what the pipeline is for")
    dev: str = Field(
        "stsb",
        description="pairs that choose: stsb, starter, a file or a folder; of several with commas"
        " between them the mean of the scores counts",
    )
    test: str | None = Field(None, description="pairs scored once, after the choice; null: none")
    data: str | None = Field(
        None,
        description="folder that stsb and stsb-train are looked for in, or hub; null: what"
        " DEMOSEARCH_DATA names, else the hub",
    )
    template: str = Field(
        DEFAULT_TEMPLATE, description="templates to choose among, with commas between them, or all"
    )
    layer: int | Literal["auto"] | None = Field(
        None, description="index into hidden_states, last, or auto: chosen too"
    )
    warm_start: list[str] = Field(
        default_factory=list, description="demonstrations files whose demonstrations come first"
    )
    shots: Annotated[int, Field(ge=1)] = Field(
        1, description="look for up to so many demonstrations"
    )
    ensemble: Annotated[int, Field(ge=1)] = Field(
        1, description="average the embeddings under up to so many prompts"
    )
    center: str | None = Field(
        None, description="a file of texts whose mean embedding is subtracted, or dev"
    )
    metric: str = Field(
        "spearman", description="what is made larger: spearman, pearson or an installed package's"
    )
    max_extra_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None, description="tokens that a prompt may have more than the plain one"
    )
    pareto: bool = Field(False, description="find the best prompt of every length too")
    save_similarities: bool = Field(
        False, description="keep the similarities of all that was scored on all pairs"
    )
    strategy: str = Field("race", description="race or exhaustive")
    budget: str | None = Field(
        None, description="ends the search: 10m, 5000-sentences, 0.1 of an exhaustive one"
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="ends the search: candidates in a row that are no new best"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of every random choice")
    precision: Precision | None = Field(
        None, description="null: what the run began with, or the fastest for the device"
    )
    device: str | None = Field(None, description="a torch device; null: a GPU where there is one")
    devices: str | None = Field(None, description="several with commas between them, e.g. 0,1")
    adapter: str | None = Field(None, description="folder or hub id of a LoRA")
    allow_pickle: bool = Field(False, description="also read weights that are no safetensors")
    token_budget: Annotated[int, Field(ge=1)] | None = Field(
        None, description="tokens a forward pass; null: what fits the device's memory"
    )
    candidates_file: str | None = Field(None, description="use these instead of building some")
    rounds: Annotated[int, Field(ge=1)] = Field(
        1, description="how often candidates race; after the first time, new ones near the best"
    )
    round_size: Annotated[int, Field(ge=1)] = Field(
        100, description="candidates of every round after the first"
    )
    candidates: CandidateSettings = Field(default_factory=lambda: CandidateSettings())

    @field_validator("layer", mode="before")
    @classmethod
    def _last_is_none(cls, value: Any) -> Any:
        return None if value == LAST else value

    @field_validator("budget", mode="before")
    @classmethod
    def _known_budget(cls, value: Any) -> Any:
        from demosearch.selection.limits import Budget

        if value is None:
            return None
        try:
            Budget.parse(str(value))
        except UserError as error:
            raise ValueError(str(error)) from None
        return str(value)

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, value: str) -> str:
        if value not in ("race", "exhaustive"):
            raise ValueError(f"'{value}' is not race or exhaustive")
        return value


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
