"""The search: candidates and dev pairs in, the best demonstration and how sure it is out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from demosearch._common.files import atomic_write
from demosearch._common.progress import Bar, bar
from demosearch._common.versions import versions
from demosearch.candidates.nearby import MODELS
from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import (
    Demonstration,
    DemonstrationsFile,
    SearchRecord,
)
from demosearch.errors import DeviceLostError, OutOfMemoryError, UserError
from demosearch.prompt import Prompt, Template
from demosearch.selection.choice import Choice
from demosearch.selection.defaults import AUTO, STUDY_NAME
from demosearch.selection.entries import BASELINE, Entries, Entry
from demosearch.selection.field import Field
from demosearch.selection.limits import Budget, Limits
from demosearch.selection.measure import SPEARMAN, Measure, Metric, find_metric
from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.race import Race, planned_finalists, planned_pairs
from demosearch.selection.rungs import rung_sizes
from demosearch.selection.study import CandidateStudy, Strategy

logger = logging.getLogger(__name__)

# What of a candidate the workers share.
_PAIR = {"sentence", "word", "source"}
# Makes the candidates of a round, given its number, the leading ones so far, and all there are.
Further = Callable[[int, list[Demonstration], list[Demonstration]], Sequence[Demonstration]]


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
    rounds: int = 1,
    further: Further | None = None,
    layers: Sequence[int] | Literal["auto"] | None = None,
    shots: int = 1,
    ensemble: int = 1,
    center: Center | None = None,
    metric: Metric | str = SPEARMAN,
    max_extra_tokens: int | None = None,
    pareto: bool = False,
    save_similarities: bool = False,
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
        dev: the pairs that choose; over several sets (`Pairs.joined`) the mean of their scores does.
        folder: keeps `trials.csv` and `history.csv`, and the study unless `storage` is given.
        prompt: template and layer; its demonstrations are ignored. None is PromptEOL, last layer.
        templates: further templates to choose among; every candidate is tried under each.
        warm_start: demonstrations, such as other models' best, that are scored first, and on all
            pairs whatever their standing; they are candidates like all others.
        rounds: how often candidates race: after the first time, those that `further` makes.
        further: makes the candidates of a round, given its number, from 2, the ten leading ones so far,
            and all there are. Of several workers one asks it, and the study keeps the answer. A
            UserError from it ends the rounds, not the search.
        layers: choose the layer too, among these indices into `hidden_states`; `auto` is all of them.
            All are scored from one pass. None is the prompt's layer alone.
        shots: look for up to so many demonstrations: the best prompts are extended by one more, in
            front and behind, as long as that gains more than its interval leaves in doubt.
        ensemble: take the mean of the normalised embeddings under up to so many prompts, each added
            as long as it gains more than its interval leaves in doubt. A sentence costs a pass each.
        center: unlabeled texts whose mean embedding is subtracted from every embedding, if that gains
            more than its interval leaves in doubt.
        metric: what is made as large as possible: `spearman`, `pearson`, one that a package adds under
            the entry point group `demosearch.metrics`, or a `Metric`.
        max_extra_tokens: leave out prompts that have more tokens than this beyond the plain one's.
        pareto: find the best prompt of every length too: short ones stay in the race, and tokens are
            a second objective of the study.
        save_similarities: write the similarities of all that was scored on all pairs into
            `similarities.npz` (float16), and attach the file to the study as an Optuna artifact.
        strategy: `race` or `exhaustive`.
        budget: how much the search may take, e.g. `10m`, `5000-sentences` or `0.1` (of an exhaustive
            search); when it is spent, the best so far is scored on all pairs, and that is the result.
        patience: end when so many candidates in a row were scored on all pairs without a new best.
        seed: decides which pairs are looked at first, and the resampling.
        exclude: sentences that must not be demonstrations besides those of `dev`, i.e. the test's.
        storage: Optuna storage URL or journal file (`*.log`); None is a SQLite file in `folder`.
        study_name: the study's name in the storage.
        show_progress: draw a bar with the best score so far on standard error.

    Raises:
        UserError: no candidate is left or short enough, the metric is unknown, the folder holds a
            search with other settings, the budget is too small, or more than a tenth of the
            candidates cannot be scored.
    """
    prompt = (prompt or Prompt()).with_demonstrations()
    strategy = Strategy(strategy)
    measure = Measure(dev, find_metric(metric) if isinstance(metric, str) else metric, seed)
    if shots < 1:
        raise UserError(f"shots {shots}: at least 1 demonstration")
    if ensemble < 1:
        raise UserError(f"ensemble {ensemble}: at least 1 prompt")
    if rounds < 1 or (rounds > 1 and further is None):
        raise UserError(f"rounds {rounds}: at least 1; more need what makes further candidates")
    if max_extra_tokens is not None and max_extra_tokens < 0:
        raise UserError(f"max_extra_tokens {max_extra_tokens}: at least 0")
    folder = Path(folder)
    makes = Entries(prompt, encoder.prompt_tokens, max_extra_tokens)
    field = Field(makes, templates, dev, exclude)
    entries = field.enter([*warm_start, *candidates])
    field.check()
    warm = {one.id for one in warm_start} & {entry.name for entry in entries}
    sets = len(dev.set_sizes)
    rungs = rung_sizes(len(dev), sets) if strategy is Strategy.RACE else [len(dev)]
    choices = _layers(encoder, prompt, layers)
    if isinstance(budget, str):
        budget = Budget.parse(budget)
    if patience and patience >= (whole := planned_finalists(len(entries), rungs, pareto=pareto)):
        logger.warning(
            "patience %d ends nothing here: only %d candidates are scored on all pairs",
            patience,
            whole,
        )
    limits = Limits(budget, patience, (len(entries) + 1) * len(dev.sentences()))
    limits.check((1 + max(1, len(warm))) * len(dev.sentences()))
    wordings = [Prompt(each).record(0).model_dump() for each in (prompt.template, *templates)]
    settings = {
        "model": encoder.record.identity(),
        "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
        "templates": wordings,
        "layers": choices,
        "dev": dev.sha256,
        "candidates": field.sha256,
        "strategy": strategy.value,
        "rungs": rungs,
        "seed": seed,
    }
    # Only where they are used, so that studies which began without them go on.
    rarely = {
        "metric": None if measure.metric == SPEARMAN else measure.metric.name,
        "max_extra_tokens": max_extra_tokens,
        "pareto": pareto or None,
    }
    settings |= {key: value for key, value in rarely.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    opened = CandidateStudy(
        storage or f"sqlite:///{folder / 'study.db'}",
        study_name,
        settings,
        metric=measure.metric.name,
        pareto=pareto,
    )
    with closing(opened) as study, _tables(folder, study):
        # Whatever was found for the machine that began is used by all that go on.
        encoder.token_budget = study.token_budget(encoder.token_budget)
        planned = planned_pairs(len(entries), rungs, pareto=pareto)
        with bar("searching", planned, show=show_progress) as progress:
            objective = Objective(encoder, measure)
            race = Race(
                objective,
                study,
                makes.baseline,
                rungs,
                choices,
                encoder.resolve_layer(None),
                limits,
                pareto,
                _Leader(progress).report,
            )
            race.run(entries, warm)
            if further:
                for number in range(2, rounds + 1):
                    if not _another_round(number, field, race, study, further, rungs, progress):
                        break
            choice = Choice(race, field.entries, choices, objective, progress)
            raced = len(field.entries) + 1 + choice.lengthen(makes, shots, rungs)
            if ensemble > 1:
                choice.combine(ensemble, folder)
            mean = choice.center(center.texts, folder) if center else None
        if save_similarities:
            study.attach(choice.everyone().save(folder / "similarities.npz", makes.baseline))
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
        pareto=choice.everyone().pareto(makes.baseline) if pareto else None,
        search=SearchRecord(
            strategy=strategy.value,
            metric=measure.metric.name,
            seed=seed,
            candidates=len(field.candidates),
            candidates_sha256=field.sha256,
            sentences_encoded=int(study.total("sentences_encoded")) + choice.sentences,
            sentences_exhaustive=raced * len(dev.sentences()) + choice.sentences,
            seconds=round(study.total("seconds") + choice.seconds, 1),
        ),
        versions=versions(),
    )
    if center and mean is not None:
        file = file.with_mean(mean, center.name, len(center.texts))
    return SearchResult(file, choice.prompts, field.skipped)


