"""Finished runs: their files, read into tables."""

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

# The columns of every table of a run.
COLUMNS = ("candidate", "word", "state", "pairs", "layer", "sentences_encoded", "seconds")
# The columns with texts. All other columns contain numbers; an empty cell is a missing number.
TEXT_COLUMNS = ("candidate", "sentence", "word", "source", "template", "failure", "state", "ended")


@dataclass(frozen=True)
class FinishedRun:
    """The files of one run.

    Attributes:
        folder: the run folder.
        file: `demonstrations.json`.
        trials: `trials.csv`, one row per candidate, with its fields in `candidates.jsonl`.
        history: `history.csv`, one row per trial, in the order in which the trials ended.
        test: the test scores; None if the run has no test pairs.
        settings: `pipeline.yaml`; empty for the result of `demosearch search`.
    """

    folder: Path
    file: DemonstrationsFile
    trials: pd.DataFrame
    history: pd.DataFrame
    test: dict[str, Any] | None
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> FinishedRun:
        """Read a run folder, or the result of `demosearch search`.

        Args:
            path: a run folder, or a demonstrations file with the folder of its study beside it.

        Raises:
            UserError: the run is not finished, or one of its files is malformed.
        """
        path = Path(path)
        is_file = path.suffix == ".json"
        folder = path.with_suffix(".study") if is_file else path
        if is_file and path.name == DEMONSTRATIONS_FILE and not folder.is_dir():
            folder = path.parent
        file = path if is_file else folder / DEMONSTRATIONS_FILE
        if not file.is_file():
            raise UserError(
                f"{folder} must contain a finished run but has no {DEMONSTRATIONS_FILE}; re-run the"
                " command to resume the run"
            )
        trials = read_table(folder / TRIALS_FILE)
        if (folder / CANDIDATES_FILE).is_file():
            trials = _with_candidate_fields(trials, folder)
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
        """The model's name; for a local folder, the last part of its path."""
        return short_name(self.file.model.name, self.file.model.source)

    @property
    def metric(self) -> str:
        """The metric of the scores, in words."""
        metric = self.file.search.metric
        return "Spearman × 100" if metric == "spearman" else metric

    @property
    def parameters(self) -> int | None:
        """The model's number of parameters; None if it is unknown."""
        known = KNOWN_MODELS.get(self.file.model.name)
        return self.file.model.parameters or (round(known.parameters * 1e6) if known else None)

    @cached_property
    def rungs(self) -> list[int]:
        """The number of dev pairs of each rung."""
        pattern = re.compile(rf"{re.escape(self.file.search.metric)}_(\d+)")
        return sorted(
            int(match[1]) for name in self.trials if (match := pattern.fullmatch(str(name)))
        )

    @cached_property
    def by_rung(self) -> pd.DataFrame:
        """Scores, one row per candidate and a column per rung; nan where it was not scored."""
        columns = {f"{self.file.search.metric}_{rung}": rung for rung in self.rungs}
        table = self.trials.set_index("candidate")[list(columns)]
        return table.rename(columns=columns)

    @property
    def first_scores(self) -> pd.DataFrame:
        """The candidates with `score`, their score on the first rung, which scores all candidates.

        Only single demonstrations with the search's own template are included.
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
        """The estimates of the gain over the baseline: name, gain, and 95% interval."""
        dev = self.file.dev
        gains = [(f"dev, {dev.pairs} pairs", dev.gain, dev.gain_ci95)]
        if self.file.estimate:
            estimate = self.file.estimate
            gains.append(("dev, corrected for the selection", estimate.gain, estimate.ci95))
        if self.test:
            low, high = self.test["gain_ci95"]
            gains.append((f"test, {self.test['pairs']} pairs", self.test["gain"], (low, high)))
        return gains

    @property
    def scores(self) -> dict[str, tuple[float, float]]:
        """Scores of the baseline and of the result, on dev and test pairs."""
        records: dict[str, Any] = {"dev": self.file.dev}
        if self.test:
            records["test"] = self.test
        return {
            name: (score_of(record, "baseline_"), score_of(record))
            for name, record in records.items()
        }


def read_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Read finished runs, ordered by the size of the model where it is known.

    A folder with runs of several models means all of these runs.

    Args:
        folders: run folders, folders of run folders, and demonstrations files.

    Raises:
        UserError: a folder contains no finished run, or the runs differ in dev pairs or metric.
    """
    by_path: dict[Path, FinishedRun] = {}
    for folder in map(Path, folders):
        for path in _paths(folder):
            by_path[path.resolve()] = FinishedRun.read(path)
    runs = sorted(by_path.values(), key=lambda run: run.parameters or 0)
    for run in runs:
        if (run.file.search.metric, run.file.dev.sha256) != (
            runs[0].file.search.metric,
            runs[0].file.dev.sha256,
        ):
            raise UserError(
                f"the runs of a report must have the same dev pairs and the same metric, but"
                f" {runs[0].folder} and {run.folder} differ; write separate reports"
            )
    return runs


def _paths(folder: Path) -> list[Path]:
    if not folder.exists():
        raise UserError(f"a report requires existing run folders but got {folder}")
    if folder.is_file() or (folder / DEMONSTRATIONS_FILE).is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.glob(f"*/{DEMONSTRATIONS_FILE}"))
    return runs or [folder]


def _with_candidate_fields(trials: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the table of trials with the candidates' fields as additional columns."""
    files = sorted(folder.glob(f"{Path(CANDIDATES_FILE).stem}*.jsonl"))
    rows = [candidate.model_dump() for file in files for candidate in read_candidates(file)]
    table = pd.DataFrame(rows).rename(columns={"id": "candidate"}).drop_duplicates("candidate")
    # Users may have added fields with any name.
    fields = [name for name in Candidate.model_fields if name in table and name not in trials]
    return trials.merge(table[["candidate", *fields]], on="candidate", how="left")


def _settings(path: Path) -> dict[str, Any]:
    settings = parse_yaml(read_text(path, "pipeline"), str(path))
    if not isinstance(settings, dict):
        raise UserError(f"pipeline {path} must be a mapping but got {type(settings).__name__}")
    return settings


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of a run: `trials.csv` or `history.csv`.

    Raises:
        UserError: it is missing, is not a table, or has no column of `COLUMNS`.
    """
    try:
        # Without conversion, because a word may be "None" or "NA".
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing; re-run the command, which writes it without computing scores again"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a CSV table: {error}") from error
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise UserError(
            f"{path} must have the column '{missing[0]}'; delete the file and re-run the command to"
            " write it again"
        )
    for name in table.columns.difference(list(TEXT_COLUMNS)):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table
