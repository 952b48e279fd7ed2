"""The search: candidates and dev pairs in, the best demonstration and how sure it is out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import (
    Demonstration,
    DemonstrationsFile,
    DevRecord,
    EstimateRecord,
    LayerRecord,
    Ranked,
    SearchRecord,
)
from demosearch.errors import UserError
from demosearch.files import atomic_write, sha256
from demosearch.progress import Bar, bar
from demosearch.prompt import Prompt, prepare
from demosearch.selection.limits import Budget, Limits
from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.race import Race, planned_pairs
from demosearch.selection.rungs import rung_sizes, spread_order
from demosearch.selection.statistics import gain_intervals, spearman, split_estimate
from demosearch.selection.study import BASELINE, CandidateStudy, Entry, Strategy
from demosearch.versions import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

RANKING_LENGTH = 20
STUDY_NAME = "demosearch"
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        file: the contents of `demonstrations.json`.
        prompt: the best prompt, ready to encode with.
        skipped: candidates left out because their sentence is one of the sets in use.
    """

    file: DemonstrationsFile
    prompt: Prompt
    skipped: int


def search(
    encoder: SentenceEncoder,
    candidates: Sequence[Demonstration],
    dev: Pairs,
    *,
    folder: str | Path,
    prompt: Prompt | None = None,
    layers: Sequence[int] | Literal["auto"] | None = None,
    strategy: Strategy | str = Strategy.RACE,
    budget: Budget | str | None = None,
    patience: int | None = None,
    seed: int = 0,
    exclude: Sequence[str] = (),
    storage: str | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
) -> SearchResult:
    """Find the demonstration under which the encoder agrees best with the dev pairs.

    A search that was killed goes on where it was when it is called again with the same arguments;
    nothing is scored twice. Any number of processes, on any number of hosts, that call it with the
    same arguments and one storage share the work and return the same result.

    Args:
        encoder: the model under test.
        candidates: demonstrations to choose among; each is scored as it is.
        dev: the pairs that choose.
        folder: keeps `trials.csv`, and the study unless `storage` is given.
        prompt: template and layer; its demonstrations are ignored. None is PromptEOL, last layer.
        layers: choose the layer too, among these indices into `hidden_states`; `auto` is all of them.
            All are scored from one pass. None is the prompt's layer alone.
        strategy: `race` or `exhaustive`.
        budget: how much the search may take, e.g. `10m`, `5000-sentences` or `0.1` (of an exhaustive
            search); when it is spent, the best so far is scored on all pairs, and that is the result.
        patience: end when so many candidates in a row were scored on all pairs without a new best.
        seed: decides which pairs are looked at first, and the resampling.
        exclude: sentences that must not be demonstrations besides those of `dev`, i.e. the test's.
        storage: Optuna storage URL; None is a SQLite file in `folder`.
        study_name: the study's name in the storage.
        show_progress: draw a bar with the best score so far on standard error.

    Raises:
        UserError: no candidate is left, the folder holds a search with other settings, the budget is
            too small, or more than a tenth of the candidates cannot be scored.
    """
    prompt = (prompt or Prompt()).with_demonstrations()
    strategy = Strategy(strategy)
    folder = Path(folder)
    kept = _usable(candidates, dev, exclude)
    rungs = rung_sizes(len(dev)) if strategy is Strategy.RACE else [len(dev)]
    choices = _layers(encoder, prompt, layers)
    last = encoder.resolve_layer(None)
    exhaustive = (len(kept) + 1) * len(dev.sentences())
    if isinstance(budget, str):
        budget = Budget.parse(budget)
    limits = Limits(budget, patience, exhaustive)
    limits.check(2 * len(dev.sentences()))
    settings = {
        "model": encoder.record.model_dump(),
        "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
        "prompt": prompt.record(choices[0]).model_dump(exclude={"layer"}),
        "layers": choices,
        "dev": dev.sha256,
        "candidates": _hash(kept),
        "strategy": strategy.value,
        "rungs": rungs,
        "seed": seed,
    }
    folder.mkdir(parents=True, exist_ok=True)
    study = CandidateStudy(storage or f"sqlite:///{folder / 'study.db'}", study_name, settings)
    # Whatever was found for the machine that began is used by all that go on.
    encoder.token_budget = study.token_budget(encoder.token_budget)
    entries = [Entry(BASELINE, 0, ())]
    entries += [Entry(one.id, number, (one,)) for number, one in enumerate(kept, start=1)]
    with bar("searching", planned_pairs(len(kept), rungs), show=show_progress) as progress:
        leader = _Leader(kept, progress)
        objective = Objective(encoder, dev)
        race = Race(
            objective,
            study,
            lambda baseline: spread_order(dev.scores, baseline, seed),
            rungs,
            choices,
            last,
            limits,
            leader.report,
        )
        race.run(prompt, entries)
    with atomic_write(folder / "trials.csv") as table:
        study.table().to_csv(table, index=False)
    finalists = _Finalists.of(race, kept, choices, dev)
    best, layer = finalists.best
    chosen = replace(prompt, layer=layer).with_demonstrations(best)
    file = DemonstrationsFile(
        model=encoder.record,
        prompts=[chosen.record(layer)],
        adapter=encoder.adapter,
        postprocess=None,
        demonstrations=[best],
        dev=finalists.dev_record(dev, seed),
        estimate=finalists.estimate(dev, seed),
        layer_curve=finalists.layer_curve() if len(choices) > 1 else None,
        ranking=finalists.ranking[:RANKING_LENGTH],
        search=SearchRecord(
            strategy=strategy.value,
            seed=seed,
            candidates=len(kept),
            candidates_sha256=_hash(kept),
            sentences_encoded=int(study.total("sentences_encoded")),
            sentences_exhaustive=exhaustive,
            seconds=round(study.total("seconds"), 1),
        ),
        versions=versions(),
    )
    return SearchResult(file, chosen, len(candidates) - len(kept))


