"""What a report is about: the files of finished runs, read into tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from demosearch._common.files import parse_yaml, read_text
from demosearch.candidates.file import Candidate, read_candidates
from demosearch.demonstrations_file import DemonstrationsFile, score_of
from demosearch.errors import UserError
from demosearch.models.known import KNOWN_MODELS, short_name
from demosearch.run_folder import (
    CANDIDATES_FILE,
    DEMONSTRATIONS_FILE,
    EVALUATION_FILE,
    HISTORY_FILE,
    PIPELINE_FILE,
    TRIALS_FILE,
)
from demosearch.selection.configurations import BASELINE, ConfigurationKey
from demosearch.selection.gain import read_evaluation

# What every table of a run has.
COLUMNS = ("candidate", "word", "state", "pairs", "layer", "sentences_encoded", "seconds")
# All other columns hold numbers, an empty cell none.
TEXTS = ("candidate", "sentence", "word", "source", "template", "failure", "state", "ended")


@dataclass(frozen=True)
class FinishedRun:
    """The files of one run.

    Attributes:
        folder: where they lie.
        file: `demonstrations.json`.
        trials: `trials.csv`, a row a candidate, with what `candidates.jsonl` knows of it.
        history: `history.csv`, a row a trial, in the order in which they ended.
        test: the test scores, None where there were no test pairs.
        settings: `pipeline.yaml`, empty for a search by itself.
    """

    folder: Path
    file: DemonstrationsFile
    trials: pd.DataFrame
    history: pd.DataFrame
    test: dict[str, Any] | None
    settings: dict[str, Any]

    @classmethod
    def read(cls, place: str | Path) -> FinishedRun:
        """Read a run's folder, or what `demosearch search` wrote.

        Args:
            place: a run's folder, or a demonstrations file with its study's folder beside it.

        Raises:
            UserError: it holds no finished run, or a file of it is malformed.
        """
        place = Path(place)
        is_file = place.suffix == ".json"
        folder = place.with_suffix(".study") if is_file else place
        if is_file and place.name == DEMONSTRATIONS_FILE and not folder.is_dir():
            folder = place.parent
        file = place if is_file else folder / DEMONSTRATIONS_FILE
        if not file.is_file():
            raise UserError(
                f"{folder} holds no finished run: no {DEMONSTRATIONS_FILE} (a run that was ended goes"
                " on by its command)"
            )
        trials = read_table(folder / TRIALS_FILE)
        known = folder / CANDIDATES_FILE
        if known.is_file():
            trials = _with_what_is_known(trials, folder)
        evaluation = folder / EVALUATION_FILE
        settings = folder / PIPELINE_FILE
        return cls(
            folder,
            DemonstrationsFile.read(file),
            trials,
            read_table(folder / HISTORY_FILE),
            read_evaluation(evaluation)["test"] if evaluation.is_file() else None,
            _settings(settings) if settings.is_file() else {},
        )

    @property
    def name(self) -> str:
        """The model's name; of a folder what it is called, without the way to it."""
        return short_name(self.file.model.name, self.file.model.source)

    @property
    def metric(self) -> str:
        """What scores are, in words."""
        metric = self.file.search.metric
        return "Spearman × 100" if metric == "spearman" else metric

    @property
    def parameters(self) -> int | None:
        """The model's size, where it was counted, or is known."""
        known = KNOWN_MODELS.get(self.file.model.name)
        return self.file.model.parameters or (round(known.parameters * 1e6) if known else None)

    @cached_property
    def rungs(self) -> list[int]:
        """How many pairs each rung has."""
        pattern = re.compile(rf"{re.escape(self.file.search.metric)}_(\d+)")
        return sorted(
            int(found[1]) for name in self.trials if (found := pattern.fullmatch(str(name)))
        )

    @cached_property
    def by_rung(self) -> pd.DataFrame:
        """Scores, a row a candidate and a column a rung; nan where it was not scored."""
        columns = {f"{self.file.search.metric}_{rung}": rung for rung in self.rungs}
        table = self.trials.set_index("candidate")[list(columns)]
        return table.rename(columns=columns)

    @property
    def first_scores(self) -> pd.DataFrame:
        """The candidates with `score`, theirs on the first rung, where all of them meet.

        Each is one demonstration under the search's own template.
        """
        own = self.trials.set_index("candidate")["template"].get(BASELINE)
        is_single = [
            len(ConfigurationKey.parse(text, template).demonstrations) == 1 and template == own
            for text, template in zip(
                self.trials["candidate"], self.trials["template"], strict=True
            )
        ]
        scored = self.trials[is_single].set_index("candidate")
        return scored.assign(score=self.by_rung[self.rungs[0]]).dropna(subset=["score"])

    @property
    def gains(self) -> list[tuple[str, float, tuple[float, float]]]:
        """What was gained, by whose account, with the 95% interval."""
        dev = self.file.dev
        found = [(f"dev, {dev.pairs} pairs", dev.gain, dev.gain_ci95)]
        if self.file.estimate:
            estimate = self.file.estimate
            found.append(("dev, corrected for the choice", estimate.gain, estimate.ci95))
        if self.test:
            low, high = self.test["gain_ci95"]
            found.append((f"test, {self.test['pairs']} pairs", self.test["gain"], (low, high)))
        return found

    @property
    def scores(self) -> dict[str, tuple[float, float]]:
        """Scores without demonstration and with what was chosen, on dev and test."""
        records: dict[str, Any] = {"dev": self.file.dev}
        if self.test:
            records["test"] = self.test
        return {
            name: (score_of(record, "baseline_"), score_of(record))
            for name, record in records.items()
        }


