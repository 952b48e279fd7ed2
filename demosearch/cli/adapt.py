"""`demosearch adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from demosearch._common.files import check_writable
from demosearch.cli import library
from demosearch.cli.display.console import show_files, show_line
from demosearch.cli.options import (
    DATA,
    MODEL,
    OUTPUT,
    SETTINGS,
    DataFolder,
    Loading,
    ModelOptions,
    Options,
    Output,
    Printing,
    flattened,
)
from demosearch.cli.outcome import Outcome
from demosearch.cli.system import open_embedder
from demosearch.demonstrations_file import DemonstrationsFile, arrays_path
from demosearch.errors import UserError
from demosearch.models.options import LoadOptions


class UnlabeledTexts(DataFolder):
    """The texts that whitening is fitted on."""

    unlabeled: str = Field(
        description="unlabeled texts like those that will be embedded: a file, - for standard input,"
        " or stsb-train"
    )
    column: str | None = Field(
        None, description="column that holds the text; default: text or sentence"
    )


class WhiteningOptions(Options):
    """The settings of whitening."""

    exponent: float | None = Field(
        None,
        description="strength of whitening, from 0 (centering) to 0.5 (full); default: that of the"
        " file, or 0.25",
    )
    ridge: float | None = Field(
        None,
        description="added to the variances, as a multiple of their mean; default: that of the file,"
        " or 0.01",
    )


def adapt(
    source: Annotated[Path, Parameter(name="FILE", help="demonstrations file")],
    /,
    *,
    texts: Annotated[UnlabeledTexts, flattened(DATA)],
    out: Annotated[Path, Parameter(group=OUTPUT, help="demonstrations file to write (.json)")],
    model: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help="known name, hub id, folder or GGUF file of the same weights, if they have moved",
        ),
    ] = None,
    whitening: Annotated[WhiteningOptions, flattened(SETTINGS)] = WhiteningOptions(),
    load: Loading = LoadOptions(),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch adapt`."""
    file = DemonstrationsFile.read(source)
    if out.suffix != ".json":
        raise UserError(f"--out must be a file that ends in .json but got {out}")
    check_writable(out)
    unlabeled = library.read_unlabeled(texts.unlabeled, texts.data, texts.column)
    options = ModelOptions(model=model, demonstrations=str(source))
    adapted = library.adapt(
        file,
        open_embedder(options, load, file),
        unlabeled,
        exponent=whitening.exponent,
        ridge=whitening.ridge,
        show_progress=output.progress,
    )
    adapted.write(out)
    record = adapted.postprocess

    def show() -> None:
        if record is not None:
            show_line(f"{record.label}, fitted on {record.texts} texts of {record.fitted_on}")
        show_line("the scores in the file are those of the search, before this")
        show_files(out, arrays_path(out))

    return Outcome(adapted.model_dump(mode="json"), show)
