"""`demosearch run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from demosearch.cli import library
from demosearch.cli.display.search import show_run, show_runs
from demosearch.cli.options import (
    CANDIDATES,
    DATA,
    MODEL,
    MODEL_HELP,
    OTHER_SETTINGS,
    OUTPUT,
    SETTINGS,
    Changes,
    Loading,
    Output,
    PairOptions,
    Printing,
    SearchOptions,
    Storing,
    StudyOptions,
    flattened,
    given,
)
from demosearch.cli.outcome import Outcome
from demosearch.models.options import LoadOptions
from demosearch.pipeline import DEFAULT_PIPELINE, load_pipeline
from demosearch.run_folder import folder_name
from demosearch.selection.settings import SearchSettings


class Sets(PairOptions):
    """Development and test pairs."""

    dev: str | None = Field(
        None,
        description="development pairs: stsb, starter, a file or a folder; several are separated by"
        " commas, and the mean of their scores is the objective; default: the set of the pipeline",
    )
    test: str | None = Field(
        None,
        description="test pairs, scored once after the search; default: the set of the pipeline,"
        " unless --dev is given",
    )


def run(
    *,
    model: Annotated[
        list[str],
        Parameter(group=MODEL, help=f"{MODEL_HELP}; results for several models are compared"),
    ],
    pipeline: Annotated[
        str, Parameter(group=SETTINGS, help="name or YAML file of a pipeline")
    ] = DEFAULT_PIPELINE,
    sets: Annotated[Sets, flattened(DATA)] = Sets(),
    candidates: Annotated[
        Path | None,
        Parameter(group=CANDIDATES, help="candidates file to use instead of building candidates"),
    ] = None,
    search: SearchOptions = SearchSettings(),
    load: Loading = LoadOptions(),
    study: Storing = StudyOptions(),
    changes: Annotated[
        Changes, Parameter(help=f"{OTHER_SETTINGS}; see `demosearch schema run`")
    ] = (),
    out: Annotated[
        Path | None,
        Parameter(group=OUTPUT, help="folder of the run; default: runs/MODEL, or runs for several"),
    ] = None,
    output: Printing = Output(),
) -> Outcome:
    """`demosearch run`."""
    settings = load_pipeline(
        pipeline,
        changes,
        candidates_file=None if candidates is None else str(candidates),
        **given(sets, search, load),
    )
    shared: dict[str, Any] = {
        "storage": study.storage,
        "study_name": study.study,
        "show_progress": output.progress,
    }
    if len(model) == 1:
        result = library.run(
            model[0], settings, out or Path("runs") / folder_name(model[0]), **shared
        )
        return Outcome(result.as_json(), lambda: show_run(result))
    runs = library.run_models(model, settings, out or Path("runs"), **shared)
    failure = None
    if runs.failures:
        first, reason = next(iter(runs.failures.items()))
        failure = f"{len(runs.failures)} of {len(model)} runs failed; {first}: {reason}"
    return Outcome(runs.as_json(), lambda: show_runs(runs), failure)
