"""The search: candidates and dev pairs in, the best demonstration and how sure it is out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import (
    Demonstration,
    DemonstrationsFile,
    DevRecord,
    EstimateRecord,
    Ranked,
    SearchRecord,
)
from demosearch.errors import UserError
from demosearch.files import atomic_write, sha256
from demosearch.progress import Bar, bar
from demosearch.prompt import Prompt, prepare
from demosearch.selection.objective import ModelEncoder, Objective
from demosearch.selection.race import Race, planned_pairs
from demosearch.selection.rungs import rung_sizes, stratified_order
from demosearch.selection.similarities import SimilarityStore
from demosearch.selection.statistics import gain_interval, split_estimate
from demosearch.selection.study import BASELINE, CandidateStudy, Strategy
from demosearch.versions import versions

logger = logging.getLogger(__name__)

RANKING_LENGTH = 20
STUDY_NAME = "demosearch"


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
    encoder: ModelEncoder,
    candidates: Sequence[Demonstration],
    dev: Pairs,
    *,
    folder: str | Path,
    prompt: Prompt | None = None,
    strategy: Strategy | str = Strategy.RACE,
    seed: int = 0,
    exclude: Sequence[str] = (),
    storage: str | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
) -> SearchResult:
    """Find the demonstration under which the encoder agrees best with the dev pairs.

    A search that was killed goes on where it was when it is called again with the same arguments;
    nothing is scored twice.

    Args:
        encoder: the model under test.
        candidates: demonstrations to choose among; each is scored as it is.
        dev: the pairs that choose.
        folder: keeps the study, the similarities and `trials.csv`.
        prompt: template and layer; its demonstrations are ignored. None is PromptEOL, last layer.
        strategy: `race` (successive halving) or `exhaustive`.
        seed: decides which pairs are looked at first, and the resampling.
        exclude: sentences that must not be demonstrations besides those of `dev`, i.e. the test's.
        storage: Optuna storage URL; None is a SQLite file in `folder`.
        study_name: the study's name in the storage.
        show_progress: draw a bar with the best score so far on standard error.

    Raises:
        UserError: no candidate is left, or the folder holds a search with other settings.
    """
    prompt = (prompt or Prompt()).with_demonstrations()
    strategy = Strategy(strategy)
    folder = Path(folder)
    kept = _usable(candidates, dev, exclude)
    rungs = rung_sizes(len(dev)) if strategy is Strategy.RACE else [len(dev)]
    layer = encoder.resolve_layer(prompt.layer)
    measured = {
        "model": encoder.record.model_dump(),
        "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
        "prompt": prompt.record(layer).model_dump(),
        "dev": dev.sha256,
    }
    settings = {
        **measured,
        "candidates": _hash(kept),
        "strategy": strategy.value,
        "rungs": rungs,
        "seed": seed,
    }
    folder.mkdir(parents=True, exist_ok=True)
    study = CandidateStudy(storage or f"sqlite:///{folder / 'study.db'}", study_name, settings)
    # Whatever was found for the machine that began is used by all that go on.
    encoder.token_budget = study.token_budget(encoder.token_budget)
    # Studies may share a folder; a similarity is only another study's if all it depends on is equal.
    key = sha256([json.dumps(measured, sort_keys=True)])[:12]
    store = SimilarityStore(folder / "similarities" / key, len(dev))
    order = stratified_order(dev.scores, seed)
    with bar("searching", planned_pairs(len(kept), rungs), show=show_progress) as progress:
        leader = _Leader(kept, progress)
        Race(Objective(encoder, dev), study, store, order, rungs, leader.report).run(prompt, kept)
    with atomic_write(folder / "trials.csv") as table:
        study.table().to_csv(table, index=False)
    final = study.final_scores()
    ranking = sorted(
        (Ranked(**one.model_dump(), spearman=final[one.id]) for one in kept if one.id in final),
        key=lambda one: -one.spearman,
    )
    if not ranking:
        raise UserError("no candidate could be scored; see the column 'failure' of trials.csv")
    best = next(one for one in kept if one.id == ranking[0].id)
    chosen = prompt.with_demonstrations(best)
    file = DemonstrationsFile(
        model=encoder.record,
        prompts=[chosen.record(layer)],
        adapter=encoder.adapter,
        postprocess=None,
        demonstrations=[best],
        dev=_dev_record(dev, store, final, best.id, seed),
        estimate=_estimate(dev, store, [one.id for one in ranking], seed),
        ranking=ranking[:RANKING_LENGTH],
        search=SearchRecord(
            strategy=strategy.value,
            seed=seed,
            candidates=len(kept),
            candidates_sha256=_hash(kept),
            sentences_encoded=int(study.total("sentences_encoded")),
            sentences_exhaustive=(len(kept) + 1) * len(dev.sentences()),
            seconds=round(study.total("seconds"), 1),
        ),
        versions=versions(),
    )
    return SearchResult(file, chosen, len(candidates) - len(kept))


def _dev_record(
    dev: Pairs, store: SimilarityStore, scores: dict[str, float], best: str, seed: int
) -> DevRecord:
    return DevRecord(
        name=dev.name,
        pairs=len(dev),
        sha256=dev.sha256,
        spearman=scores[best],
        baseline_spearman=scores[BASELINE],
        gain_ci95=gain_interval(store.load(best), store.load(BASELINE), dev.scores, seed),
    )


def _estimate(
    dev: Pairs, store: SimilarityStore, finalists: Sequence[str], seed: int
) -> EstimateRecord:
    similarities = np.stack([store.load(name) for name in finalists])
    gain, interval = split_estimate(similarities, store.load(BASELINE), dev.scores, seed)
    return EstimateRecord(
        method="choice on a random half of the pairs, gain on the other half, repeated",
        gain=gain,
        ci95=interval,
        candidates=len(finalists),
    )


class _Leader:
    """Keeps the best score of the widest rung so far, for the progress bar."""

    def __init__(self, candidates: Sequence[Demonstration], progress: Bar) -> None:
        self._words = {one.id: one.word for one in candidates}
        self._progress = progress
        self._best = (0, -np.inf)
        self._baseline: dict[int, float] = {}

    def report(self, pairs: int, size: int, candidate: str, score: float | None) -> None:
        self._progress.advance(pairs)
        if score is None:
            return
        if candidate == BASELINE:
            self._baseline[size] = score
        elif (size, score) > self._best:
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
