"""`demosearch evaluate` and `demosearch compare`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field, field_validator

from demosearch._common.files import check_writable
from demosearch.cli import library
from demosearch.cli.display.console import show_text
from demosearch.cli.display.evaluation import show_result
from demosearch.cli.options import (
    DATA,
    MODEL,
    OUTPUT,
    SETTINGS,
    Loading,
    ModelOptions,
    Options,
    Output,
    Printing,
    checked_columns,
    flattened,
)
from demosearch.cli.outcome import Outcome
from demosearch.cli.system import open_system, read_demonstrations
from demosearch.datasets.sources import DATA_VARIABLE
from demosearch.errors import UserError
from demosearch.evaluation.baselines import Method
from demosearch.evaluation.overlap import find_overlaps
from demosearch.evaluation.probe import Classifier
from demosearch.evaluation.tasks import find_tasks, read_tasks
from demosearch.models.options import LoadOptions
from demosearch.models.packaged import cache_folder

logger = logging.getLogger(__name__)


class TaskOptions(Options):
    """The tasks, and how they are evaluated."""

    tasks: str = Field(
        "sts",
        description="sts, transfer, full, names of tasks, or files of pairs, separated by commas",
    )
    columns: str | None = Field(
        None,
        description="columns of files of pairs, separated by commas: first sentence, second sentence,"
        " score; default: sentence1,sentence2,score",
    )
    data: str | None = Field(
        None, description="folder of the SentEval data, or hub; default: DEMOSEARCH_DATA"
    )
    classifier: Classifier = Field(
        Classifier.SENTEVAL,
        description="classifier of the transfer tasks: senteval as published, or logistic, which is"
        " faster",
    )
    no_cache: bool = Field(
        False, description="do not read or write the cache of embeddings and predictions"
    )

    @field_validator("columns")
    @classmethod
    def _are_three(cls, value: str | None) -> str | None:
        return checked_columns(value)


class ResultOptions(Options):
    """How the result is written."""

    out: Path | None = Field(None, description="result file to write (.json)")
    details: bool = Field(False, description="show subsets, Pearson and other averages")


def evaluate(
    *,
    model: Annotated[ModelOptions, flattened(MODEL)] = ModelOptions(),
    method: Annotated[
        Method | None,
        Parameter(
            group=MODEL,
            help="how states become an embedding; default for a decoder-only model: prompt",
        ),
    ] = None,
    load: Loading = LoadOptions(),
    tasks: Annotated[TaskOptions, flattened(DATA)] = TaskOptions(),
    result: Annotated[ResultOptions, flattened(OUTPUT)] = ResultOptions(),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch evaluate`."""
    if result.out is not None:
        if result.out.suffix != ".json":
            raise UserError(f"--out must be a file that ends in .json but got {result.out}")
        check_writable(result.out)
    selected = find_tasks(tasks.tasks, tasks.columns)
    folder = tasks.data or os.environ.get(DATA_VARIABLE)
    data = read_tasks(selected, folder)
    file = read_demonstrations(model)
    overlaps = find_overlaps(file, data, folder) if file is not None else []
    for overlap in overlaps:
        logger.warning("the score may be too high: %s", overlap)
    evaluation = library.evaluate(
        open_system(model, load, method, file),
        data,
        tasks=selected,
        classifier=tasks.classifier,
        overlaps=overlaps,
        cache=None if tasks.no_cache else cache_folder() / "embeddings",
        show_progress=output.progress,
    )
    if result.out is not None:
        evaluation.write(result.out)
    return Outcome(
        evaluation.result.model_dump(mode="json", exclude_none=True),
        lambda: show_result(evaluation.result, details=result.details),
    )


def compare(
    results: Annotated[
        list[Path],
        Parameter(
            name="RESULT",
            help="results of `evaluate`; each one is compared with the first",
        ),
    ],
    /,
    *,
    table: Annotated[
        Literal["markdown", "csv", "latex", "json"],
        Parameter(group=OUTPUT, help="format of the table"),
    ] = "markdown",
    published: Annotated[
        str | None,
        Parameter(group=DATA, help="add published scores whose names match, e.g. 'OPT*' or '*'"),
    ] = None,
    resamples: Annotated[int, Parameter(group=SETTINGS, help="number of bootstrap samples")] = 1000,
    output: Printing = Output(),
) -> Outcome:
    """`demosearch compare`."""
    comparison = library.compare(results, published=published, resamples=resamples)
    return Outcome(
        comparison.as_json(), lambda: show_text(comparison.text(library.TableFormat(table)))
    )
