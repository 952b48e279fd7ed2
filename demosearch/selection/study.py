"""The Optuna study behind a search: one trial a candidate, the prompt without demonstration first.

A trial stays open while its candidate is in the race. Every rung is an intermediate value, reported
at the number of pairs it was computed on; a candidate that drops out ends PRUNED, one that was scored
on all pairs ends COMPLETE. A killed run leaves open trials, and the next one goes on with them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import IntDistribution
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

BASELINE = "baseline"
# Candidates are numbered; the range is wide so that a study can grow without changing it.
_NUMBER = IntDistribution(0, 1_000_000)
_SETTINGS = "settings"
_BUDGET = "token_budget"


class Strategy(StrEnum):
    """How candidates are scored."""

    RACE = "race"
    EXHAUSTIVE = "exhaustive"


class CandidateStudy:
    """An Optuna study whose trials are candidates.

    Args:
        storage: an Optuna storage URL.
        name: the study's name.
        settings: what must be alike for two runs to share scores.

    Raises:
        UserError: the storage cannot be opened, or its study was made with other settings.
    """

    def __init__(self, storage: str, name: str, settings: dict[str, Any]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                # Every candidate is enqueued; the sampler is never asked for one.
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        except (SQLAlchemyError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"cannot open the study storage {_hidden(storage)}: {reason}"
            ) from error
        self._check_settings(settings, storage)
        self._budget: int | None = None
        self._trials: dict[str, Trial] = {}
        self._scores: dict[str, dict[int, float]] = {}

    def token_budget(self, found: int) -> int:
        """Return the study's tokens a pass; the first to ask decides.

        How sentences are batched changes the last digits of their states, so it is the same for
        every worker and after every restart.
        """
        if self._budget is None:
            self._budget = self._study.user_attrs.get(_BUDGET)
        if self._budget is None:
            self._keep_budget(found)
        return self._budget or found

    def lower_token_budget(self, budget: int) -> None:
        """Keep what is left after memory ran out; a larger one changes nothing."""
        if self._budget is None or budget < self._budget:
            self._keep_budget(budget)

    def _keep_budget(self, budget: int) -> None:
        self._budget = budget
        self._study.set_user_attr(_BUDGET, budget)

    def open(self, candidates: Sequence[Demonstration]) -> None:
        """Make the trials that are missing, and take up the ones that a killed run left open."""
        self._scores = {
            trial.user_attrs["candidate"]: dict(trial.intermediate_values)
            for trial in self._study.get_trials(deepcopy=False)
        }
        rows = [(BASELINE, "", "", BASELINE)]
        rows += [(one.id, one.sentence, one.word, one.source) for one in candidates]
        for number, (candidate, sentence, word, source) in enumerate(rows):
            if candidate in self._scores:
                continue
            attributes = {
                "candidate": candidate,
                "sentence": sentence,
                "word": word,
                "source": source,
                "sentences_encoded": 0,
                "seconds": 0.0,
            }
            self._study.enqueue_trial({"candidate": number}, user_attrs=attributes)
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._trials[frozen.user_attrs["candidate"]] = Trial(self._study, frozen._trial_id)
        for _ in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial = self._study.ask({"candidate": _NUMBER})
            self._trials[trial.user_attrs["candidate"]] = trial

    def finished(self, candidate: str) -> bool:
        """Whether the candidate's trial has ended."""
        return candidate not in self._trials

    def score(self, candidate: str, pairs: int) -> float | None:
        """Return the recorded score on a rung, or None."""
        return self._scores.get(candidate, {}).get(pairs)

    def report(
        self, candidate: str, pairs: int, score: float, sentences: int, seconds: float
    ) -> None:
        """Record a score on a rung and what it cost."""
        trial = self._trials[candidate]
        spent = trial.user_attrs
        trial.set_user_attr("sentences_encoded", spent["sentences_encoded"] + sentences)
        trial.set_user_attr("seconds", round(spent["seconds"] + seconds, 3))
        trial.report(score, step=pairs)
        self._scores.setdefault(candidate, {})[pairs] = score

    def complete(self, candidate: str, score: float) -> None:
        """End a trial with its score on all pairs."""
        self._study.tell(self._trials.pop(candidate), score)

    def prune(self, candidate: str) -> None:
        """End a trial whose candidate dropped out of the race."""
        self._study.tell(self._trials.pop(candidate), state=TrialState.PRUNED)

    def fail(self, candidate: str, reason: str) -> None:
        """End a trial whose candidate could not be scored; a failure is never a score."""
        trial = self._trials.pop(candidate)
        trial.set_user_attr("failure", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def total(self, attribute: str) -> float:
        """Return the sum of a numeric attribute over all trials."""
        return sum(
            float(trial.user_attrs[attribute]) for trial in self._study.get_trials(deepcopy=False)
        )

    def final_scores(self) -> dict[str, float]:
        """Return the scores of the candidates that were scored on all pairs, in trial order."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {trial.user_attrs["candidate"]: float(trial.value or 0.0) for trial in trials}

    def table(self) -> pd.DataFrame:
        """Return a row a trial, best first: candidate, text, state, score, score by rung, cost."""
        rows = []
        for trial in self._study.get_trials(deepcopy=False):
            row = {
                "candidate": trial.user_attrs["candidate"],
                "sentence": trial.user_attrs["sentence"],
                "word": trial.user_attrs["word"],
                "source": trial.user_attrs["source"],
                "state": trial.state.name.lower(),
                "spearman": trial.value if trial.state is TrialState.COMPLETE else None,
                "pairs": max(trial.intermediate_values, default=0),
            }
            steps = sorted(trial.intermediate_values.items())
            row |= {f"spearman_{pairs}": score for pairs, score in steps}
            row["sentences_encoded"] = trial.user_attrs["sentences_encoded"]
            row["seconds"] = trial.user_attrs["seconds"]
            row["failure"] = trial.user_attrs.get("failure", "")
            rows.append(row)
        table = pd.DataFrame(rows)
        rungs = sorted(
            (name for name in table.columns if name.startswith("spearman_")),
            key=lambda name: int(name.removeprefix("spearman_")),
        )
        fixed = ["candidate", "sentence", "word", "source", "state", "spearman", "pairs"]
        table = table[[*fixed, *rungs, "sentences_encoded", "seconds", "failure"]]
        return table.sort_values(
            ["pairs", *reversed(rungs)], ascending=False, kind="stable", ignore_index=True
        )

    def _check_settings(self, settings: dict[str, Any], storage: str) -> None:
        # Through JSON, so that tuples and lists compare alike.
        wanted = json.loads(json.dumps(settings))
        kept = self._study.user_attrs.get(_SETTINGS)
        if kept is None:
            self._study.set_user_attr(_SETTINGS, wanted)
            return
        differing = [key for key in wanted if kept.get(key) != wanted[key]]
        if differing:
            key = differing[0]
            raise UserError(
                f"study '{self._study.study_name}' in {_hidden(storage)} was made with another"
                f" {key} ({kept.get(key)!r}, now {wanted[key]!r}); use another output folder or"
                " study name"
            )


def _hidden(storage: str) -> str:
    """Return a storage URL without user and password."""
    scheme, separator, rest = storage.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else storage
