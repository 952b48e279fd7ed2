"""The report's page: all runs' tables and pictures in one file."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
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
from demosearch.report.figures import BLUE, INK, OF_A_RUN, OF_ALL_RUNS, STYLE
from demosearch.report.runs import FinishedRun
from demosearch.selection.configurations import BASELINE, ConfigurationKey

DPI = 150
# Rows of the table of candidates; a page of ten thousand would be slow to open.
MOST_ROWS = 2000


def write_report(runs: Sequence[FinishedRun], path: str | Path) -> list[Path]:
    """Write a report of runs, and each of its pictures as PNG, and return the files.

    Args:
        runs: at least one.
        path: of the HTML file; the PNGs go into a folder of its name without the ending.
    """
    path = Path(path)
    folder = path.with_suffix("")
    files = [path]
    with mpl.rc_context(STYLE):
        together = {}
        if len(runs) > 1:
            drawn = {name: (title, draw(runs)) for name, (title, draw) in OF_ALL_RUNS.items()}
            together = _shown(drawn, folder, "", files)
        sections = []
        for number, run in enumerate(runs, start=1):
            prefix = f"{number}_" if len(runs) > 1 else ""
            drawn = {name: (title, draw(run)) for name, (title, draw) in OF_A_RUN.items()}
            if len(runs) == 1:
                title, draw_all = OF_ALL_RUNS["dev_and_test"]
                drawn["dev_and_test"] = (title, draw_all(runs))
            sections.append(_section(run, _shown(drawn, folder, prefix, files)))
    environment = Environment(
        loader=PackageLoader("demosearch.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html.j2").render(
        version=__version__, together=together, sections=sections, models=_models(runs)
    )
    with atomic_write(path) as file:
        file.write(text)
    return files


def _shown(
    drawn: dict[str, tuple[str, Figure | None]], folder: Path, prefix: str, files: list[Path]
) -> dict[str, str]:
    """Return pictures as SVG by their titles, and write them as PNG."""
    found = {}
    for name, (title, figure) in drawn.items():
        if figure is None:
            continue
        files.append(folder / f"{prefix}{name}.png")
        with atomic_write(files[-1], "wb") as file:
            figure.savefig(file, format="png", dpi=DPI, facecolor="white")
        found[title] = _svg(figure, f"{prefix}{name}")
    return found


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as an element of a page, in the page's own text colour."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace(BLUE, "var(--good)")
    # Names are the page's: no two pictures may share one.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    # As wide as the page lets it be.
    return re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*pt"', r"\1", text, count=2)


def _section(run: FinishedRun, pictures: dict[str, str]) -> dict[str, Any]:
    file = run.file
    return {
        "name": run.name,
        "file": file,
        "metric": run.metric,
        "scores": run.scores,
        "gains": run.gains,
        "standing": lead_in_words(file),
        "doubt": doubt_in_words(file),
        "prompts": [Prompt.of(record).render("...") for record in file.prompts],
        "share": file.search.sentences_encoded / file.search.sentences_exhaustive,
        "pictures": pictures,
        "rows": _rows(run),
        "templates": run.trials["template"].nunique(),
        "left_out": max(0, len(run.trials) - MOST_ROWS),
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
    for row in run.trials.head(MOST_ROWS).to_dict("records"):
        reached = [rung for rung in run.rungs if rung <= (row["pairs"] or 0)]
        score = row[f"{run.file.search.metric}_{reached[-1]}"] if reached else None
        baseline = row["candidate"] == BASELINE
        is_chosen = ConfigurationKey.parse(row["candidate"], row["template"]) in chosen
        rows.append(
            {
                "word": "" if baseline else row["word"],
                "sentence": "(no demonstration)" if baseline else row["sentence"],
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
            "words": " | ".join(one.word for one in run.file.demonstrations),
        }
        for run in runs
    ]
