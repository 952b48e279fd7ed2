"""The options of a search: each one is a field here, and nowhere else.

The command line, pipeline files, `--set` and `demosearch schema` are derived from these fields.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from demosearch._common.settings import Settings
from demosearch.errors import UserError
from demosearch.postprocess import Kind
from demosearch.prompt import PROMPTEOL
from demosearch.selection.stopping import Budget

# A study's name in its storage.
STUDY_NAME = "demosearch"
# The file of a study in the folder of its search.
STUDY_FILE = "study.db"
LAST: Literal["last"] = "last"
# All layers are scored, and the best one is chosen.
AUTO: Literal["auto"] = "auto"
# Values of `postprocess` beside the kinds.
NONE, ALL = "none", "all"
# Unlabeled texts by name: the sentences of the development pairs, and those of STS-B's training split.
DEV_TEXTS, STSB_TRAIN = "dev", "stsb-train"


class Strategy(StrEnum):
    """How candidates are scored."""

    RACE = "race"
    EXHAUSTIVE = "exhaustive"


# The kinds of post-processing that a search chooses among.
POSTPROCESS_KINDS = (Kind.WHITEN, Kind.EMBFILTER)


def postprocess_kinds(value: str) -> tuple[Kind, ...]:
    """Return the kinds that the setting `postprocess` names.

    Raises:
        UserError: a kind is unknown.
    """
    if value == NONE:
        return ()
    if value == ALL:
        return POSTPROCESS_KINDS
    names = [name.strip() for name in value.split(",")]
    known = [kind.value for kind in POSTPROCESS_KINDS]
    for name in names:
        if name not in known:
            raise UserError(
                f"postprocess must be {NONE}, {ALL} or of {', '.join(known)} but got '{name}'"
            )
    return tuple(Kind(name) for name in dict.fromkeys(names))


class SearchSettings(Settings):
    """The options of a search."""

    template: str = Field(
        PROMPTEOL.name,
        description="templates to choose among: names or YAML files, separated by commas, or all",
    )
    layer: Literal["last", "auto"] | int = Field(
        LAST, description="index into hidden_states, last, or auto to choose the layer too"
    )
    shots: Annotated[int, Field(ge=1)] = Field(
        1, description="maximum number of demonstrations in the prompt"
    )
    ensemble: Annotated[int, Field(ge=1)] = Field(
        1, description="maximum number of prompts whose embeddings are averaged"
    )
    postprocess: str = Field(
        NONE,
        description="post-processing to choose among, separated by commas, if it improves the"
        " score: whiten (learned from unlabeled texts), embfilter, or all",
    )
    unlabeled: str = Field(
        DEV_TEXTS,
        description="unlabeled texts for whitening: a file, dev (the sentences of the development"
        " pairs) or stsb-train",
    )
    metric: str = Field(
        "spearman",
        description="objective to maximize: spearman, pearson, or the name of a metric that an"
        " installed package provides",
    )
    max_extra_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="maximum number of tokens that a prompt may have in addition to the prompt"
        " without demonstrations",
    )
    strategy: Strategy = Field(
        Strategy.RACE,
        description="race (successive halving over the dev pairs) or exhaustive",
    )
    budget: str | None = Field(
        None,
        description="stop early: a time (10m), a number of sentences (5000-sentences), or a share of"
        " an exhaustive search (0.1)",
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="stop after this many fully scored candidates in a row without improvement",
    )
    warm_start: tuple[str, ...] = Field(
        (),
        description="demonstrations files whose demonstrations are scored first; paper: the eight that"
        " the paper chose, best: those of our own searches",
    )
    save_similarities: bool = Field(
        False, description="save the similarities of all finalists (similarities.npz, float16)"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="random seed")

    @model_validator(mode="before")
    @classmethod
    def _center_is_whitening(cls, value: Any) -> Any:
        # Pipeline files of version 0.1 have `center`, which is whitening with exponent 0.
        if not isinstance(value, dict) or "center" not in value:
            return value
        texts = value["center"]
        others = {key: setting for key, setting in value.items() if key != "center"}
        return others if texts is None else {"postprocess": "whiten", "unlabeled": texts} | others

    @field_validator("postprocess")
    @classmethod
    def _known_postprocess(cls, value: str) -> str:
        postprocess_kinds(value)
        return value

    @field_validator("layer", mode="before")
    @classmethod
    def _last_by_default(cls, value: Any) -> Any:
        # Pipeline files of earlier versions have null for the last layer.
        return LAST if value is None else value

    @field_validator("budget", mode="before")
    @classmethod
    def _known_budget(cls, value: Any) -> Any:
        if value is None:
            return None
        Budget.parse(str(value))
        return str(value)
