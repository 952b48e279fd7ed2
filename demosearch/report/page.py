"""The page of a report: tables and figures of all runs in one file."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from demosearch import __version__
from demosearch._common.files import atomic_write
from demosearch.demonstrations_summary import doubt_in_words, lead_in_words
from demosearch.prompt import Prompt
from demosearch.report.figures import OF_A_RUN, OF_ALL_RUNS
from demosearch.report.runs import FinishedRun
from demosearch.report.style import BLUE, INK, STYLE
from demosearch.selection.configurations import BASELINE, ConfigurationKey

logger = logging.getLogger(__name__)

DPI = 150
# Rows in the table of candidates; a page with ten thousand rows would open slowly.
MAX_ROWS = 2000


def write_report(runs: Sequence[FinishedRun], path: str | Path) -> list[Path]:
    """Write a report of runs and its figures as PNG files, and return the paths of all files.

    Args:
        runs: one or more runs.
        path: the HTML file; the PNG files are written to the folder with the same name without suffix.
    """
    path = Path(path)
    folder = path.with_suffix("")
    files = [path]
    with mpl.rc_context(STYLE), _missing_letters_logged():
        all_runs = {}
        if len(runs) > 1:
            drawn = {name: (title, draw(runs)) for name, (title, draw) in OF_ALL_RUNS.items()}
            all_runs = _saved(drawn, folder, "", files)
        sections = []
        for number, run in enumerate(runs, start=1):
            prefix = f"{number}_" if len(runs) > 1 else ""
            drawn = {name: (title, draw(run)) for name, (title, draw) in OF_A_RUN.items()}
            if len(runs) == 1:
                title, draw_all = OF_ALL_RUNS["dev_and_test"]
                drawn["dev_and_test"] = (title, draw_all(runs))
            sections.append(_section(run, _saved(drawn, folder, prefix, files)))
    environment = Environment(
        loader=PackageLoader("demosearch.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html.j2").render(
        version=__version__, all_runs=all_runs, sections=sections, models=_models(runs)
    )
    with atomic_write(path) as file:
        file.write(text)
    return files


@contextmanager
def _missing_letters_logged() -> Iterator[None]:
    """Log once that matplotlib's font lacks letters, instead of a warning for each of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Glyph .* missing from")
        yield
    missing = [warning for warning in caught if "missing from" in str(warning.message)]
    if missing:
        logger.warning(
            "the PNG figures lack letters that matplotlib's font does not have; the page has them"
        )
    for warning in caught:
        if warning not in missing:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _saved(
    drawn: dict[str, tuple[str, Figure | None]], folder: Path, prefix: str, files: list[Path]
) -> dict[str, str]:
    """Write figures as PNG files, and return them as SVG by title.

    Args:
        drawn: title and figure by file name; None for a figure that does not apply.
        folder: of the PNG files.
        prefix: of the files' names.
        files: the paths are added to this list.
    """
    svgs = {}
    for name, (title, figure) in drawn.items():
        if figure is None:
            continue
        files.append(folder / f"{prefix}{name}.png")
        with atomic_write(files[-1], "wb") as file:
            figure.savefig(file, format="png", dpi=DPI, facecolor="white")
        svgs[title] = _svg(figure, f"{prefix}{name}")
    return svgs


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as an element of a page, in the page's text color."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace(BLUE, "var(--good)")
    # Ids must be unique in the page.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    # Without a size, the figure is as wide as the page.
    return re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*pt"', r"\1", text, count=2)


def _section(run: FinishedRun, figures: dict[str, str]) -> dict[str, Any]:
    """Return the values of a run's section."""
    file = run.file
    return {
        "name": run.name,
        "file": file,
        "metric": run.metric,
        "scores": run.scores,
        "gains": run.gains,
        "lead": lead_in_words(file),
        "doubt": doubt_in_words(file),
        "prompts": [Prompt.of(record).render("...") for record in file.prompts],
        "share": file.search.sentences_encoded / file.search.sentences_exhaustive,
        "figures": figures,
        "rows": _rows(run),
        "templates": run.trials["template"].nunique(),
        "left_out": max(0, len(run.trials) - MAX_ROWS),
        "settings": yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True),
    }


def _rows(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the table of candidates, best first."""
    chosen = {
        ConfigurationKey(
            tuple(demonstration.id for demonstration in prompt.demonstrations), prompt.template
        )
        for prompt in run.file.prompts
    }
    rows = []
    for row in run.trials.head(MAX_ROWS).to_dict("records"):
        reached = [rung for rung in run.rungs if rung <= (row["pairs"] or 0)]
        score = row[f"{run.file.search.metric}_{reached[-1]}"] if reached else None
        baseline = row["candidate"] == BASELINE
        is_chosen = ConfigurationKey.parse(row["candidate"], row["template"]) in chosen
        rows.append(
            {
                "word": "" if baseline else row["word"],
                "sentence": "(baseline)" if baseline else row["sentence"],
                "source": "" if baseline else row["source"],
                "pairs": row["pairs"],
                "score": score,
                "layer": row["layer"],
                "tokens": row.get("tokens"),
                "template": row["template"],
                "failure": row["failure"],
                "kind": "baseline" if baseline else "chosen" if is_chosen else "",
            }
        )
    return rows


def _models(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Return the table of models."""
    return [
        {
            "name": run.name,
            "scores": run.scores,
            "gain": run.file.dev.gain,
            "interval": run.file.dev.gain_ci95,
            "layer": run.file.prompts[0].layer,
            "words": " | ".join(each.word for each in run.file.demonstrations),
        }
        for run in runs
    ]
