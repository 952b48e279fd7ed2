"""The Optuna study behind a search: a trial is one candidate on one rung.

Only what is finished is written, a trial in one go, so a kill leaves no half trial. A trial of an
early rung is PRUNED, one of the last rung, on all pairs, is COMPLETE, a candidate that cannot be scored
FAIL; the prompt without demonstration is a candidate among them. The similarities that a score was
computed from lie in the study too (`system_attrs`), so every worker on every host knows what any of
them knows, and nothing is computed again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import optuna
import pandas as pd
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState

from demosearch.errors import UserError, short
from demosearch.selection.configurations import Configuration
from demosearch.selection.storage import close_storage, hidden, open_storage, reported
from demosearch.selection.workers import Claims

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Kept = TypeVar("_Kept")

# Candidates are numbered; the range is wide so that a study can grow without changing it.
_NUMBER = IntDistribution(0, 1_000_000)
_TEXTS = ("candidate", "sentence", "word", "source", "template")
_SETTINGS = "settings"
_BUDGET = "token_budget"
_SIMILARITIES = "similarities"
_ARTIFACT = "artifact_sha256"
# Texts longer than this do not fit MySQL's column.
_LONGEST_TEXT = 60_000
# The lane, beside those of the race, that writes what all workers share.
_NOTES = -1
# Seconds between looks at what another worker makes for all.
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate on a rung.

    Attributes:
        similarities: of the pairs that were not known before, float32 (layers, pairs); None if it
            failed.
        begin: how many pairs of the race's order stand before them.
        failure: the reason if it failed.
        scores: Spearman x 100 by rung, at the best layer of each, up to this rung.
        layer: the best layer on this rung.
        sentences: that were encoded for it.
        seconds: that took.
    """

    similarities: NDArray[np.float32] | None
    begin: int
    failure: str
    scores: dict[int, float]
    layer: int
    sentences: int
    seconds: float

    @property
    def score(self) -> float:
        """Spearman x 100 on all pairs of the rung; nan if it failed."""
        return self.scores[max(self.scores)] if self.scores else math.nan


