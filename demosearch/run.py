"""A run: from sentences to exported demonstrations, tested and reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.files import write_json
from demosearch.candidates.file import Candidate, read_candidates, write_candidates
from demosearch.candidates.generate import Generated, generate
from demosearch.datasets import Pairs, Split, read_sets
from demosearch.datasets.sources import check_columns
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.pipeline import Pipeline
from demosearch.run_folder import (
    CANDIDATES_FILE,
    DEMONSTRATIONS_FILE,
    EVALUATION_FILE,
    REPORT_FILE,
    claim,
    locked,
    resolve_precision,
)
from demosearch.selection.inputs import SearchInputs, check_names
from demosearch.selection.settings import STUDY_NAME

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from demosearch.selection.gain import Gain
    from demosearch.selection.pair_encoder import SentenceEncoder
    from demosearch.selection.search import SearchResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        folder: the folder of the run.
        file: the contents of `demonstrations.json`.
        test: the contents of `evaluation.json`; None without test pairs.
        generated: the report of the generator; None if the candidates existed before.
    """

    folder: Path
    file: DemonstrationsFile
    test: dict[str, Any] | None
    generated: Generated | None

    def as_json(self) -> dict[str, Any]:
        """Return the result as `demosearch run --json` prints it."""
        return {
            "folder": str(self.folder),
            "demonstrations": self.file.model_dump(mode="json"),
            "test": self.test["test"] if self.test else None,
        }


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The files that the settings of a run name, each one read once."""

    dev: Pairs
    test: Pairs | None
    candidates: list[Candidate] | None
    search: SearchInputs

    @classmethod
    def read(cls, pipeline: Pipeline) -> _Inputs:
        check_names(pipeline.search_settings)
        data, columns = pipeline.data, pipeline.columns
        check_columns(columns, filter(None, [pipeline.dev, pipeline.test]))
        dev = read_sets(pipeline.dev, Split.DEV, data, columns)
        test = read_sets(pipeline.test, Split.TEST, data, columns) if pipeline.test else None
        path = pipeline.candidates_file
        candidates = read_candidates(path) if path else None
        return cls(
            dev, test, candidates, SearchInputs.read(pipeline.search_settings, dev, pipeline.data)
        )

    @property
    def test_sentences(self) -> list[str]:
        return self.test.sentences() if self.test else []


def run(
    model: str,
    pipeline: Pipeline,
    out: str | Path,
    *,
    storage: str | BaseStorage | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
) -> RunResult:
    """Build candidates, search, export and test for one model; call it again to resume.

    Args:
        model: known name, hub id, folder or GGUF file.
        pipeline: the settings.
        out: the folder of the run; workers on one study may share it, on one host or a shared disk.
        storage: Optuna storage, its URL or a journal file (`*.log`), shared by all workers on the
            study; None is a file in the folder.
        study_name: the name of the study in the storage.
        show_progress: draw bars on standard error.

    Raises:
        UserError: a setting or a file is wrong, or the folder holds another run.
    """
    out = Path(out)
    source = resolve(model)
    inputs = _Inputs.read(pipeline)
    candidates: list[Candidate] = []
    generated = None
    if tensor_parallel.follows():
        # All processes of a split model use the same precision.
        precision = resolve_precision(out, source.name, pipeline, (storage, study_name))
        pipeline = pipeline.model_copy(update={"precision": precision})
    else:
        with locked(out, storage):
            pipeline = claim(out, source.name, pipeline, (storage, study_name))
            candidates, generated = _candidates(
                out,
                inputs.candidates,
                lambda: generate(
                    pipeline.candidates,
                    pipeline.load_options,
                    model=model,
                    data=pipeline.data,
                    forbidden=[*inputs.dev.sentences(), *inputs.test_sentences],
                    seed=pipeline.seed,
                    show_progress=show_progress,
                ),
            )

    # Here, because options and files are checked before torch is imported.
    from demosearch.encoder.replicas import Replicas, open_encoder
    from demosearch.selection.search import search

    encoder = open_encoder(model, pipeline.load_options)
    # Replicas are closed at the end, because the next model requires their memory.
    with encoder if isinstance(encoder, Replicas) else nullcontext():
        result = search(
            encoder,
            candidates,
            inputs.dev,
            pipeline.search_settings,
            folder=out,
            inputs=inputs.search,
            exclude=inputs.test_sentences,
            storage=storage,
            study_name=study_name,
            show_progress=show_progress,
        )
        with locked(out, storage):
            scores = _export(out, result, encoder, inputs, pipeline.seed)
    return RunResult(out, result.file, scores, generated)


def _candidates(
    out: Path, given: Sequence[Candidate] | None, build: Callable[[], Generated]
) -> tuple[list[Candidate], Generated | None]:
    """Return the candidates of the run: those in its folder, those given, or new ones."""
    path = out / CANDIDATES_FILE
    if path.exists():
        kept = read_candidates(path)
        if given is not None and [row.id for row in given] != [row.id for row in kept]:
            raise UserError(f"{path} contains different candidates; choose another --out")
        return kept, None
    generated = build() if given is None else None
    candidates = list(generated.candidates if generated else given or ())
    write_candidates(path, candidates)
    return candidates, generated


def _export(
    out: Path, result: SearchResult, encoder: SentenceEncoder, inputs: _Inputs, seed: int
) -> dict[str, Any] | None:
    """Write the demonstrations, score the test pairs, and write the report."""
    # Here, because scipy and matplotlib are slow to import and not used before.
    from demosearch.report import FinishedRun, write_report
    from demosearch.selection.gain import gain_on

    file = result.file
    # The demonstrations are written before the test pairs are read by the model.
    file.write(out / DEMONSTRATIONS_FILE)
    test, scores = inputs.test, None
    if test is not None:
        metric = inputs.search.metric
        parts = [step.part for step in file.taken_steps if step.part]
        scores = _test_once(
            out,
            file,
            test,
            lambda: gain_on(test, encoder, result.systems, parts, seed, metric),
        )
    write_report([FinishedRun.read(out)], out / REPORT_FILE)
    return scores


def _test_once(
    out: Path, file: DemonstrationsFile, test: Pairs, score: Callable[[], Gain]
) -> dict[str, Any]:
    """Score the test pairs, or return the scores that an earlier call has written."""
    # Here, because scipy is slow to import and not used before.
    from demosearch.selection.gain import read_evaluation

    path = out / EVALUATION_FILE
    chosen = file.model_dump(mode="json", include={"prompts", "postprocess"})
    chosen["model"] = file.model.identity()
    if path.exists():
        kept = read_evaluation(path)
        same_pairs = test.sha256 == kept["test"]["sha256"]
        if same_pairs and all(kept.get(key) == value for key, value in chosen.items()):
            return kept
    logger.info("scoring the %d test pairs", len(test))
    scores = {
        **chosen,
        "test": score().model_dump(mode="json"),
        "versions": file.versions,
    }
    write_json(path, scores)
    return scores
