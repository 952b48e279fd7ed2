"""Options that several commands share.

Options of the search, of candidates and of loading models are the fields of `SearchSettings`,
`CandidateSettings` and `LoadOptions`. A new field of these classes is a new option of the commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator

from demosearch.datasets.sources import pair_columns
from demosearch.errors import UserError
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
from demosearch.selection.settings import AUTO, LAST, STUDY_NAME, SearchSettings

MODEL = Group("Model", sort_key=1)
DATA = Group("Data", sort_key=2)
CANDIDATES = Group("Candidates", sort_key=3)
SEARCH = Group("Search", sort_key=4)
SETTINGS = Group("Settings", sort_key=5)
OUTPUT = Group("Output", sort_key=6)

MODEL_HELP = "known name, hub id, folder, GGUF file, or owner/repo:file.gguf on the hub"
OTHER_SETTINGS = "change any setting of the pipeline, KEY=VALUE; repeatable"


class Options(BaseModel):
    """Base class of the options that belong to the command line alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Output:
    """What a command prints."""

    json: Annotated[bool, Parameter(help="print one JSON value on standard output")] = False
    quiet: Annotated[bool, Parameter(help="show no progress bar, log only warnings")] = False

    @property
    def progress(self) -> bool:
        """Whether to draw progress bars."""
        return not self.quiet


class DataFolder(Options):
    """Where `stsb` is read from."""

    data: str | None = Field(
        None,
        description="folder with stsb/ or SentEval's data, or hub; default: DEMOSEARCH_DATA if it is set,"
        " otherwise the hub",
    )


class PairOptions(DataFolder):
    """Where pairs are read from."""

    columns: str | None = Field(
        None,
        description="columns of files of pairs, separated by commas: first sentence, second sentence,"
        " score; default: sentence1,sentence2,score",
    )

    @field_validator("columns")
    @classmethod
    def _are_three(cls, value: str | None) -> str | None:
        return checked_columns(value)


class StudyOptions(Options):
    """Where the study is stored."""

    storage: str | None = Field(
        None,
        description="database URL or journal file (*.log) that several workers share; default: a"
        " SQLite file in the output folder",
    )
    study: str = Field(STUDY_NAME, description="name of the study in the storage")


class ExcludeOptions(PairOptions):
    """Sentences that must not become demonstrations."""

    exclude: tuple[str, ...] = Field(
        (),
        description="development or test pairs whose sentences must not become demonstrations;"
        " repeatable",
    )


def field_of(model: type[BaseModel], name: str) -> Any:
    """Return the definition of a field, to use it in another class."""
    return model.model_fields[name]


class WeightOptions(Options):
    """The fields of `LoadOptions` that apply to a single device without an adapter."""

    precision: Precision | None = field_of(LoadOptions, "precision")
    device: str | None = field_of(LoadOptions, "device")
    allow_pickle: bool = field_of(LoadOptions, "allow_pickle")


class ModelOptions(Options):
    """The model that embeds, and the prompt it embeds with."""

    model: str | None = Field(None, description=MODEL_HELP)
    # Not a path, which would lose the difference between `paper` and `./paper`.
    demonstrations: str | None = Field(
        None,
        description="demonstrations file; paper: the paper's for an OPT model of this size; best: the"
        " best of our own searches; paper:MODEL: those of another model",
    )
    template: str | None = Field(
        None,
        description="template name or YAML file, without --demonstrations; default: prompteol",
    )
    layer: Literal["last"] | int | None = Field(
        None,
        description="last, or an index into hidden_states; default: the layer of the demonstrations"
        " file, otherwise last",
    )
    allow_other_model: bool = Field(
        False, description="use demonstrations that were selected for different weights"
    )

    @field_validator("layer", mode="before")
    @classmethod
    def _is_fixed(cls, value: Any) -> Any:
        return fixed_layer(value)

    @property
    def layer_index(self) -> int | None:
        """The index into `hidden_states`; None if the option is not given."""
        return -1 if self.layer == LAST else self.layer


def checked_columns(value: str | None) -> str | None:
    """Return the value of an option that names the columns of pairs.

    Raises:
        ValueError: it is not three different names.
    """
    try:
        pair_columns(value)
    except UserError as error:
        raise ValueError(str(error).removeprefix("columns ")) from None
    return value


def fixed_layer(value: Any) -> Any:
    """Return the value of `--layer` in a command that does not choose the layer.

    Raises:
        ValueError: it is `auto`.
    """
    if value == AUTO:
        raise ValueError(
            "must be last or an integer but got 'auto'; only run and search choose the layer"
        )
    return value


def flattened(group: Group) -> Parameter:
    """Return the annotation by which each field of a parameter becomes an option of a group."""
    return Parameter(name="*", group=group)


SearchOptions: TypeAlias = Annotated[SearchSettings, flattened(SEARCH)]
Loading: TypeAlias = Annotated[LoadOptions, flattened(MODEL)]
Storing: TypeAlias = Annotated[StudyOptions, flattened(SEARCH)]
Printing: TypeAlias = Annotated[Output, flattened(OUTPUT)]
Changes: TypeAlias = Annotated[
    tuple[str, ...], Parameter(name="--set", group=SETTINGS, metavar="KEY=VALUE")
]


def given(*options: BaseModel) -> dict[str, Any]:
    """Return the options that the user typed, by field name."""
    return {name: getattr(one, name) for one in options for name in sorted(one.model_fields_set)}


def names(fields: Iterable[str]) -> list[str]:
    """Return the options of fields as the user types them, e.g. `--max-cost`."""
    return [f"--{field.replace('_', '-')}" for field in fields]
