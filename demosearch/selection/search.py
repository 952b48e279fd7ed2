"""The search for the best demonstrations among candidates, on development pairs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.containers import as_texts
from demosearch._common.files import atomic_write
from demosearch._common.progress import Bar, bar
from demosearch._common.versions import versions
from demosearch.datasets.pairs import Pairs, require_pairs
from demosearch.demonstration import Demonstration, as_demonstrations
from demosearch.demonstrations_file import DemonstrationsFile, SearchRecord
from demosearch.errors import UserError
from demosearch.metrics.metric import SPEARMAN
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt
from demosearch.selection.configurations import ConfigurationFactory, ConfigurationKey
from demosearch.selection.inputs import SearchInputs, dev_texts
from demosearch.selection.leader import Leader
from demosearch.selection.notes import study_precision
from demosearch.selection.objective import Objective
from demosearch.selection.pair_encoder import PairEncoder, SentenceEncoder
from demosearch.selection.pool import CandidatePool
from demosearch.selection.race import Race
from demosearch.selection.refinement import Refinement
from demosearch.selection.rungs import planned_finalists, planned_pairs, rung_sizes
from demosearch.selection.settings import (
    AUTO,
    LAST,
    STUDY_FILE,
    STUDY_NAME,
    SearchSettings,
    Strategy,
    postprocess_kinds,
)
from demosearch.selection.steps import System
from demosearch.selection.stopping import Budget, StoppingRule
from demosearch.selection.study import CandidateStudy

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["SearchInputs", "SearchResult", "SearchSettings", "search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search.

    Attributes:
        file: the contents of `demonstrations.json`.
        systems: the baseline, and the system after each step that was taken; the last one is the
            result.
        skipped: number of candidates that were left out because their sentence is in a dev or test
            set, or because they were repeated.
    """

    file: DemonstrationsFile
    systems: tuple[System, ...]
    skipped: int

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The best prompt, ready to encode with; the embeddings of several are averaged."""
        return self.systems[-1].prompts

    @property
    def prompt(self) -> Prompt:
        """The best prompt, the first of `prompts`."""
        return self.prompts[0]


def search(
    model_or_encoder: str | SentenceEncoder,
    candidates: Sequence[Demonstration],
    dev: Pairs,
    settings: SearchSettings | None = None,
    *,
    folder: str | Path,
    inputs: SearchInputs | None = None,
    exclude: Sequence[str] = (),
    storage: str | BaseStorage | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
    **keywords: Any,
) -> SearchResult:
    """Find the demonstrations with which the encoder agrees best with the development pairs.

    Call the function again with the same arguments to resume a search; nothing is scored twice. Processes
    on any number of hosts that call it with the same arguments and the same storage share the work and
    return the same result.

    Args:
        model_or_encoder: the model under test: an encoder, or a known name, hub id, folder or GGUF file.
        candidates: demonstrations to choose among.
        dev: the development pairs; over several sets (`Pairs.joined`) the objective is the mean of the
            sets' scores.
        settings: the options; None means the defaults.
        folder: folder for `trials.csv` and `history.csv`, and for the study unless `storage` is given.
        inputs: templates, metric, warm start and texts as values; None reads them from `settings`.
        exclude: sentences that must not become demonstrations, in addition to those of `dev`: those of
            the test set.
        storage: an Optuna storage, its URL, or a journal file (`*.log`); None means a SQLite file in
            `folder`.
        study_name: the study's name in the storage.
        show_progress: show a progress bar with the best score so far on standard error.
        **keywords: fields of `SearchSettings`, e.g. `shots=2`; they override `settings`.

    Raises:
        UserError: a setting is wrong, an argument has another type, no candidate is left or short enough,
            the folder holds a search with different settings, the budget is too small, or more than a
            tenth of the candidates cannot be scored.
    """
    settings = SearchSettings.of(settings, **keywords)
    require_pairs(dev, "dev")
    candidates = as_demonstrations(candidates, "candidates")
    exclude = as_texts(exclude, "excluded sentences", ordered=False)
    inputs = SearchInputs.read(settings, dev) if inputs is None else inputs
    inputs.check(settings)
    folder = Path(folder)
    encoder = _open(model_or_encoder, storage, study_name, folder)
    search = _Search(encoder, dev, settings, inputs, candidates, exclude)
    search.check()
    folder.mkdir(parents=True, exist_ok=True)
    opened = CandidateStudy(
        storage or f"sqlite:///{folder / STUDY_FILE}",
        study_name,
        search.study_settings(),
        metric=inputs.metric.name,
    )
    with closing(opened) as study, _tables(folder, study):
        # All workers, and a resumed search, use the token budget of the first worker.
        encoder.token_budget = study.token_budget(encoder.token_budget)
        with bar("searching", search.planned_pairs(), show=show_progress) as progress:
            file, systems = search.run(study, folder, progress)
    return SearchResult(file, systems, search.pool.skipped)


class _Search:
    """The parts of a search, made before anything is scored."""

    def __init__(
        self,
        encoder: SentenceEncoder,
        dev: Pairs,
        settings: SearchSettings,
        inputs: SearchInputs,
        candidates: Sequence[Demonstration],
        exclude: Sequence[str],
    ) -> None:
        self._encoder = encoder
        self._dev = dev
        self._settings = settings
        self._inputs = inputs
        self._objective = Objective(dev, inputs.metric, settings.seed)
        own, *others = inputs.templates
        self._factory = ConfigurationFactory(
            Prompt(own), encoder.prompt_tokens, settings.max_extra_tokens
        )
        self.pool = CandidatePool(self._factory, others, dev, exclude)
        self._configurations = self.pool.add([*inputs.warm_start, *candidates])
        keys = {configuration.key for configuration in self._configurations}
        self._warm = {
            ConfigurationKey((candidate.id,), own.name) for candidate in inputs.warm_start
        } & keys
        # A prompt without demonstrations competes under every template.
        self._kept = self._warm | {key for key in keys if not key.demonstrations}
        self._rungs = (
            rung_sizes(len(dev), len(dev.set_sizes), len(self._configurations))
            if settings.strategy is Strategy.RACE
            else [len(dev)]
        )
        self._layers = _layers(encoder, settings.layer)
        budget = None if settings.budget is None else Budget.parse(settings.budget)
        exhaustive = (len(self._configurations) + 1) * len(dev.sentences())
        self._stopping = StoppingRule(budget, settings.patience, exhaustive)

    def check(self) -> None:
        """Check that there are candidates, and that the budget suffices for a result.

        Raises:
            UserError: there are no candidates, or the budget is too small.
        """
        self.pool.check()
        patience = self._settings.patience
        finalists = planned_finalists(len(self._configurations), self._rungs)
        if patience and patience >= finalists:
            logger.warning(
                "patience %d has no effect: only %d candidates are scored on all pairs",
                patience,
                finalists,
            )
        self._stopping.check((1 + max(1, len(self._kept))) * len(self._dev.sentences()))

    def planned_pairs(self) -> int:
        """Return how many pairs will be scored in total."""
        planned = planned_pairs(len(self._configurations), self._rungs)
        # Those that are kept are most likely not among the finalists.
        return planned + len(self._kept) * (len(self._dev) - self._rungs[0])

    def study_settings(self) -> dict[str, Any]:
        """Return the settings that must be equal for two processes to share scores."""
        encoder, metric = self._encoder, self._inputs.metric
        settings = {
            "model": encoder.record.identity(),
            "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
            "templates": [
                Prompt(template).record(0).model_dump() for template in self._inputs.templates
            ],
            "layers": self._layers,
            "dev": self._dev.sha256,
            "candidates": self.pool.sha256,
            "strategy": self._settings.strategy.value,
            "rungs": self._rungs,
            "seed": self._settings.seed,
        }
        # Only those that are set, so that studies of earlier versions can be resumed.
        optional = {
            "metric": None if metric == SPEARMAN else metric.name,
            "max_extra_tokens": self._settings.max_extra_tokens,
        }
        return settings | {key: value for key, value in optional.items() if value is not None}

    def run(
        self, study: CandidateStudy, folder: Path, progress: Bar
    ) -> tuple[DemonstrationsFile, tuple[System, ...]]:
        """Run the race and the refinement; return the file's contents and the steps' systems."""
        pair_encoder = PairEncoder(self._encoder, self._objective)
        race = Race(
            pair_encoder,
            study,
            self._factory.baseline,
            self._rungs,
            self._layers,
            self._encoder.resolve_layer(None),
            self._stopping,
            Leader(progress, self._factory.baseline.key).report,
        )
        race.run(self._configurations, self._kept)
        refinement = Refinement(
            race,
            [self._factory.baseline, *self.pool.configurations],
            self._layers,
            pair_encoder,
            progress,
        )
        raced = (
            len(self.pool.configurations)
            + 1
            + refinement.add_demonstrations(self._factory, self._settings.shots, self._rungs)
        )
        size = self._settings.ensemble
        kinds = postprocess_kinds(self._settings.postprocess)
        unlabeled = self._inputs.unlabeled or dev_texts(self._dev)
        is_mapped = kinds and refinement.add_postprocess(kinds, unlabeled, size, folder)
        if size > 1 and not is_mapped:
            refinement.add_prompts(size, folder)
        if self._settings.save_similarities:
            scored = refinement.all_scored()
            study.attach(scored.save(folder / "similarities.npz", self._factory.baseline))
        taken = refinement.steps.taken
        file = self._file(study, refinement, raced).with_postprocess(taken[-1].system.postprocess)
        return file, tuple(step.system for step in taken)

    def _file(
        self, study: CandidateStudy, refinement: Refinement, raced: int
    ) -> DemonstrationsFile:
        settings, encoder = self._settings, self._encoder
        return DemonstrationsFile(
            model=encoder.record,
            prompts=[
                prompt.record(encoder.resolve_layer(prompt.layer)) for prompt in refinement.prompts
            ],
            adapter=encoder.adapter,
            postprocess=None,
            demonstrations=list(
                dict.fromkeys(
                    demonstration
                    for prompt in refinement.prompts
                    for demonstration in prompt.demonstrations
                )
            ),
            dev=refinement.dev_record(),
            estimate=refinement.estimate(),
            layer_curve=refinement.finalists.layer_curve() if len(self._layers) > 1 else None,
            steps=refinement.steps.records,
            carried_over=refinement.singles.ranking(self._warm) if self._warm else None,
            ranking=refinement.finalists.ranking(),
            search=SearchRecord(
                strategy=settings.strategy.value,
                metric=self._inputs.metric.name,
                seed=settings.seed,
                candidates=len(self.pool.candidates),
                candidates_sha256=self.pool.sha256,
                sentences_encoded=int(study.total("sentences_encoded")) + refinement.sentences,
                sentences_exhaustive=raced * len(self._dev.sentences()) + refinement.sentences,
                seconds=round(study.total("seconds") + refinement.seconds, 1),
            ),
            versions=versions(),
        )


def _open(
    model_or_encoder: str | SentenceEncoder,
    storage: str | BaseStorage | None,
    study_name: str,
    folder: Path,
) -> SentenceEncoder:
    if not isinstance(model_or_encoder, str):
        return model_or_encoder
    # Imported here, so that a search with another encoder requires neither torch nor transformers.
    from demosearch.encoder.replicas import open_encoder

    precision = study_precision(model_or_encoder, LoadOptions(), storage, study_name, folder)
    return open_encoder(model_or_encoder, precision=precision)


@contextmanager
def _tables(folder: Path, study: CandidateStudy) -> Iterator[None]:
    """Write the study's tables at the end, also after a user's error, whose message may name them."""

    def write() -> None:
        for name, table in (("trials.csv", study.table()), ("history.csv", study.history())):
            with atomic_write(folder / name) as file:
                table.to_csv(file, index=False)

    try:
        yield
    except UserError:
        write()
        raise
    write()


def _layers(encoder: SentenceEncoder, layer: int | str) -> list[int]:
    """Return the indices of the layers to choose among, in ascending order."""
    if layer == AUTO:
        # Without index 0, the input of the first layer, which is the same for every sentence.
        return list(range(1, encoder.layers + 1))
    return [encoder.resolve_layer(None if layer == LAST else int(layer))]
