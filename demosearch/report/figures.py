"""The pictures of a report, one function each.

Colours are readable on light and dark ground; text and axes are drawn in one neutral tone, which the
page replaces by its own. All are from Okabe and Ito's palette, which the colour-blind tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from demosearch.report.runs import FinishedRun
from demosearch.selection.configurations import BASELINE

INK = "#5f6368"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#9aa0a6"
WIDTH = 8.0
HEIGHT = 4.2
# A line of text, in parts of a picture's height.
LINE = 0.06
# Names beside points, before they cover each other.
MOST_NAMES = 6
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    # A word may hold any sign, and is no formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    # Text stays text: it can be searched, and is drawn in the reader's own font.
    "svg.fonttype": "none",
    "svg.hashsalt": "demosearch",
}


def history(run: FinishedRun) -> Figure:
    """Every trial's score over the sentences encoded so far, and the best on all pairs."""
    metric = run.file.search.metric
    sentences = run.history["sentences_encoded"].cumsum() / 1000
    table = run.history.assign(sentences=sentences).dropna(subset=[metric])
    tried = table[table["candidate"] != BASELINE]
    whole = tried["pairs"] == run.file.dev.pairs
    figure, axes = _figure()
    early, late = tried[~whole], tried[whole]
    axes.scatter(
        early["sentences"], early[metric], s=9, color=GREY, alpha=0.5, label="on some of the pairs"
    )
    axes.scatter(late["sentences"], late[metric], s=30, color=BLUE, label="on all pairs", zorder=3)
    best = late[metric].cummax()
    axes.step(late["sentences"], best, where="post", color=BLUE, linewidth=1.5)
    _baseline(axes, run)
    axes.set_xlabel("sentences encoded, thousands")
    axes.set_ylabel(run.metric)
    _legend(figure)
    return figure


def race(run: FinishedRun) -> Figure:
    """Every candidate's score from rung to rung: who was dropped where."""
    figure, axes = _figure()
    scores = run.by_rung
    finalists = [one.id for one in run.file.ranking][:MOST_NAMES]
    words = dict(zip(run.trials["candidate"], run.trials["word"], strict=True))
    rungs = np.array(run.rungs)
    others = scores.drop(index=[*finalists, BASELINE], errors="ignore").to_numpy(dtype=float)
    lines = [np.column_stack([rungs, row])[np.isfinite(row)] for row in others]
    lines = [line for line in lines if len(line)]
    if lines:
        # One of each for all, as there may be thousands.
        axes.add_collection(LineCollection(lines, colors=GREY, alpha=0.45, linewidths=0.7))
        axes.plot(
            *np.array([line[-1] for line in lines]).T, ".", color=GREY, alpha=0.45, markersize=3
        )
    if BASELINE in scores.index:
        axes.plot(rungs, scores.loc[BASELINE], "--", color=ORANGE, label="no demonstration")
    for place, name in enumerate(name for name in finalists if name in scores.index):
        ours = scores.loc[name].to_numpy()
        axes.plot(
            rungs,
            ours,
            color=BLUE if place == 0 else GREEN,
            linewidth=2 if place == 0 else 1.2,
            label=str(words.get(name, name)),
        )
    if len(rungs) > 1:
        axes.set_xscale("log")
        axes.set_xticks(rungs, [str(rung) for rung in rungs], rotation=45)
        axes.minorticks_off()
    axes.set_xlabel("pairs")
    axes.set_ylabel(run.metric)
    _legend(figure)
    return figure


def layer_curve(run: FinishedRun) -> Figure | None:
    """The chosen demonstration's score and the plain prompt's at every layer."""
    if not run.file.layer_curve:
        return None
    rows = pd.DataFrame([row.model_dump() for row in run.file.layer_curve])
    score, plain = "spearman", "baseline_spearman"
    if rows["score"].notna().any():
        score, plain = "score", "baseline_score"
    figure, axes = _figure()
    axes.plot(rows["layer"], rows[score], "o-", color=BLUE, markersize=4, label="demonstration")
    axes.plot(rows["layer"], rows[plain], "o--", color=ORANGE, markersize=3, label="none")
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
    _legend(figure)
    return figure


def by_kind(run: FinishedRun) -> Figure:
    """What candidates score on the first rung by their source, their length, and their word."""
    table = run.first_scores
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    groups = {str(name): part["score"] for name, part in table.groupby("source")}
    _strips(left, groups)
    left.set_title("source")
    left.set_ylabel(f"{run.metric}, first {run.rungs[0]} pairs")
    words = [len(str(sentence).split()) for sentence in table["sentence"]]
    middle.scatter(words, table["score"], s=10, color=BLUE, alpha=0.5)
    middle.set_title("words of the sentence")
    if "word_in_sentence" in table and table["word_in_sentence"].notna().any():
        known = table.dropna(subset=["word_in_sentence"])
        there = known["word_in_sentence"].astype(bool)
        _strips(right, {"no": known.loc[~there, "score"], "yes": known.loc[there, "score"]})
        right.set_title("word in its sentence")
    else:
        right.scatter(table["word"].astype(str).str.len(), table["score"], s=10, color=BLUE)
        right.set_title("letters of the word")
    for axes in (left, middle, right):
        axes.grid(axis="y")
    return figure


