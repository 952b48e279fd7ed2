"""The figures of a report, one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from demosearch._common.words import length, letters_and_digits
from demosearch.demonstrations_summary import step_in_words
from demosearch.report.runs import FinishedRun
from demosearch.report.style import (
    BLUE,
    GREEN,
    GREY,
    HEIGHT,
    INK,
    ORANGE,
    WIDTH,
    add_legend,
    draw_strips,
    names_beside,
    new_figure,
)
from demosearch.selection.configurations import BASELINE

# The maximum number of finalists with a color and a label of their own.
MAX_NAMED = 6


def history(run: FinishedRun) -> Figure:
    """Draw the score of each trial by the sentences encoded so far, and the best score on all pairs."""
    metric = run.file.search.metric
    sentences = run.history["sentences_encoded"].cumsum() / 1000
    table = run.history.assign(sentences=sentences).dropna(subset=[metric])
    trials = table[table["candidate"] != BASELINE]
    on_all_pairs = trials["pairs"] == run.file.dev.pairs
    figure, axes = new_figure()
    early, late = trials[~on_all_pairs], trials[on_all_pairs]
    axes.scatter(
        early["sentences"], early[metric], s=9, color=GREY, alpha=0.5, label="on some dev pairs"
    )
    axes.scatter(
        late["sentences"], late[metric], s=30, color=BLUE, label="on all dev pairs", zorder=3
    )
    best = late[metric].cummax()
    axes.step(late["sentences"], best, where="post", color=BLUE, linewidth=1.5)
    axes.axhline(run.scores["dev"][0], color=ORANGE, linestyle="--", label="baseline")
    axes.set_xlabel("sentences encoded (thousands)")
    axes.set_ylabel(run.metric)
    add_legend(figure)
    return figure


def race(run: FinishedRun) -> Figure:
    """Draw the scores of all candidates by rung; a line ends where its candidate was eliminated."""
    figure, axes = new_figure()
    scores = run.by_rung
    finalists = [candidate.id for candidate in run.file.ranking if candidate.id != BASELINE]
    finalists = finalists[:MAX_NAMED]
    words = dict(zip(run.trials["candidate"], run.trials["word"], strict=True))
    rungs = np.array(run.rungs)
    others = scores.drop(index=[*finalists, BASELINE], errors="ignore").to_numpy(dtype=float)
    lines = [np.column_stack([rungs, row])[np.isfinite(row)] for row in others]
    lines = [line for line in lines if len(line)]
    if lines:
        # One collection for all lines, because there may be thousands.
        axes.add_collection(LineCollection(lines, colors=GREY, alpha=0.45, linewidths=0.7))
        axes.plot(
            *np.array([line[-1] for line in lines]).T, ".", color=GREY, alpha=0.45, markersize=3
        )
    if BASELINE in scores.index:
        axes.plot(rungs, scores.loc[BASELINE], "--", color=ORANGE, label="baseline")
    for rank, name in enumerate(name for name in finalists if name in scores.index):
        axes.plot(
            rungs,
            scores.loc[name].to_numpy(),
            color=BLUE if rank == 0 else GREEN,
            linewidth=2 if rank == 0 else 1.2,
            label=str(words.get(name, name)),
        )
    if len(rungs) > 1:
        axes.set_xscale("log")
        axes.set_xticks(rungs, [str(rung) for rung in rungs], rotation=45)
        axes.minorticks_off()
    axes.set_xlabel("dev pairs")
    axes.set_ylabel(run.metric)
    add_legend(figure)
    return figure


def layer_curve(run: FinishedRun) -> Figure | None:
    """Draw the scores of the demonstration and of the baseline at each layer."""
    if not run.file.layer_curve:
        return None
    rows = pd.DataFrame([row.model_dump() for row in run.file.layer_curve])
    score, baseline = "spearman", "baseline_spearman"
    if rows["score"].notna().any():
        score, baseline = "score", "baseline_score"
    figure, axes = new_figure()
    axes.plot(rows["layer"], rows[score], "o-", color=BLUE, markersize=4, label="demonstration")
    axes.plot(rows["layer"], rows[baseline], "o--", color=ORANGE, markersize=3, label="baseline")
    chosen = run.file.prompts[0].layer
    axes.axvline(chosen, color=INK, linewidth=0.8, alpha=0.6)
    axes.annotate(
        f"layer {chosen}",
        (chosen, axes.get_ylim()[0]),
        xytext=(-4, 6),
        textcoords="offset points",
        ha="right",
    )
    axes.set_xlabel("layer")
    axes.set_ylabel(run.metric)
    add_legend(figure)
    return figure


def by_kind(run: FinishedRun) -> Figure:
    """Draw the candidates' scores on the first rung by their source, length and word."""
    table = run.first_scores
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    groups = {str(name): part["score"] for name, part in table.groupby("source")}
    draw_strips(left, groups)
    left.set_title("source")
    left.set_ylabel(f"{run.metric}, first rung ({run.rungs[0]} dev pairs)")
    sentences = table["sentence"].astype(str)
    lengths = [length(sentence) for sentence in sentences]
    unit, numbers = "words", [row.number for row in lengths]
    if any(row.unit == "characters" for row in lengths):
        # A script without blanks has no number of words.
        unit, numbers = "characters", list(map(letters_and_digits, sentences))
    middle.scatter(numbers, table["score"], s=10, color=BLUE, alpha=0.5)
    middle.set_title(f"{unit} in the sentence")
    if "word_in_sentence" in table and table["word_in_sentence"].notna().any():
        known = table.dropna(subset=["word_in_sentence"])
        contained = known["word_in_sentence"].astype(bool)
        draw_strips(
            right, {"no": known.loc[~contained, "score"], "yes": known.loc[contained, "score"]}
        )
        right.set_title("sentence contains the word")
    else:
        right.scatter(
            table["word"].astype(str).map(letters_and_digits), table["score"], s=10, color=BLUE
        )
        right.set_title("letters in the word")
    for axes in (left, middle, right):
        axes.grid(axis="y")
    return figure