def read_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Read finished runs, the smallest model first where the sizes are known.

    A folder that holds runs of several models stands for all of them.

    Raises:
        UserError: a folder holds none, or they were not chosen on the same pairs by one metric.
    """
    found: dict[Path, FinishedRun] = {}
    for folder in map(Path, folders):
        for place in _places(folder):
            found[place.resolve()] = FinishedRun.read(place)
    runs = sorted(found.values(), key=lambda run: run.parameters or 0)
    for run in runs:
        if (run.file.search.metric, run.file.dev.sha256) != (
            runs[0].file.search.metric,
            runs[0].file.dev.sha256,
        ):
            raise UserError(
                f"{runs[0].folder} and {run.folder} were chosen on other pairs or by another metric;"
                " their scores do not belong on one page"
            )
    return runs


def _places(folder: Path) -> list[Path]:
    if not folder.exists():
        raise UserError(f"no such folder: {folder}")
    if folder.is_file() or (folder / DEMONSTRATIONS_FILE).is_file():
        return [folder]
    below = sorted(path.parent for path in folder.glob(f"*/{DEMONSTRATIONS_FILE}"))
    return below or [folder]


def _with_what_is_known(trials: pd.DataFrame, folder: Path) -> pd.DataFrame:
    files = sorted(folder.glob(f"{Path(CANDIDATES_FILE).stem}*.jsonl"))
    rows = [one.model_dump() for file in files for one in read_candidates(file)]
    known = pd.DataFrame(rows).rename(columns={"id": "candidate"}).drop_duplicates("candidate")
    # A person may have added columns, of any name.
    ours = [name for name in Candidate.model_fields if name in known and name not in trials]
    return trials.merge(known[["candidate", *ours]], on="candidate", how="left")


def _settings(path: Path) -> dict[str, Any]:
    found = parse_yaml(read_text(path, "pipeline"), str(path))
    if not isinstance(found, dict):
        raise UserError(f"pipeline {path} holds no settings")
    return found


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of a run: `trials.csv` or `history.csv`.

    Raises:
        UserError: it is missing, no table, or lacks a column.
    """
    try:
        # Texts as they stand: a word may be "None" or "NA".
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing; give the run's command again, which writes it without computing"
            " anything"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table: {error}") from error
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise UserError(
            f"{path} has no column '{missing[0]}'; delete it, and the run's command writes it anew"
        )
    for name in table.columns.difference(list(TEXTS)):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table
