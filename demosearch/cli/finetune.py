"""`demosearch finetune`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, field_validator

from demosearch._common.files import check_writable
from demosearch.cli import library
from demosearch.cli.display.evaluation import show_training
from demosearch.cli.options import (
    DATA,
    MODEL,
    MODEL_HELP,
    OTHER_SETTINGS,
    OUTPUT,
    SETTINGS,
    Changes,
    DataFolder,
    Options,
    Output,
    Printing,
    WeightOptions,
    checked_columns,
    fixed_layer,
    flattened,
)
from demosearch.cli.outcome import Outcome
from demosearch.datasets import Split, read_pairs
from demosearch.datasets.sources import check_columns
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.checks import only_prompt
from demosearch.finetune.rows import read_training_rows
from demosearch.known_demonstrations import is_known, known_demonstrations
from demosearch.models.known import resolve
from demosearch.models.source import check_model
from demosearch.pipeline import load_finetuning
from demosearch.prompt import Prompt
from demosearch.selection.settings import LAST

logger = logging.getLogger(__name__)


class TrainedModel(Options):
    """The model that is trained, and its prompt."""

    model: str = Field(description=MODEL_HELP)
    demonstrations: str | None = Field(
        None,
        description="demonstrations file, or paper or best as in `evaluate`; the model is trained with"
        " its prompt",
    )
    layer: Literal["last"] | int = Field(
        "last", description="layer to train at: last, or an index into hidden_states"
    )

    @field_validator("layer", mode="before")
    @classmethod
    def _is_fixed(cls, value: Any) -> Any:
        return fixed_layer(value)


class TrainingSets(DataFolder):
    """Training rows and development pairs."""

    train: Path = Field(description="training file with the columns sent0, sent1 and hard_neg")
    columns: str | None = Field(
        None,
        description="columns to use instead, separated by commas: text, positive, hard negative",
    )
    dev: str | None = Field(
        None, description="development pairs; the step that scores best on them is kept"
    )
    dev_columns: str | None = Field(
        None,
        description="columns of the development pairs, separated by commas: first sentence, second"
        " sentence, score; default: sentence1,sentence2,score",
    )

    @field_validator("dev_columns")
    @classmethod
    def _are_three(cls, value: str | None) -> str | None:
        return checked_columns(value)


def finetune(
    *,
    model: Annotated[TrainedModel, flattened(MODEL)],
    sets: Annotated[TrainingSets, flattened(DATA)],
    out: Annotated[Path, Parameter(group=OUTPUT, help="folder for the adapter")],
    weights: Annotated[WeightOptions, flattened(MODEL)] = WeightOptions(),
    pipeline: Annotated[
        str, Parameter(group=SETTINGS, help="name or YAML file of a pipeline")
    ] = "finetune",
    changes: Annotated[
        Changes, Parameter(help=f"{OTHER_SETTINGS}; see `demosearch schema finetune`")
    ] = (),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch finetune`."""
    resolve(model.model)
    check_writable(out, folder=True)
    settings = load_finetuning(pipeline, changes, precision=weights.precision)
    columns = [name.strip() for name in sets.columns.split(",")] if sets.columns else None
    rows = read_training_rows(sets.train, columns)
    check_columns(sets.dev_columns, [sets.dev] if sets.dev else [])
    dev = read_pairs(sets.dev, Split.DEV, sets.data, sets.dev_columns) if sets.dev else None
    training = library.finetune(
        model.model,
        rows,
        out,
        prompt=_prompt(model),
        dev=dev,
        settings=settings,
        device=weights.device,
        allow_pickle=weights.allow_pickle,
        show_progress=output.progress,
    )
    return Outcome(
        training.model_dump(mode="json"),
        lambda: show_training(training, out),
        doubt=f"the adapter in {out} is worse than none on {training.dev}:"
        f" {training.dev_after:.2f} after training, {training.dev_before:.2f} before; use the model"
        " without it, or train again with another --set learning_rate or more rows"
        if training.is_worse
        else None,
    )


def _prompt(options: TrainedModel) -> Prompt:
    """Return the prompt to train with.

    Raises:
        UserError: the demonstrations are for other weights, or have an adapter.
    """
    prompt = Prompt()
    path = options.demonstrations
    if path is not None and is_known(path):
        known = known_demonstrations(path, options.model)
        logger.info(known.summary)
        prompt = known.prompt
    elif path is not None:
        file = DemonstrationsFile.read(path)
        check_model(file.model, options.model, path)
        if file.adapter is not None:
            raise UserError(
                f"{path} was made with the adapter {file.adapter.source}, but training begins"
                " without an adapter; export it with --merge and search again with that folder"
            )
        prompt = only_prompt(file)
        if file.postprocess is not None:
            logger.warning(
                "the post-processing of %s is not used in training; fit it again on the trained model",
                path,
            )
    # The paper trains at the last layer, also if the demonstrations were selected at another one.
    return replace(prompt, layer=None if options.layer == LAST else options.layer)
