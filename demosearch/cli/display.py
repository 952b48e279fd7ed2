"""What a person sees at the end of a command."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demosearch.demonstrations_file import DemonstrationsFile, score_of
from demosearch.demonstrations_summary import doubt_in_words, lead_in_words
from demosearch.models.known import short_name

if TYPE_CHECKING:
    from demosearch.candidates import Candidate, Generated
    from demosearch.cli.doctor import Finding
    from demosearch.evaluation.result import Result
    from demosearch.finetune import Training
    from demosearch.models.memory import Machine
    from demosearch.run import RunResult
    from demosearch.runs import Runs

LEADERS = 5
NO_DEMONSTRATION = "(no demonstration)"


def show_run(result: RunResult) -> None:
    """Show the best demonstrations, the gain and how sure it is, and where the files are."""
    show_search(result.file)
    if result.test is not None:
        test = result.test["test"]
        _line(
            f"test {test['name']}, {test['pairs']} pairs: {score_of(test, 'baseline_'):.2f} without,"
            f" {score_of(test):.2f} with the demonstration, gain {test['gain']:+.2f}"
            f" {_interval(test['gain_ci95'])}"
        )
    names = ("demonstrations.json", "report.html", "trials.csv", "candidates.jsonl")
    show_files(*(path for name in names if (path := result.folder / name).exists()))


def show_runs(runs: Runs) -> None:
    """Show the models side by side, smallest first where their sizes are known."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\nmodel", overflow="fold")
    tested = "test" in runs.table
    # Two figures in a cell, so that all of them fit a narrow screen.
    for name in ("dev\nnone, chosen", "\ngain", *(["test\nnone, chosen"] if tested else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("\nwords", overflow="fold", ratio=1, min_width=8)
    for row in runs.table.sort_values("parameters", kind="stable").to_dict("records"):
        interval = (row["dev_low"], row["dev_high"])
        cells = [
            f"{row['dev_baseline']:.2f}  {row['dev']:.2f}",
            f"{row['dev'] - row['dev_baseline']:+.2f} {_interval(interval)}",
        ]
        if tested:
            cells.append(f"{row['test_baseline']:.2f}  {row['test']:.2f}")
        model = runs.results[row["model"]].file.model
        table.add_row(Text(short_name(model.name, model.source)), *cells, Text(row["word"]))
    _out().print(table)
    show_files(*runs.files)


def show_search(file: DemonstrationsFile) -> None:
    """Show the ranking of a search, the gain and how sure it is, and what it cost."""
    dev, found = file.dev, file.search
    plain = score_of(dev, "baseline_")
    metric = "Spearman x 100" if dev.score is None else found.metric
    out = _out()
    out.print(
        f"[bold]{escape(file.model.name)}[/bold] ({file.model.precision}, layer"
        f" {file.prompts[0].layer}) on {escape(dev.name)}, {dev.pairs} pairs, {escape(metric)}",
        soft_wrap=True,
        highlight=False,
    )
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("word", no_wrap=True)
    table.add_column("sentence", ratio=1)
    table.add_column("source", no_wrap=True)
    several = len({ranked.template for ranked in file.ranking}) > 1
    if several:
        table.add_column("template", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_row("-", "", NO_DEMONSTRATION, "", *[""] * several, f"{plain:.2f}", "")
    for rank, one in enumerate(file.ranking[:LEADERS], start=1):
        table.add_row(
            str(rank),
            Text(one.word),
            Text(one.sentence or NO_DEMONSTRATION),
            Text(one.source),
            *[Text(one.template or "")] * several,
            f"{score_of(one):.2f}",
            f"{score_of(one) - plain:+.2f}",
            style="bold" if rank == 1 else None,
        )
    out.print(table)
    if file.layer_curve:
        known = [row for row in file.layer_curve if row.spearman is not None]
        best = sorted(known, key=score_of, reverse=True)[:LEADERS]
        _line("layers: " + ", ".join(f"{row.layer}: {score_of(row):.2f}" for row in best))
    _line(f"gain {dev.gain:+.2f}, 95% interval {_interval(dev.gain_ci95)} over the pairs")
    for one in file.carried_over or ():
        _line(
            f"carried over: {one.word}, {score_of(one):.2f}, {score_of(one) - plain:+.2f} over none"
        )
    for step in file.steps or ():
        _line(
            f"{_plural(step.prompts, 'prompt')}, {_plural(step.demonstrations, 'demonstration')}"
            f"{', centered' if step.centered else ''}:"
            f" {score_of(step):.2f}, step {step.gain:+.2f} {_interval(step.gain_ci95)}"
        )
    if dev.runner_up_ci95 is not None and (words := lead_in_words(file)):
        ahead = score_of(file.ranking[0]) - score_of(file.ranking[1])
        _line(f"ahead of the second by {ahead:.2f} {_interval(dev.runner_up_ci95)}")
        _line(words)
    if file.estimate is not None:
        estimate = file.estimate
        _line(
            f"gain {estimate.gain:+.2f} {_interval(estimate.ci95)} corrected for the choice among"
            f" {estimate.candidates} finalists"
        )
    if words := doubt_in_words(file):
        _line(words)
    share = found.sentences_encoded / found.sentences_exhaustive
    _line(
        f"{found.candidates} candidates, {found.strategy}: {found.sentences_encoded} sentences"
        f" encoded, {share:.0%} of an exhaustive search, in {found.seconds:.0f} s"
    )


def show_candidates(generated: Generated, path: str | Path) -> None:
    """Show how many candidates came from where, and what was refused."""
    for source, count in generated.sources.items():
        _line(f"{count:6d}  {source}")
    for reason, count in generated.rejected.items():
        _line(f"{count:6d}  rejected: {reason}")
    show_files(path)


def show_candidates_file(candidates: Sequence[Candidate]) -> None:
    """Show candidates, and how many came from where."""
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("word", no_wrap=True)
    table.add_column("sentence", ratio=1)
    table.add_column("source", no_wrap=True)
    table.add_column("in it", no_wrap=True)
    table.add_column("log p", justify="right", no_wrap=True)
    for one in candidates:
        probability = one.word_log_probability
        table.add_row(
            Text(one.word),
            Text(one.sentence),
            Text(one.source),
            "yes" if one.word_in_sentence else "",
            "" if probability is None else f"{probability:.1f}",
        )
    _out().print(table)
    for source, count in Counter(one.source for one in candidates).items():
        _line(f"{count:6d}  {source}")


def show_result(result: Result, *, details: bool = False) -> None:
    """Show one system's scores, and on request what they are made of."""
    out = _out()
    out.print(f"[bold]{escape(result.system.label)}[/bold]", soft_wrap=True, highlight=False)
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    for name in ("task", "metric", "examples", "score"):
        left = name in ("task", "metric")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for name, task in result.tasks.items():
        count = str(task.pairs or task.examples)
        metric = f"{task.metric} ({task.classifier})" if task.classifier else task.metric
        table.add_row(Text(name), metric, count, f"{task.score:.2f}")
        more = {**task.subsets, **task.other} if details else {}
        for what, value in more.items():
            table.add_row(Text(f"  {what}"), "", "", f"{value:.2f}", style="dim")
    for group, value in result.average.items():
        table.add_row(f"{group} average", "", "", f"{value:.2f}", style="bold")
    out.print(table)
    if result.missing:
        _line(f"left out, no data: {', '.join(result.missing)}")


def show_text(text: str) -> None:
    """Show text as it is."""
    sys.stdout.write(text)


def show_training(training: Training, folder: Path) -> None:
    """Show what a fine-tuning brought, and where the files are."""
    losses = [one.loss for one in training.curve if one.loss is not None]
    if losses:
        _line(f"{training.steps} steps, loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    if training.dev_before is not None and training.dev_after is not None:
        kept = f", step {training.best_step} kept" if training.best_step is not None else ""
        _line(f"dev {training.dev_before:.2f} before, {training.dev_after:.2f} after{kept}")
    names = ("adapter_model.safetensors", "training.json", "curve.csv", "curve.png")
    show_files(*(path for name in names if (path := folder / name).exists()))


def show_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Show dictionaries of the same keys as a table."""
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int) else "left")
    for row in rows:
        table.add_row(*(Text(f"{value}") for value in row.values()))
    _out().print(table)


def show_models(rows: Sequence[dict[str, Any]], machine: Machine) -> None:
    """Show the table of known models, and what of it fits this machine."""
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    for name in ("model", "params", "layers", "width", "fp32", "16 bit", "int8", "nf4", "fits"):
        left = name in ("model", "fits")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for row in rows:
        sizes = [row["memory"][name] for name in ("fp32", "bf16", "int8", "nf4")]
        table.add_row(
            row["name"],
            _count(row["parameters"]),
            str(row["layers"]),
            str(row["width"]),
            *(f"{size / 2**30:.1f}" for size in sizes),
            row["fits"] or "no",
            Text(row["source"].partition(":")[0]),
            style=None if row["fits"] else "dim",
        )
    _out().print(table)
    devices = " + ".join(f"{size / 2**30:.0f}" for size in machine.devices)
    what = "GPU memory" if machine.gpu else "main memory"
    _line(f"Weights in GiB. 'fits' is the finest precision for {devices} GiB of {what}.")
    _line("Any other decoder-only model works by its hub id (owner/name) or its folder.")


def _count(parameters: int) -> str:
    if parameters < 1e9:
        return f"{parameters / 1e6:.0f}M"
    return f"{parameters / 1e9:.1f}B"


def show_findings(findings: Sequence[Finding]) -> None:
    """Show what was looked at, and what to do about it."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("", ratio=1)
    topic = ""
    for one in findings:
        text = Text(one.found)
        if one.advice:
            text.append(f"\n-> {one.advice}", style="yellow")
        table.add_row("" if one.topic == topic else one.topic, Text(one.name), text)
        topic = one.topic
    _out().print(table)


def show_files(*paths: str | Path) -> None:
    """Say where the files are."""
    for path in paths:
        _line(f"-> {path}")


def show_json(value: Any) -> None:
    """Show a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _interval(bounds: Sequence[float]) -> str:
    return f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]"


def _line(text: str) -> None:
    _out().print(text, markup=False, highlight=False, soft_wrap=True)


def _out() -> Console:
    return Console(file=sys.stdout)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