def _layers(
    encoder: SentenceEncoder, prompt: Prompt, layers: Sequence[int] | Literal["auto"] | None
) -> list[int]:
    """Return the layers to choose among, rising."""
    if layers is None:
        return [encoder.resolve_layer(prompt.layer)]
    if layers == AUTO:
        # What the first layer is given of the last token is the same for every sentence.
        return list(range(1, encoder.layers + 1))
    return sorted({encoder.resolve_layer(layer) for layer in layers})


@dataclass(frozen=True, slots=True)
class _Finalists:
    """The candidates that were scored on all pairs, best first.

    Attributes:
        demonstrations: the candidates.
        layers: that were scored.
        scores: Spearman x 100, (candidates, layers).
        similarities: float32 (candidates, layers, pairs).
        baseline: without demonstration, float32 (layers, pairs), the last layer last.
        baseline_scores: Spearman x 100, (layers,), likewise.
    """

    demonstrations: list[Demonstration]
    layers: list[int]
    scores: NDArray[np.float64]
    similarities: NDArray[np.float32]
    baseline: NDArray[np.float32]
    baseline_scores: NDArray[np.float64]

    @classmethod
    def of(
        cls, race: Race, candidates: Sequence[Demonstration], layers: list[int], dev: Pairs
    ) -> _Finalists:
        """Return what a race left.

        Raises:
            UserError: nothing could be scored.
        """
        found = [(one, race.similarities(one.id)) for one in candidates]
        whole = [(one, each) for one, each in found if each is not None]
        baseline = race.similarities(BASELINE)
        if not whole or baseline is None:
            raise UserError("no candidate could be scored; see the column 'failure' of trials.csv")
        scores = np.array([_scores(each, dev) for _, each in whole])
        order = np.argsort(-np.nanmax(scores, axis=1), kind="stable")
        return cls(
            [whole[place][0] for place in order],
            layers,
            scores[order],
            np.stack([whole[place][1] for place in order]),
            baseline,
            _scores(baseline, dev),
        )

    @property
    def best(self) -> tuple[Demonstration, int]:
        """The best candidate and its best layer."""
        return self.demonstrations[0], self.layers[self._best_row]

    @property
    def _best_row(self) -> int:
        return int(np.nanargmax(self.scores[0]))

    @property
    def ranking(self) -> list[Ranked]:
        """The candidates with the score of their best layer, and which it is."""
        return [
            Ranked(
                **one.model_dump(),
                spearman=float(np.nanmax(scores)),
                layer=self.layers[int(np.nanargmax(scores))],
            )
            for one, scores in zip(self.demonstrations, self.scores, strict=True)
        ]

    def dev_record(self, dev: Pairs, seed: int) -> DevRecord:
        """Return the best candidate's score, and how it stands to the baseline and to the others."""
        at_best = np.nanargmax(self.scores[:RANKING_LENGTH], axis=1)
        ours, *others = (each[row] for each, row in zip(self.similarities, at_best, strict=False))
        gain, *ahead = gain_intervals(ours, [self.baseline[-1], *others], dev.scores, seed)
        close = [
            one.id
            for one, (low, _) in zip(self.demonstrations[1:], ahead, strict=False)
            if low <= 0
        ]
        return DevRecord(
            name=dev.name,
            pairs=len(dev),
            sha256=dev.sha256,
            spearman=float(np.nanmax(self.scores[0])),
            baseline_spearman=float(self.baseline_scores[-1]),
            gain_ci95=gain,
            runner_up_ci95=ahead[0] if ahead else None,
            indistinguishable=close,
        )

    def estimate(self, dev: Pairs, seed: int) -> EstimateRecord:
        """Return the gain corrected for the choice among candidates and layers."""
        systems = self.similarities.reshape(-1, len(dev))
        systems = systems[np.isfinite(self.scores.ravel())]
        gain, interval = split_estimate(systems, self.baseline[-1], dev.scores, seed)
        return EstimateRecord(
            method="choice on a random half of the pairs, gain on the other half, repeated",
            gain=gain,
            ci95=interval,
            candidates=len(self.demonstrations),
        )

    def layer_curve(self) -> list[LayerRecord]:
        """Return the score of the best candidate and of the baseline at every layer."""
        rows = zip(self.layers, self.scores[0], self.baseline_scores, strict=False)
        return [
            LayerRecord(
                layer=layer,
                spearman=_or_none(score),
                baseline_spearman=_or_none(baseline),
            )
            for layer, score, baseline in rows
        ]


