"""The search: candidates and dev pairs in, the best demonstration and how sure it is out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import (
    Demonstration,
    DemonstrationsFile,
    SearchRecord,
)
from demosearch.errors import UserError
from demosearch.files import atomic_write, sha256
from demosearch.progress import Bar, bar
from demosearch.prompt import Prompt, Template, prepare
from demosearch.selection.choice import Choice
from demosearch.selection.entries import BASELINE, Entries, Entry
from demosearch.selection.limits import Budget, Limits
from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.race import Race, planned_pairs
from demosearch.selection.rungs import rung_sizes, spread_order
from demosearch.selection.study import CandidateStudy, Strategy
from demosearch.versions import versions

logger = logging.getLogger(__name__)

STUDY_NAME = "demosearch"
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, slots=True)
class Center:
    """Unlabeled texts to centre embeddings on.

    Attributes:
        name: what files call them.
        texts: at least one.

    Raises:
        UserError: there is none.
    """

    name: str
    texts: Sequence[str]

    def __post_init__(self) -> None:
        if not self.texts:
            raise UserError(f"{self.name} holds no texts to centre embeddings on")


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        file: the contents of `demonstrations.json`.
        prompts: the best prompt, ready to encode with; several are averaged.
        skipped: candidates left out because their sentence is one of the sets in use.
    """

    file: DemonstrationsFile
    prompts: tuple[Prompt, ...]
    skipped: int

    @property
    def prompt(self) -> Prompt:
        """The best prompt by itself."""
        return self.prompts[0]


def search(
    encoder: SentenceEncoder,
    candidates: Sequence[Demonstration],
    dev: Pairs,
    *,
    folder: str | Path,
    prompt: Prompt | None = None,
    templates: Sequence[Template] = (),
    warm_start: Sequence[Demonstration] = (),
    layers: Sequence[int] | Literal["auto"] | None = None,
    shots: int = 1,
    ensemble: int = 1,
    center: Center | None = None,
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
        templates: further templates to choose among; every candidate is tried under each.
        warm_start: demonstrations, such as other models' best, that are scored first, and on all
            pairs whatever their standing; they are candidates like all others.
        layers: choose the layer too, among these indices into `hidden_states`; `auto` is all of them.
            All are scored from one pass. None is the prompt's layer alone.
        shots: look for up to so many demonstrations: the best prompts are extended by one more, in
            front and behind, as long as that gains more than its interval leaves in doubt.
        ensemble: take the mean of the normalised embeddings under up to so many prompts, each added
            as long as it gains more than its interval leaves in doubt. A sentence costs a pass each.
        center: unlabeled texts whose mean embedding is subtracted from every embedding, if that gains
            more than its interval leaves in doubt.
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
    if shots < 1:
        raise UserError(f"shots {shots}: at least 1 demonstration")
    if ensemble < 1:
        raise UserError(f"ensemble {ensemble}: at least 1 prompt")
    folder = Path(folder)
    kept = _usable([*warm_start, *candidates], dev, exclude)
    warm = {one.id for one in warm_start} & {one.id for one in kept}
    rungs = rung_sizes(len(dev)) if strategy is Strategy.RACE else [len(dev)]
    choices = _layers(encoder, prompt, layers)
    makes = Entries(prompt)
    entries = makes.single(kept, templates)
    exhaustive = (len(entries) + 1) * len(dev.sentences())
    if isinstance(budget, str):
        budget = Budget.parse(budget)
    limits = Limits(budget, patience, exhaustive)
    limits.check(2 * len(dev.sentences()))
    wordings = [Prompt(each).record(0).model_dump() for each in (prompt.template, *templates)]
    settings = {
        "model": encoder.record.model_dump(),
        "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
        "templates": wordings,
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
    with bar("searching", planned_pairs(len(entries), rungs), show=show_progress) as progress:
        objective = Objective(encoder, dev)
        race = Race(
            objective,
            study,
            makes.baseline,
            lambda baseline: spread_order(dev.scores, baseline, seed),
            rungs,
            choices,
            encoder.resolve_layer(None),
            limits,
            _Leader(progress).report,
        )
        race.run(entries, warm)
        choice = Choice(race, entries, choices, objective, seed, progress)
        exhaustive += choice.lengthen(makes, shots, rungs) * len(dev.sentences())
        if ensemble > 1:
            choice.combine(ensemble, folder)
        mean = choice.center(center.texts, folder) if center else None
    with atomic_write(folder / "trials.csv") as table:
        study.table().to_csv(table, index=False)
    file = DemonstrationsFile(
        model=encoder.record,
        prompts=[prompt.record(encoder.resolve_layer(prompt.layer)) for prompt in choice.prompts],
        adapter=encoder.adapter,
        postprocess=None,
        demonstrations=list(
            dict.fromkeys(one for prompt in choice.prompts for one in prompt.demonstrations)
        ),
        dev=choice.dev_record(),
        estimate=choice.estimate(),
        layer_curve=choice.finalists.layer_curve() if len(choices) > 1 else None,
        steps=choice.steps if shots > 1 or ensemble > 1 or center else None,
        carried_over=choice.singles.ranking(warm) if warm else None,
        ranking=choice.finalists.ranking(),
        search=SearchRecord(
            strategy=strategy.value,
            seed=seed,
            candidates=len(kept),
            candidates_sha256=_hash(kept),
            sentences_encoded=int(study.total("sentences_encoded")) + choice.sentences,
            sentences_exhaustive=exhaustive + choice.sentences,
            seconds=round(study.total("seconds") + choice.seconds, 1),
        ),
        versions=versions(),
    )
    if center and mean is not None:
        file = file.with_mean(mean, center.name, len(center.texts))
    return SearchResult(file, choice.prompts, len(candidates) + len(warm_start) - len(kept))


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


class _Leader:
    """Keeps the best score of the widest rung so far, for the progress bar."""

    def __init__(self, progress: Bar) -> None:
        self._progress = progress
        self._best = (0, -np.inf)
        self._baseline: dict[int, float] = {}

    def report(self, entry: Entry, pairs: int, scores: dict[int, float]) -> None:
        self._progress.advance(pairs)
        if entry.name == BASELINE:
            self._baseline = scores
            return
        size, score = max(scores.items(), default=(0, -np.inf))
        if (size, score) > self._best:
            self._best = (size, score)
            gain = score - self._baseline.get(size, np.nan)
            self._progress.note(f"best {score:.1f} ({gain:+.1f}) {entry.describe()['word']}")


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
