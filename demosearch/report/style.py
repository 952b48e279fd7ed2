"""The style of figures, and parts that several figures share.

The colors are from Okabe and Ito's palette, which color-blind readers can distinguish, and are readable on
light and dark backgrounds. Text and axes are drawn in one neutral color, which the page replaces with its
own text color.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#5f6368"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#9aa0a6"
WIDTH = 8.0
HEIGHT = 4.2
# Height of a line of text as a share of the figure's height.
LINE = 0.06
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
    # A word may contain any character and is not a formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    # Text remains text: it can be searched, and is shown in the reader's font.
    "svg.fonttype": "none",
    "svg.hashsalt": "demosearch",
}


def new_figure(height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return a figure with one plot and a grid."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True)
    return figure, axes


def names_beside(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Label points on the right side of a plot, without overlaps.

    Args:
        axes: the plot.
        points: label, x and y of each point.
    """
    low, high = axes.get_ylim()
    points = sorted(points, key=lambda point: point[2])
    # As shares of the height: as close to the points as the height of the lines of text allows.
    heights = [(y - low) / (high - low) for _, _, y in points]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + LINE)
    heights[-1] = min(heights[-1], 1)
    for index in range(len(heights) - 1, 0, -1):
        heights[index - 1] = min(heights[index - 1], heights[index] - LINE)
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


def add_legend(figure: Figure) -> None:
    """Add a legend above the plot, where it does not cover anything."""
    figure.legend(loc="outside upper left", ncols=4, fontsize=9)


def draw_strips(axes: Axes, groups: dict[str, pd.Series[float]]) -> None:
    """Draw the scores of groups as points, and their medians as lines."""
    generator = np.random.default_rng(0)
    for position, scores in enumerate(groups.values()):
        spread = generator.uniform(-0.18, 0.18, len(scores))
        axes.scatter(position + spread, scores, s=10, color=BLUE, alpha=0.5)
        if len(scores):
            axes.hlines(scores.median(), position - 0.3, position + 0.3, color=ORANGE, linewidth=2)
    # The name of a source's model, after the colon, may be long.
    names = [f"{name.partition(':')[0]} ({len(scores)})" for name, scores in groups.items()]
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set_xlim(-0.6, len(names) - 0.4)