def gains(run: FinishedRun) -> Figure:
    """Draw each estimate of the gain over the baseline, with its 95% interval."""
    rows = list(reversed(run.gains))
    figure, axes = new_figure(height=1.0 + 0.5 * len(rows))
    for row, (_, gain, (low, high)) in enumerate(rows):
        axes.plot([low, high], [row, row], color=BLUE, linewidth=2)
        axes.plot(gain, row, "o", color=BLUE)
        axes.annotate(
            f"{gain:+.2f}", (gain, row), xytext=(0, 7), textcoords="offset points", ha="center"
        )
    axes.axvline(0, color=ORANGE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel(f"gain over the baseline with 95% interval, {run.metric}")
    axes.grid(visible=False, axis="y")
    return figure


def refinement(run: FinishedRun) -> Figure | None:
    """Draw the score after each step that was taken: the gain taken apart."""
    steps = run.file.taken_steps
    if len(steps) < 2:
        return None
    scores = [step.spearman if step.score is None else step.score for step in steps]
    baseline = run.scores["dev"][0]
    names = ["baseline"]
    names += [step_in_words(step).replace(", ", ",\n") for step in steps]
    figure, axes = new_figure()
    axes.plot(range(len(names)), [baseline, *scores], "o-", color=BLUE)
    for position, (step, score) in enumerate(zip(steps, scores, strict=True), start=1):
        low, high = (score - step.gain + bound for bound in step.gain_ci95)
        axes.plot([position, position], [low, high], color=BLUE, linewidth=2, alpha=0.5)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"{run.metric}, dev")
    return figure


def dev_and_test(runs: Sequence[FinishedRun]) -> Figure | None:
    """Draw test scores against dev scores: a line per model, from the baseline to the result."""
    tested = [run for run in runs if run.test]
    if not tested:
        return None
    figure, axes = new_figure()
    for run in tested:
        (dev, test) = (run.scores["dev"], run.scores["test"])
        axes.plot(dev, test, color=GREY, linewidth=1, zorder=1)
        axes.scatter(dev[:1], test[:1], color=ORANGE, zorder=2)
        axes.scatter(dev[1:], test[1:], color=BLUE, zorder=2)
    axes.scatter([], [], color=ORANGE, label="baseline")
    axes.scatter([], [], color=BLUE, label="result")
    axes.margins(0.15)
    names_beside(axes, [(run.name, run.scores["dev"][1], run.scores["test"][1]) for run in tested])
    axes.set_xlabel(f"dev, {tested[0].metric}")
    axes.set_ylabel(f"test, {tested[0].metric}")
    add_legend(figure)
    return figure


def by_size(runs: Sequence[FinishedRun]) -> Figure | None:
    """Draw the scores of the baseline and of the result by model size."""
    known = [run for run in runs if run.parameters]
    if len(known) < 2:
        return None
    figure, axes = new_figure()
    sizes = [run.parameters or 0 for run in known]
    for split, style in (("dev", "-"), ("test", ":")):
        if not all(split in run.scores for run in known):
            continue
        for row, (color, name) in enumerate(((ORANGE, "baseline"), (BLUE, "result"))):
            values = [run.scores[split][row] for run in known]
            axes.plot(sizes, values, f"o{style}", color=color, label=f"{name}, {split}")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [run.name for run in known], rotation=30, ha="right")
    axes.minorticks_off()
    axes.set_ylabel(known[0].metric)
    add_legend(figure)
    return figure


Draw = Callable[[FinishedRun], Figure | None]

# By the figure's file name: its title, and the function that draws it.
OF_A_RUN: dict[str, tuple[str, Draw]] = {
    "gains": ("Gain with 95% interval", gains),
    "race": ("Successive halving (race): scores by rung", race),
    "history": ("Scores by sentences encoded", history),
    "steps": ("The gain taken apart", refinement),
    "layers": ("Scores by layer", layer_curve),
    "kinds": ("Scores by source, length and word", by_kind),
}
OF_ALL_RUNS: dict[str, tuple[str, Callable[[Sequence[FinishedRun]], Figure | None]]] = {
    "sizes": ("Scores by model size", by_size),
    "dev_and_test": ("Test scores against dev scores", dev_and_test),
}
