"""The tables of a study: `trials.csv` and `history.csv`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from demosearch.selection.configurations import ConfigurationKey
from demosearch.selection.trials import key_of, seconds_of

_TEXTS = ("candidate", "sentence", "word", "source", "template")


class CandidateTable:
    """A row for each configuration, summed up over its trials.

    Args:
        metric: name of the column of scores.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._rows: dict[ConfigurationKey, dict[str, Any]] = {}
        self._rungs: set[int] = set()

    def add(self, trial: FrozenTrial) -> None:
        """Add a trial to the row of its configuration."""
        attributes = trial.user_attrs
        # Trials of earlier versions have no number of tokens.
        texts = {name: attributes.get(name) for name in (*_TEXTS, "tokens")}
        empty = {**texts, "pairs": 0, "sentences_encoded": 0, "seconds": 0.0, "failure": ""}
        row = self._rows.setdefault(key_of(trial), empty)
        row["sentences_encoded"] += attributes["sentences_encoded"]
        row["seconds"] = round(row["seconds"] + seconds_of(trial), 3)
        if trial.state is TrialState.FAIL:
            row |= {"state": trial.state.name.lower(), "failure": attributes["failure"]}
            return
        pairs = attributes["pairs"]
        if pairs >= row["pairs"]:
            row |= {"pairs": pairs, "layer": attributes["layer"], "state": trial.state.name.lower()}
        scores = trial.intermediate_values
        row |= {f"{self._metric}_{rung}": score for rung, score in scores.items()}
        self._rungs |= scores.keys()
        if trial.state is TrialState.COMPLETE:
            row[self._metric] = trial.values[0]

    def total(self, column: str) -> float:
        """Return the sum of `sentences_encoded` or `seconds`."""
        return sum(float(row[column]) for row in self._rows.values())

    def frame(self) -> pd.DataFrame:
        """Return the rows, best first: texts, state, score, score by rung, cost."""
        fixed = [*_TEXTS, "state", self._metric, "layer", "pairs", "tokens"]
        scores = [f"{self._metric}_{rung}" for rung in sorted(self._rungs)]
        columns = [*fixed, *scores, "sentences_encoded", "seconds", "failure"]
        table = pd.DataFrame(list(self._rows.values())).reindex(columns=columns)
        table["layer"] = table["layer"].astype("Int64")
        # Several workers finish in any order, which must not change the table.
        table = table.sort_values("candidate", ignore_index=True)
        return table.sort_values(
            ["pairs", *reversed(scores)], ascending=False, kind="stable", ignore_index=True
        )


def history(trials: Iterable[FrozenTrial], metric: str) -> pd.DataFrame:
    """Return a row for each trial, in the order in which they ended: time, score, rung, cost."""
    columns = ["ended", "candidate", "word", "state", "pairs", metric, "layer"]
    rows = [
        {
            "ended": f"{trial.datetime_complete:%Y-%m-%dT%H:%M:%S}",
            **trial.user_attrs,
            "state": trial.state.name.lower(),
            metric: trial.intermediate_values.get(trial.user_attrs["pairs"]),
            "seconds": seconds_of(trial),
        }
        for trial in trials
    ]
    table = pd.DataFrame(rows).reindex(columns=[*columns, "sentences_encoded", "seconds"])
    table["layer"] = table["layer"].astype("Int64")
    return table
