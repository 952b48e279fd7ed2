"""`demosearch export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter
from pydantic import Field

from demosearch._common.files import check_writable
from demosearch.cli import library
from demosearch.cli.display.console import show_files
from demosearch.cli.options import (
    MODEL,
    OUTPUT,
    Options,
    Output,
    Printing,
    field_of,
    flattened,
)
from demosearch.cli.outcome import Outcome
from demosearch.export.checks import check_folder
from demosearch.export.source import read_source
from demosearch.models.options import LoadOptions

Target: TypeAlias = Literal["sentence-transformers", "vllm"]


class WeightsToExport(Options):
    """The weights that are exported."""

    model: str | None = Field(
        None,
        description="known name, hub id, folder or GGUF file of the same weights, if they have moved; with"
        " paper or best, of the model",
    )
    adapter: str | None = field_of(LoadOptions, "adapter")
    merge: bool = Field(False, description="merge the adapter into the weights")
    precision: Literal["fp32", "bf16", "fp16"] | None = Field(
        None,
        description="number format of the exported weights; default: that of the file,"
        " with paper or best fp32",
    )
    allow_pickle: bool = field_of(LoadOptions, "allow_pickle")


def export(
    source: Annotated[
        str,
        Parameter(
            name="FILE",
            help="demonstrations file, paper or best as in `evaluate`, or an adapter folder written by"
            " `finetune`",
        ),
    ],
    /,
    *,
    to: Annotated[Target, Parameter(group=OUTPUT, help="target format")],
    out: Annotated[Path, Parameter(group=OUTPUT, help="new folder to write")],
    weights: Annotated[WeightsToExport, flattened(MODEL)] = WeightsToExport(),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch export`."""
    read_source(source, weights.model)
    check_folder(out)
    check_writable(out, folder=True)
    write = {
        "sentence-transformers": library.export_sentence_transformer,
        "vllm": library.export_vllm,
    }
    exported = write[to](source, out, **weights.model_dump())
    return Outcome(
        {"folder": str(exported.folder), "width": exported.width, "to": to},
        lambda: show_files(exported.folder),
    )