def _scores(similarities: NDArray[np.float32], dev: Pairs) -> NDArray[np.float64]:
    return np.array([spearman(each, dev.scores) for each in similarities])


def _or_none(score: float) -> float | None:
    return float(score) if np.isfinite(score) else None


class _Leader:
    """Keeps the best score of the widest rung so far, for the progress bar."""

    def __init__(self, candidates: Sequence[Demonstration], progress: Bar) -> None:
        self._words = {one.id: one.word for one in candidates}
        self._progress = progress
        self._best = (0, -np.inf)
        self._baseline: dict[int, float] = {}

    def report(self, candidate: str, pairs: int, scores: dict[int, float]) -> None:
        self._progress.advance(pairs)
        if candidate == BASELINE:
            self._baseline = scores
            return
        size, score = max(scores.items(), default=(0, -np.inf))
        if (size, score) > self._best:
            self._best = (size, score)
            gain = score - self._baseline.get(size, np.nan)
            self._progress.note(f"best {score:.1f} ({gain:+.1f}) {self._words[candidate]}")


def _usable(
    candidates: Sequence[Demonstration], dev: Pairs, exclude: Sequence[str]
) -> list[Demonstration]:
    """Return the distinct candidates whose sentence is none of the dev and test sentences."""
    if not candidates:
        raise UserError("there are no candidates to choose among")
    taken = {prepare(text).casefold() for text in (*dev.sentences(), *exclude)}
    kept = {
        one.id: Demonstration(sentence=one.sentence, word=one.word, source=one.source)
        for one in candidates
        if one.sentence.casefold() not in taken
    }
    if not kept:
        raise UserError("every candidate's sentence is one of the dev or test sentences")
    if len(kept) < len(candidates):
        logger.warning(
            "%d of %d candidates are skipped: repeated, or their sentence is in the dev or test set",
            len(candidates) - len(kept),
            len(candidates),
        )
    return list(kept.values())


def _hash(candidates: Sequence[Demonstration]) -> str:
    return sha256(one.id for one in candidates)
