"""What `search` and `run` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from demosearch.cli.display.console import (
    add_columns,
    interval,
    plain_table,
    show,
    show_files,
    show_line,
    show_title,
)
from demosearch.demonstrations_file import DemonstrationsFile, score_of
from demosearch.demonstrations_summary import doubt_in_words, lead_in_words, step_in_words
from demosearch.models.known import short_name
from demosearch.selection.configurations import BASELINE

if TYPE_CHECKING:
    from demosearch.run import RunResult
    from demosearch.runs import Runs

LEADERS = 5
NO_DEMONSTRATION = "(no demonstration)"
# The files of a run that are listed at its end.
_FILES = ("demonstrations.json", "report.html", "trials.csv", "candidates.jsonl")


def show_run(result: RunResult) -> None:
    """Print the best demonstrations, the gain with its uncertainty, and the files."""
    show_search(result.file)
    if result.test is not None:
        test = result.test["test"]
        show_line(
            f"test {test['name']}, {test['pairs']} pairs: baseline {score_of(test, 'baseline_'):.2f},"
            f" chosen {score_of(test):.2f}, gain {test['gain']:+.2f} {interval(test['gain_ci95'])}"
        )
        # Results of version 0.1 have no steps.
        for step, chosen in zip(test.get("steps") or (), result.file.taken_steps, strict=False):
            show_line(
                f"  {step['gain']:+.2f} {interval(step['gain_ci95'])} {step_in_words(chosen)}"
            )
    paths = [result.folder / name for name in _FILES]
    show_files(*(path for path in paths if path.exists()))


def show_runs(runs: Runs) -> None:
    """Print one row per model, smallest model first if the sizes are known."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\nmodel", overflow="fold")
    tested = "test" in runs.table
    # Two scores share a cell, so that the table fits a narrow screen.
    add_columns(
        table, right=["dev\nnone, chosen", "\ngain", *(["test\nnone, chosen"] if tested else [])]
    )
    table.add_column("\nwords", overflow="fold", ratio=1, min_width=8)
    for row in runs.table.sort_values("parameters", kind="stable").to_dict("records"):
        bounds = (row["dev_low"], row["dev_high"])
        cells = [
            f"{row['dev_baseline']:.2f}  {row['dev']:.2f}",
            f"{row['dev'] - row['dev_baseline']:+.2f} {interval(bounds)}",
        ]
        if tested:
            cells.append(f"{row['test_baseline']:.2f}  {row['test']:.2f}")
        model = runs.results[row["model"]].file.model
        table.add_row(Text(short_name(model.name, model.source)), *cells, Text(row["word"]))
    show(table)
    show_files(*runs.files)


def show_search(file: DemonstrationsFile) -> None:
    """Print the ranking of a search, the gain with its uncertainty, and the cost."""
    dev, record = file.dev, file.search
    metric = "Spearman x 100" if dev.score is None else record.metric
    show_title(
        file.model.name,
        f" ({file.model.precision}, layer {file.prompts[0].layer}) on {dev.name}, {dev.pairs}"
        f" pairs, {metric}",
    )
    show(_ranking(file))
    _show_layers(file)
    show_line(
        f"gain {dev.gain:+.2f} {interval(dev.gain_ci95)} over the prompt without demonstrations at the"
        " last layer (95% interval over the pairs)"
    )
    _show_steps(file)
    _show_uncertainty(file)
    share = record.sentences_encoded / record.sentences_exhaustive
    show_line(
        f"{record.candidates} candidates, {record.strategy}: {record.sentences_encoded} sentences"
        f" encoded, {share:.0%} of an exhaustive search, in {record.seconds:.0f} s"
    )


def _ranking(file: DemonstrationsFile) -> Table:
    """Return the best configurations and the baseline as a table."""
    baseline = score_of(file.dev, "baseline_")
    table = plain_table()
    add_columns(table, right=[""])
    add_columns(table, left=["word"])
    table.add_column("sentence", ratio=1)
    several = len({configuration.template for configuration in file.ranking}) > 1
    add_columns(table, left=["source", *["template"] * several], right=["score", "gain"])
    table.add_row("-", "", NO_DEMONSTRATION, "", *[""] * several, f"{baseline:.2f}", "")
    # The baseline is the first row, and again a row of its own only if it is the best.
    ranking = [
        configuration
        for index, configuration in enumerate(file.ranking)
        if not index or configuration.id != BASELINE or score_of(configuration) != baseline
    ]
    for rank, configuration in enumerate(ranking[:LEADERS], start=1):
        table.add_row(
            str(rank),
            Text(configuration.word),
            Text(configuration.sentence or NO_DEMONSTRATION),
            Text(configuration.source),
            *[Text(configuration.template or "")] * several,
            f"{score_of(configuration):.2f}",
            f"{score_of(configuration) - baseline:+.2f}",
            style="bold" if rank == 1 else None,
        )
    return table


def _show_layers(file: DemonstrationsFile) -> None:
    scored = [row for row in file.layer_curve or () if row.spearman is not None]
    best = sorted(scored, key=score_of, reverse=True)[:LEADERS]
    if best:
        show_line("layers: " + ", ".join(f"{row.layer}: {score_of(row):.2f}" for row in best))


def _show_steps(file: DemonstrationsFile) -> None:
    """Print the scores of other models' demonstrations, and the gain taken apart."""
    baseline = score_of(file.dev, "baseline_")
    for configuration in file.carried_over or ():
        score = score_of(configuration)
        show_line(
            f"carried over: {configuration.word}, {score:.2f}, {score - baseline:+.2f} over none"
        )
    for step in file.steps or ():
        left_out = "" if step.taken else ", left out"
        show_line(
            f"  {step.gain:+.2f} {interval(step.gain_ci95)} {step_in_words(step)}:"
            f" {score_of(step):.2f}{left_out}"
        )


def _show_uncertainty(file: DemonstrationsFile) -> None:
    """Print how far the best is ahead, and the gain corrected for the selection."""
    dev = file.dev
    if dev.runner_up_ci95 is not None and (words := lead_in_words(file)):
        ahead = score_of(file.ranking[0]) - score_of(file.ranking[1])
        show_line(f"ahead of the second by {ahead:.2f} {interval(dev.runner_up_ci95)}")
        show_line(words)
    if file.estimate is not None:
        estimate = file.estimate
        line = (
            f"corrected for the choice among {estimate.candidates} finalists: gain"
            f" {estimate.gain:+.2f} {interval(estimate.ci95)}"
        )
        if estimate.demonstrations_gain is not None and estimate.demonstrations_ci95 is not None:
            line += (
                f", of the demonstrations {estimate.demonstrations_gain:+.2f}"
                f" {interval(estimate.demonstrations_ci95)}"
            )
        show_line(line)
    if words := doubt_in_words(file):
        show_line(words)
