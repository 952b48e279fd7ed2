"""The Optuna study behind a search: a trial is the outcome of one configuration on one rung.

Only finished trials are written, each in one transaction, so a kill leaves no half-written trial. Every
worker reads the trials of all workers, so nothing is computed twice.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from demosearch.errors import UserError, short
from demosearch.selection.configurations import Configuration, ConfigurationKey
from demosearch.selection.notes import SETTINGS, note, open_study
from demosearch.selection.storage import close_storage, hidden, open_storage, reported
from demosearch.selection.tables import CandidateTable, history
from demosearch.selection.trials import Outcome, key_of, outcome_of, to_trial
from demosearch.selection.workers import Claims

_BUDGET = "token_budget"
_ARTIFACT = "artifact_sha256"


class CandidateStudy:
    """An Optuna study whose trials are configurations on rungs.

    Attributes:
        failures: why configurations could not be scored.

    Args:
        storage: an Optuna storage, its URL, or the path of a journal file, `*.log`. A storage object
            is not closed.
        name: the study's name.
        settings: what must be equal for two searches to share scores.
        metric: name of the metric in the tables.

    Raises:
        UserError: the storage cannot be opened, or its study was made with different settings.
    """

    def __init__(
        self,
        storage: str | optuna.storages.BaseStorage,
        name: str,
        settings: dict[str, Any],
        *,
        metric: str = "spearman",
    ) -> None:
        if not isinstance(storage, str | optuna.storages.BaseStorage):
            raise UserError(
                "storage must be an Optuna storage, a URL, or the path of a journal file as text but got"
                f" {short(repr(storage))}"
            )
        self._owned = isinstance(storage, str)
        self._storage = open_storage(storage) if isinstance(storage, str) else storage
        self._storage_name = hidden(storage)
        try:
            with reported(storage):
                self._study = open_study(self._storage, name)
            self._check_settings(settings)
        except BaseException:
            self.close()
            raise
        self._metric = metric
        self._token_budget: int | None = None
        self._outcomes: dict[tuple[ConfigurationKey, int], Outcome] = {}
        self._table = CandidateTable(metric)
        self._number_read = 0
        self.failures: dict[ConfigurationKey, str] = {}

    def close(self) -> None:
        """Close the storage unless the caller opened it; the outcomes stay available."""
        if self._owned:
            close_storage(self._storage)

    def token_budget(self, proposed: int) -> int:
        """Return the study's token budget; the first worker's proposal decides.

        How sentences are batched changes the last digits of their states, so the budget is the same for
        every worker and after every restart.
        """
        if self._token_budget is None:
            self._token_budget = int(self.note(_BUDGET, proposed))
        return self._token_budget

    def lower_token_budget(self, budget: int) -> None:
        """Store a token budget that was lowered because memory ran out; ignore a larger one."""
        if self._token_budget is not None and budget >= self._token_budget:
            return
        # Another worker may have lowered it more.
        self._token_budget = min(budget, self._study.user_attrs.get(_BUDGET, budget))
        self._study.set_user_attr(_BUDGET, self._token_budget)

    def claims(self, thread: int) -> Claims:
        """Return the claims of one worker: a thread of this process."""
        return Claims(self._study, thread)

    def note(self, key: str, value: Any) -> Any:
        """Return the value stored under a key; the first value that any worker proposes is stored."""
        return note(self._study, key, value)

    def refresh(self) -> None:
        """Read the trials that any worker has finished since the last call."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials[self._number_read :]:
            key, pairs = key_of(trial), trial.user_attrs["pairs"]
            # Two workers may have scored the same if one was given up while it was alive.
            if (key, pairs) in self._outcomes:
                continue
            outcome = self._outcomes[key, pairs] = outcome_of(trial)
            self._table.add(trial)
            if outcome.similarities is None:
                self.failures[key] = outcome.failure
        self._number_read = len(trials)

    def outcome(self, key: ConfigurationKey, pairs: int) -> Outcome | None:
        """Return the outcome of a configuration on a rung as of the last refresh, or None."""
        return self._outcomes.get((key, pairs))

    def add(
        self, configuration: Configuration, pairs: int, outcome: Outcome, *, is_last: bool
    ) -> None:
        """Write a trial; the arguments are those of `to_trial`."""
        self._study.add_trial(to_trial(configuration, pairs, outcome, is_last=is_last))

    def attach(self, path: Path) -> None:
        """Store a file as the study's artifact, in `artifacts` beside it, unless it is stored already."""
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        if self._study.user_attrs.get(_ARTIFACT) == content:
            return
        folder = path.parent / "artifacts"
        folder.mkdir(exist_ok=True)
        store = FileSystemArtifactStore(folder)
        upload_artifact(study_or_trial=self._study, file_path=str(path), artifact_store=store)
        self._study.set_user_attr(_ARTIFACT, content)

    def total(self, column: str) -> float:
        """Return the sum of `sentences_encoded` or `seconds` over all configurations."""
        return self._table.total(column)

    def table(self) -> pd.DataFrame:
        """Return a row for each configuration, best first, as `trials.csv` has it."""
        return self._table.frame()

    def history(self) -> pd.DataFrame:
        """Return a row for each trial in the order in which they ended, as `history.csv` has it."""
        return history(self._study.get_trials(deepcopy=False), self._metric)

    def _check_settings(self, settings: dict[str, Any]) -> None:
        # Through JSON, so that tuples equal lists.
        now = json.loads(json.dumps(settings))
        study = f"study '{self._study.study_name}' in {self._storage_name}"
        # In this order: a worker writes the settings before its first trial.
        if self._study.get_trials(deepcopy=False) and SETTINGS not in self._study.user_attrs:
            raise UserError(
                f"{study} contains trials that demosearch did not create; use another study name"
            )
        before = self.note(SETTINGS, now)
        if difference := _difference(before, now):
            name, old, new = difference
            raise UserError(
                f"{study} was made with different settings ({name} was {short(repr(old))}, now"
                f" {short(repr(new))}); use another output folder or study name"
            )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first setting that differs, with both values; None if none differs."""
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            part = next(part for part in new | old if old.get(part) != new.get(part))
            return f"{name}'s {part}", old.get(part), new.get(part)
        return name, old, new
    return None