@contextmanager
def _tables(folder: Path, study: CandidateStudy) -> Iterator[None]:
    """Write the study's tables in the end, also where an error sends its reader to them."""

    def write() -> None:
        for name, table in (("trials.csv", study.table()), ("history.csv", study.history())):
            with atomic_write(folder / name) as written:
                table.to_csv(written, index=False)

    try:
        yield
    except UserError:
        write()
        raise
    write()


def _another_round(
    number: int,
    field: Field,
    race: Race,
    study: CandidateStudy,
    further: Further,
    rungs: Sequence[int],
    progress: Bar,
) -> bool:
    """Let candidates race that are made after the leading ones; whether there were any."""
    leading = race.leaders([each for each in field.entries if each.prompt.demonstrations], MODELS)
    models = dict.fromkeys(entry.prompt.demonstrations[0] for entry in leading)
    if not race.allows_pairs(f"a candidate of round {number}", rungs[-1]):
        # What a search that was cut short would make is not to be kept.
        return False
    try:
        rows = study.once(
            f"round:{number}",
            lambda: [
                one.model_dump(include=_PAIR)
                for one in further(number, list(models), field.candidates)
            ],
        )
        # The prompt without demonstration is known already.
        planned = planned_pairs(len(rows) * field.wordings, rungs, pareto=race.pareto) - rungs[-1]
        if not rows or not race.allows_pairs(f"round {number}", planned):
            return False
        more = field.enter([Demonstration.model_validate(row) for row in rows])
        progress.add_to_total(planned_pairs(len(more), rungs, pareto=race.pareto) - rungs[-1])
        race.run(more)
    except (DeviceLostError, OutOfMemoryError):
        raise
    except UserError as error:
        # What was found before is worth more than nothing.
        logger.warning("there is no round %d: %s", number, error)
        return False
    return bool(more)


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