class CandidateStudy:
    """An Optuna study whose trials are candidates on rungs.

    Args:
        storage: an Optuna storage, its URL, or the path of a journal file, `*.log`.
        name: the study's name.
        settings: what must be alike for two runs to share scores.
        metric: what scores are called.
        pareto: tokens are a second pair_encoder, as few as may be.

    Raises:
        UserError: the storage cannot be opened, or its study was made with other settings.
    """

    def __init__(
        self,
        storage: str | optuna.storages.BaseStorage,
        name: str,
        settings: dict[str, Any],
        *,
        metric: str = "spearman",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # The storage that a caller opened is the caller's to close.
        self._owned = isinstance(storage, str)
        self._storage = open_storage(storage) if isinstance(storage, str) else storage
        shown = storage if isinstance(storage, str) else type(storage).__name__
        try:
            with reported(shown):
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    direction="maximize",
                    # What is scored next is never asked of a sampler.
                    sampler=optuna.samplers.RandomSampler(seed=0),
                    pruner=optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
            self._check_settings(settings, shown)
        except UserError:
            self.close()
            raise
        self._metric = metric
        self._budget: int | None = None
        self._outcomes: dict[tuple[str, int], Outcome] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._read = 0
        # Why candidates could not be scored, by name.
        self.failures: dict[str, str] = {}

    def close(self) -> None:
        """Close the storage; what was read stays."""
        if self._owned:
            close_storage(self._storage)

    def token_budget(self, found: int) -> int:
        """Return the study's tokens a pass; the first to ask decides.

        How sentences are batched changes the last digits of their states, so it is the same for
        every worker and after every restart.
        """
        if self._budget is None:
            self._budget = int(self.note(_BUDGET, found))
        return self._budget

    def lower_token_budget(self, budget: int) -> None:
        """Keep what is left after memory ran out; a larger one changes nothing."""
        if self._budget is not None and budget >= self._budget:
            return
        # Another worker may have lowered it further.
        self._budget = min(budget, self._study.user_attrs.get(_BUDGET, budget))
        self._study.set_user_attr(_BUDGET, self._budget)

    def claims(self, lane: int) -> Claims:
        """Return what one worker claims with."""
        return Claims(self._study, lane)

    def note(self, key: str, value: Any) -> Any:
        """Return what is kept under a key; the first value given for it, by any worker, stays."""
        return self._alone(
            key,
            lambda: self._study.user_attrs.get(key),
            lambda: self._study.set_user_attr(key, value),
        )

    def once(self, name: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return rows that one of the workers factory, for all of them and for good.

        Args:
            name: what they are kept under.
            make: makes them.
        """

        def write() -> None:
            rows = make()
            for number, row in enumerate(rows):
                self._study.set_user_attr(f"{name}:{number}", row)
            # Last: until it is there, nothing is.
            self._study.set_user_attr(name, len(rows))

        return self._alone(name, lambda: self._kept(name), write)

    def _alone(
        self, name: str, read: Callable[[], _Kept | None], write: Callable[[], None]
    ) -> _Kept:
        """Return what is kept; where nothing is, one of the workers writes it and all wait for that."""
        if (kept := read()) is not None:
            return kept
        claims = self.claims(_NOTES)
        try:
            while (kept := read()) is None:
                if not claims.claim([name], 1):
                    time.sleep(_PAUSE)
                elif read() is None:
                    write()
        finally:
            claims.close()
        return kept

    def _kept(self, name: str) -> list[dict[str, Any]] | None:
        kept = self._study.user_attrs
        if name not in kept:
            return None
        return [kept[f"{name}:{number}"] for number in range(kept[name])]

    def refresh(self) -> None:
        """Read what was finished since the last time, by whichever worker."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials[self._read :]:
            attributes = trial.user_attrs
            key = (attributes["candidate"], attributes["pairs"])
            # Two workers may have scored the same if one was given up while it lived.
            if key not in self._outcomes:
                self._outcomes[key] = _outcome(trial)
                self._add_to_row(trial)
        self._read = len(trials)

    def outcome(self, name: str, pairs: int) -> Outcome | None:
        """Return what became of a candidate on a rung, or None, as of the last refresh."""
        return self._outcomes.get((name, pairs))

    def add(
        self, configuration: Configuration, pairs: int, outcome: Outcome, *, is_last: bool
    ) -> None:
        """Write a trial.

        Args:
            configuration: the candidate.
            pairs: the rung.
            outcome: what became of it.
            is_last: the rung has all pairs.
        """
        # Optuna keeps local time without a zone.
        ended = datetime.now()  # noqa: DTZ005
        attributes: dict[str, Any] = {
            "candidate": configuration.name,
            **configuration.describe(),
            "tokens": configuration.tokens,
            "pairs": pairs,
        }
        system = {}
        if outcome.similarities is None:
            state = TrialState.FAIL
            attributes["failure"] = outcome.failure
        else:
            state = TrialState.COMPLETE if is_last else TrialState.PRUNED
            attributes["layer"] = outcome.layer
            system = dict(_texts(outcome.begin, outcome.similarities))
        attributes["sentences_encoded"] = outcome.sentences
        self._study.add_trial(
            FrozenTrial(
                number=-1,
                trial_id=-1,
                state=state,
                value=outcome.score if state is TrialState.COMPLETE else None,
                datetime_start=ended - timedelta(seconds=outcome.seconds),
                datetime_complete=ended,
                params={"candidate": configuration.number},
                distributions={"candidate": _NUMBER},
                user_attrs=attributes,
                system_attrs=system,
                intermediate_values=outcome.scores,
            )
        )

    def attach(self, path: Path) -> None:
        """Keep a file as the study's artifact, in `artifacts` beside it, unless it is there already."""
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        if self._study.user_attrs.get(_ARTIFACT) == content:
            return
        folder = path.parent / "artifacts"
        folder.mkdir(exist_ok=True)
        store = FileSystemArtifactStore(folder)
        upload_artifact(study_or_trial=self._study, file_path=str(path), artifact_store=store)
        self._study.set_user_attr(_ARTIFACT, content)

    def total(self, attribute: str) -> float:
        """Return the sum of `sentences_encoded` or `seconds` over all candidates."""
        return sum(float(row[attribute]) for row in self._rows.values())

    def table(self) -> pd.DataFrame:
        """Return a row a candidate, best first: text, state, score, score by rung, cost."""
        rungs = sorted({rung for each in self._outcomes.values() for rung in each.scores})
        fixed = [*_TEXTS, "state", self._metric, "layer", "pairs", "tokens"]
        scores = [f"{self._metric}_{pairs}" for pairs in rungs]
        columns = [*fixed, *scores, "sentences_encoded", "seconds", "failure"]
        table = pd.DataFrame(list(self._rows.values())).reindex(columns=columns)
        table["layer"] = table["layer"].astype("Int64")
        # Several workers finish in any order, which must not show.
        table = table.sort_values("candidate", ignore_index=True)
        return table.sort_values(
            ["pairs", *reversed(scores)], ascending=False, kind="stable", ignore_index=True
        )

    def history(self) -> pd.DataFrame:
        """Return a row a trial, in the order in which they ended: score, rung, cost, by the clock."""
        columns = ["ended", "candidate", "word", "state", "pairs", self._metric, "layer"]
        rows = [
            {
                "ended": f"{trial.datetime_complete:%Y-%m-%dT%H:%M:%S}",
                **trial.user_attrs,
                "state": trial.state.name.lower(),
                self._metric: trial.intermediate_values.get(trial.user_attrs["pairs"]),
                "seconds": _seconds(trial),
            }
            for trial in self._study.get_trials(deepcopy=False)
        ]
        table = pd.DataFrame(rows).reindex(columns=[*columns, "sentences_encoded", "seconds"])
        table["layer"] = table["layer"].astype("Int64")
        return table

    def _add_to_row(self, trial: FrozenTrial) -> None:
        attributes = trial.user_attrs
        # Studies of earlier versions do not say how many tokens.
        texts = {key: attributes.get(key) for key in (*_TEXTS, "tokens")}
        fresh = {**texts, "pairs": 0, "sentences_encoded": 0, "seconds": 0.0, "failure": ""}
        row = self._rows.setdefault(attributes["candidate"], fresh)
        row["sentences_encoded"] += attributes["sentences_encoded"]
        row["seconds"] = round(row["seconds"] + _seconds(trial), 3)
        if trial.state is TrialState.FAIL:
            row["state"] = trial.state.name.lower()
            row["failure"] = self.failures[attributes["candidate"]] = attributes["failure"]
            return
        pairs = attributes["pairs"]
        if pairs >= row["pairs"]:
            row |= {"pairs": pairs, "layer": attributes["layer"], "state": trial.state.name.lower()}
        row |= {
            f"{self._metric}_{rung}": score for rung, score in trial.intermediate_values.items()
        }
        if trial.state is TrialState.COMPLETE:
            row[self._metric] = trial.values[0]

    def _check_settings(self, settings: dict[str, Any], storage: str) -> None:
        # Through JSON, so that tuples and lists compare alike.
        wanted = json.loads(json.dumps(settings))
        # In this order: whoever made a trial had written the settings before.
        if self._study.get_trials(deepcopy=False) and _SETTINGS not in self._study.user_attrs:
            raise UserError(
                f"study '{self._study.study_name}' in {hidden(storage)} has trials of something else"
                " than demosearch; use another study name"
            )
        kept = self.note(_SETTINGS, wanted)
        names = [*wanted, *(key for key in kept if key not in wanted)]
        differing = [key for key in names if kept.get(key) != wanted.get(key)]
        if differing:
            key = differing[0]
            before, now = kept.get(key), wanted.get(key)
            if isinstance(before, dict) and isinstance(now, dict):
                part = next(part for part in now | before if before.get(part) != now.get(part))
                key, before, now = f"{key}'s {part}", before.get(part), now.get(part)
            raise UserError(
                f"study '{self._study.study_name}' in {hidden(storage)} was made with another"
                f" {key} ({short(repr(before))}, now {short(repr(now))}); use another output"
                " folder or study name"
            )


def _texts(begin: int, similarities: NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    """Yield attributes that hold an array, none of them too long for a database.

    The first one begins with where the array stands and its number of layers.
    """
    data = base64.b64encode(similarities.astype("<f4").tobytes()).decode()
    text = f"{begin},{len(similarities)}:{data}"
    for part, start in enumerate(range(0, len(text), _LONGEST_TEXT)):
        yield f"{_SIMILARITIES}:{part}", text[start : start + _LONGEST_TEXT]


def _outcome(trial: FrozenTrial) -> Outcome:
    attributes, system = trial.user_attrs, trial.system_attrs
    cost = (int(attributes["sentences_encoded"]), _seconds(trial))
    if trial.state is TrialState.FAIL:
        return Outcome(None, 0, attributes["failure"], {}, 0, *cost)
    text = "".join(system[f"{_SIMILARITIES}:{part}"] for part in range(len(system)))
    head, _, data = text.partition(":")
    begin, layers = map(int, head.split(","))
    similarities = np.frombuffer(base64.b64decode(data), dtype="<f4").reshape(layers, -1)
    scores = dict(trial.intermediate_values)
    return Outcome(similarities, begin, "", scores, attributes["layer"], *cost)


def _seconds(trial: FrozenTrial) -> float:
    return round(trial.duration.total_seconds(), 3) if trial.duration else 0.0