def gains(run: FinishedRun) -> Figure:
    """What was gained over no demonstration, by each account, with its interval."""
    rows = list(reversed(run.gains))
    figure, axes = _figure(height=1.0 + 0.5 * len(rows))
    for place, (_, gain, (low, high)) in enumerate(rows):
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2)
        axes.plot(gain, place, "o", color=BLUE)
        axes.annotate(
            f"{gain:+.2f}", (gain, place), xytext=(0, 7), textcoords="offset points", ha="center"
        )
    axes.axvline(0, color=ORANGE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel(f"gain over no demonstration, {run.metric}, 95% interval")
    axes.grid(visible=False, axis="y")
    return figure


def steps(run: FinishedRun) -> Figure | None:
    """What every further demonstration, prompt or centering brought."""
    if not run.file.steps or len(run.file.steps) < 2:
        return None
    found = run.file.steps
    scores = [step.spearman if step.score is None else step.score for step in found]
    plain = run.scores["dev"][0]
    names = ["none"]
    for step in found:
        parts = [f"{step.demonstrations} dem."]
        parts += [f"{step.prompts} prompts"] if step.prompts > 1 else []
        parts += ["centered"] if step.centered else []
        names.append("\n".join(parts))
    figure, axes = _figure()
    axes.plot(range(len(names)), [plain, *scores], "o-", color=BLUE)
    for place, (step, score) in enumerate(zip(found, scores, strict=True), start=1):
        low, high = (score - step.gain + bound for bound in step.gain_ci95)
        axes.plot([place, place], [low, high], color=BLUE, linewidth=2, alpha=0.5)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"{run.metric}, dev")
    return figure


def dev_and_test(runs: Sequence[FinishedRun]) -> Figure | None:
    """Dev against test, without demonstration and with what was chosen, a line a model."""
    tested = [run for run in runs if run.test]
    if not tested:
        return None
    figure, axes = _figure()
    for run in tested:
        (dev, test) = (run.scores["dev"], run.scores["test"])
        axes.plot(dev, test, color=GREY, linewidth=1, zorder=1)
        axes.scatter(dev[:1], test[:1], color=ORANGE, zorder=2)
        axes.scatter(dev[1:], test[1:], color=BLUE, zorder=2)
    axes.scatter([], [], color=ORANGE, label="no demonstration")
    axes.scatter([], [], color=BLUE, label="chosen")
    axes.margins(0.15)
    _names_beside(axes, [(run.name, run.scores["dev"][1], run.scores["test"][1]) for run in tested])
    axes.set_xlabel(f"dev, {tested[0].metric}")
    axes.set_ylabel(f"test, {tested[0].metric}")
    _legend(figure)
    return figure


def by_size(runs: Sequence[FinishedRun]) -> Figure | None:
    """Scores over the models' sizes, with and without demonstration."""
    known = [run for run in runs if run.parameters]
    if len(known) < 2:
        return None
    figure, axes = _figure()
    sizes = [run.parameters or 0 for run in known]
    for split, style in (("dev", "-"), ("test", ":")):
        if not all(split in run.scores for run in known):
            continue
        for row, (color, name) in enumerate(((ORANGE, "no demonstration"), (BLUE, "chosen"))):
            values = [run.scores[split][row] for run in known]
            axes.plot(sizes, values, f"o{style}", color=color, label=f"{name}, {split}")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [run.name for run in known], rotation=30, ha="right")
    axes.minorticks_off()
    axes.set_ylabel(known[0].metric)
    _legend(figure)
    return figure


Draw = Callable[[FinishedRun], Figure | None]

# By the picture's file name: what stands above it, and what draws it.
OF_A_RUN: dict[str, tuple[str, Draw]] = {
    "gains": ("Gain, and how sure it is", gains),
    "race": ("How the race narrowed", race),
    "history": ("The search over its cost", history),
    "steps": ("Step by step", steps),
    "layers": ("Layers", layer_curve),
    "kinds": ("By source, length and word", by_kind),
}
OF_ALL_RUNS: dict[str, tuple[str, Callable[[Sequence[FinishedRun]], Figure | None]]] = {
    "sizes": ("By model size", by_size),
    "dev_and_test": ("Dev against test", dev_and_test),
}


def _figure(height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True)
    return figure, axes


def _baseline(axes: Axes, run: FinishedRun) -> None:
    axes.axhline(run.scores["dev"][0], color=ORANGE, linestyle="--", label="no demonstration")


def _names_beside(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Name points on the right of a picture, one above the other, where the names cover nothing."""
    low, high = axes.get_ylim()
    points = sorted(points, key=lambda point: point[2])
    # In parts of the picture's height: as near to the points as the lines of text leave room for.
    heights = [(y - low) / (high - low) for _, _, y in points]
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + LINE)
    heights[-1] = min(heights[-1], 1)
    for place in range(len(heights) - 1, 0, -1):
        heights[place - 1] = min(heights[place - 1], heights[place] - LINE)
    for (name, x, y), height in zip(points, heights, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.02, height),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "relpos": (0, 0.5)},
        )


def _legend(figure: Figure) -> None:
    """Explain the colours above the picture, where they cover nothing."""
    figure.legend(loc="outside upper left", ncols=4, fontsize=9)


def _strips(axes: Axes, groups: dict[str, pd.Series[float]]) -> None:
    """Draw the members of groups as points, and their medians."""
    generator = np.random.default_rng(0)
    for place, scores in enumerate(groups.values()):
        spread = generator.uniform(-0.18, 0.18, len(scores))
        axes.scatter(place + spread, scores, s=10, color=BLUE, alpha=0.5)
        if len(scores):
            axes.hlines(scores.median(), place - 0.3, place + 0.3, color=ORANGE, linewidth=2)
    # A source's model may have a long name.
    names = [f"{name.partition(':')[0]} ({len(scores)})" for name, scores in groups.items()]
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set_xlim(-0.6, len(names) - 0.4)
