"""Trials: how the outcome of a configuration on a rung is written to an Optuna study, and read.

A trial of an early rung is PRUNED, a trial of the last rung, on all pairs, is COMPLETE, and a
configuration that cannot be scored is a FAIL. The similarities that a score was computed from are
system attributes, so that no worker computes them again.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState

from demosearch.selection.configurations import Configuration, ConfigurationKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The range is wide so that a study can grow without changing it.
_NUMBER = IntDistribution(0, 1_000_000)
_SIMILARITIES = "similarities"
# Longer texts do not fit MySQL's column.
_LONGEST_TEXT = 60_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of scoring a configuration on a rung.

    Attributes:
        similarities: of the pairs that were not scored before, float32 (layers, pairs); None if the
            configuration failed.
        begin: number of pairs, in the order of the race, that were scored before.
        failure: the reason if it failed.
        scores: the metric x 100 by rung, at the best layer of each rung, up to this rung.
        layer: the best layer on this rung.
        sentences: number of sentences that were encoded.
        seconds: time that encoding took.
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
        """The metric x 100 on all pairs of the rung; nan if the configuration failed."""
        return self.scores[max(self.scores)] if self.scores else math.nan


def to_trial(
    configuration: Configuration, pairs: int, outcome: Outcome, *, is_last: bool
) -> FrozenTrial:
    """Return the finished trial of an outcome.

    Args:
        configuration: the configuration.
        pairs: size of the rung.
        outcome: its outcome on the rung.
        is_last: whether the rung has all pairs.
    """
    # Optuna stores local time without a time zone.
    ended = datetime.now()  # noqa: DTZ005
    attributes: dict[str, Any] = {
        "candidate": configuration.text,
        "demonstration_ids": list(configuration.key.demonstrations),
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
        system = dict(_as_texts(outcome.begin, outcome.similarities))
    attributes["sentences_encoded"] = outcome.sentences
    return FrozenTrial(
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


def key_of(trial: FrozenTrial) -> ConfigurationKey:
    """Return the key of a trial's configuration.

    Trials of version 0.1 have no `demonstration_ids`; their key is read from its text.
    """
    attributes = trial.user_attrs
    if "demonstration_ids" in attributes:
        return ConfigurationKey(tuple(attributes["demonstration_ids"]), attributes["template"])
    return ConfigurationKey.parse(attributes["candidate"], attributes["template"])


def outcome_of(trial: FrozenTrial) -> Outcome:
    """Return the outcome that a trial holds."""
    attributes, system = trial.user_attrs, trial.system_attrs
    cost = (int(attributes["sentences_encoded"]), seconds_of(trial))
    if trial.state is TrialState.FAIL:
        return Outcome(None, 0, attributes["failure"], {}, 0, *cost)
    text = "".join(system[f"{_SIMILARITIES}:{part}"] for part in range(len(system)))
    head, _, data = text.partition(":")
    begin, layers = map(int, head.split(","))
    similarities = np.frombuffer(base64.b64decode(data), dtype="<f4").reshape(layers, -1)
    scores = dict(trial.intermediate_values)
    return Outcome(similarities, begin, "", scores, attributes["layer"], *cost)


def seconds_of(trial: FrozenTrial) -> float:
    """Return the duration of a trial in seconds."""
    return round(trial.duration.total_seconds(), 3) if trial.duration else 0.0


def _as_texts(begin: int, similarities: NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    """Yield attributes that hold an array, each short enough for every database.

    The first one begins with `begin` and the number of layers.
    """
    data = base64.b64encode(similarities.astype("<f4").tobytes()).decode()
    text = f"{begin},{len(similarities)}:{data}"
    for part, start in enumerate(range(0, len(text), _LONGEST_TEXT)):
        yield f"{_SIMILARITIES}:{part}", text[start : start + _LONGEST_TEXT]
