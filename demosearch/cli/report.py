"""`demosearch report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from demosearch.cli import library
from demosearch.cli.display.console import show_files
from demosearch.cli.options import OUTPUT, Output, Printing
from demosearch.cli.outcome import Outcome
from demosearch.errors import UserError
from demosearch.run_folder import REPORT_FILE


def report(
    runs: Annotated[
        list[Path],
        Parameter(name="RUN", help="folders of runs, or files written by `search`"),
    ],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(
            group=OUTPUT,
            help="page to write (.html), with its figures in a folder of the same name; default:"
            " RUN/report.html, or report.html for several runs",
        ),
    ] = None,
    output: Printing = Output(),
) -> Outcome:
    """`demosearch report`."""
    page = out or _default_page(runs)
    if page.suffix != ".html":
        raise UserError(f"--out must be a file that ends in .html but got {page}")
    files = library.write_report(library.read_runs(runs), page)
    return Outcome({"files": [str(path) for path in files]}, lambda: show_files(*files))


def _default_page(runs: list[Path]) -> Path:
    if len(runs) > 1:
        return Path(REPORT_FILE)
    (run,) = runs
    return (run.with_suffix("") if run.is_file() else run) / REPORT_FILE
