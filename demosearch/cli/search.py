"""`demosearch search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from demosearch._common.files import check_writable
from demosearch.candidates import read_candidates
from demosearch.cli import library
from demosearch.cli.display.console import show_files
from demosearch.cli.display.search import show_search
from demosearch.cli.options import (
    CANDIDATES,
    DATA,
    MODEL,
    MODEL_HELP,
    OUTPUT,
    ExcludeOptions,
    Loading,
    Output,
    Printing,
    SearchOptions,
    Storing,
    StudyOptions,
    flattened,
)
from demosearch.cli.outcome import Outcome
from demosearch.datasets import Split, evaluation_sentences, read_sets
from demosearch.datasets.sources import check_columns
from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions
from demosearch.selection.settings import SearchSettings


class SearchSets(ExcludeOptions):
    """The pairs of a search, and the sentences that it leaves out."""

    dev: str = Field(
        description="development pairs: stsb, starter, a file or a folder; several are separated by"
        " commas, and the mean of their scores is the objective"
    )


def search(
    *,
    model: Annotated[str, Parameter(group=MODEL, help=MODEL_HELP)],
    candidates: Annotated[Path, Parameter(group=CANDIDATES, help="candidates file")],
    sets: Annotated[SearchSets, flattened(DATA)],
    out: Annotated[Path, Parameter(group=OUTPUT, help="demonstrations file to write (.json)")],
    settings: SearchOptions = SearchSettings(),
    load: Loading = LoadOptions(),
    study: Storing = StudyOptions(),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch search`."""
    resolve(model)
    library.check_names(settings)
    pool = read_candidates(candidates)
    check_columns(sets.columns, [sets.dev, *sets.exclude])
    dev = read_sets(sets.dev, Split.DEV, sets.data, sets.columns)
    inputs = library.SearchInputs.read(settings, dev, sets.data)
    exclude = [
        sentence
        for source in sets.exclude
        for sentence in evaluation_sentences(source, sets.data, sets.columns)
    ]
    if out.suffix != ".json":
        raise UserError(f"--out must be a file that ends in .json but got {out}")
    check_writable(out)
    folder = out.with_suffix(".study")
    precision = library.study_precision(model, load, study.storage, study.study, folder)
    file = library.search(
        library.open_encoder(model, load, precision=precision),
        pool,
        dev,
        settings,
        folder=folder,
        inputs=inputs,
        exclude=exclude,
        storage=study.storage,
        study_name=study.study,
        show_progress=output.progress,
    ).file
    file.write(out)

    def show() -> None:
        show_search(file)
        show_files(out, folder)

    return Outcome(file.model_dump(mode="json"), show)
