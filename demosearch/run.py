"""A run, from sentences to exported demonstrations."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from demosearch._common.files import atomic_write, parse_yaml, read_text, write_json
from demosearch.bulk import check_input, read_texts
from demosearch.candidates.file import Candidate, read_candidates, write_candidates
from demosearch.candidates.generate import Generated, generate, resolved
from demosearch.datasets import Pairs, Split, read_sets
from demosearch.datasets.sources import reads_hub
from demosearch.demonstration import Demonstration, DemonstrationsFile
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError, short
from demosearch.models.known import Precision, parse_devices, resolve
from demosearch.pipeline import Pipeline, checked
from demosearch.prompt import Prompt
from demosearch.selection.defaults import AUTO, STUDY_NAME
from demosearch.selection.measure import find_metric
from demosearch.templates import search_templates

if TYPE_CHECKING:
    from demosearch.evaluation import Gain

logger = logging.getLogger(__name__)

PIPELINE_FILE = "pipeline.yaml"
CANDIDATES_FILE = "candidates.jsonl"
DEMONSTRATIONS_FILE = "demonstrations.json"
TRIALS_FILE = "trials.csv"
HISTORY_FILE = "history.csv"
EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"
_LOCK_FILE = ".lock"
DEV_TEXTS = "dev"
# What may change when a run goes on: everything that was scored before still holds. (What lies in
# `data` is in the study by its hash.)
_FREE = {
    *("description", "budget", "patience", "shots", "ensemble", "center"),
    *("rounds", "save_similarities", "data", "device", "devices"),
}


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found and where it is.

    Attributes:
        folder: the run's folder.
        file: the contents of `demonstrations.json`.
        test: the contents of `evaluation.json`, None without test pairs.
        generated: what the generator said; None where candidates were there already.
    """

    folder: Path
    file: DemonstrationsFile
    test: dict[str, Any] | None
    generated: Generated | None


def run(
    model: str,
    pipeline: Pipeline,
    out: str | Path,
    *,
    storage: str | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
) -> RunResult:
    """Go all the way for one model; a run that was killed goes on where it was.

    Args:
        model: known name, hub id or folder.
        pipeline: the settings.
        out: the run's folder; workers on one study may share it, on one host or a shared disk.
        storage: Optuna storage URL or journal file (`*.log`), shared by all who work on the study;
            None is in the folder.
        study_name: the study's name in the storage.
        show_progress: draw bars on standard error.

    Raises:
        UserError: a setting or a file is wrong, or the folder holds another run.
    """
    out = Path(out)
    source = resolve(model)
    template, *further = search_templates(pipeline.template)
    devices = parse_devices(pipeline.devices)
    metric = find_metric(pipeline.metric)
    dev = read_sets(pipeline.dev, Split.DEV, pipeline.data)
    test = None
    if pipeline.test is not None:
        test = read_sets(pipeline.test, Split.TEST, pipeline.data)
    given = None
    if pipeline.candidates_file is not None:
        given = read_candidates(pipeline.candidates_file)
    warm_start = warm_demonstrations(pipeline.warm_start)
    centering = center_texts(pipeline.center, dev)
    candidates: list[Candidate] = []
    generated = None
    if tensor_parallel.follows():
        # All processes of a split model have to hold it alike.
        pipeline = pipeline.model_copy(update={"precision": _precision(pipeline, _begun(out))})
    build = partial(
        generate,
        model=model,
        device=pipeline.device,
        devices=devices,
        allow_pickle=pipeline.allow_pickle,
        data=pipeline.data,
        forbidden=[*dev.sentences(), *(test.sentences() if test else ())],
    )
    if not tensor_parallel.follows():
        with _alone(out, storage):
            pipeline = _claim(out, source.name, pipeline)
            candidates, generated = _candidates(build, pipeline, out, given, show_progress)

    # From here on torch is needed; every mistake in options and files has been found.
    from demosearch.encoder.replicas import Replicas, open_encoder
    from demosearch.evaluation import gain_on
    from demosearch.selection.search import Center, search

    encoder = open_encoder(
        model,
        devices=devices,
        device=pipeline.device,
        precision=pipeline.precision,
        adapter=pipeline.adapter,
        allow_pickle=pipeline.allow_pickle,
        token_budget=pipeline.token_budget,
    )
    auto = pipeline.layer == AUTO
    layer = None if isinstance(pipeline.layer, str) else pipeline.layer
    prompt = Prompt(template, layer=layer)
    # The next model's weights need the room that this one's have.
    with encoder if isinstance(encoder, Replicas) else nullcontext():
        result = search(
            encoder,
            candidates,
            dev,
            folder=out,
            prompt=prompt,
            templates=further,
            warm_start=warm_start,
            rounds=pipeline.rounds,
            further=partial(_further, build, pipeline, out),
            layers=AUTO if auto else None,
            shots=pipeline.shots,
            ensemble=pipeline.ensemble,
            center=Center(*centering) if centering else None,
            metric=metric,
            max_extra_tokens=pipeline.max_extra_tokens,
            pareto=pipeline.pareto,
            save_similarities=pipeline.save_similarities,
            strategy=pipeline.strategy,
            budget=pipeline.budget,
            patience=pipeline.patience,
            seed=pipeline.seed,
            exclude=test.sentences() if test else (),
            storage=storage,
            study_name=study_name,
            show_progress=show_progress,
        )
        scores = None
        with _alone(out, storage):
            result.file.write(out / DEMONSTRATIONS_FILE)
            if test is not None:
                scores = _test_once(
                    out,
                    result.file,
                    test,
                    lambda: gain_on(
                        test,
                        encoder,
                        result.prompts,
                        Prompt(template),
                        pipeline.seed,
                        result.file.mean,
                        metric,
                    ),
                )
            # Here, because a run that fails must not have waited for matplotlib.
            from demosearch.report import FinishedRun, write_report

            write_report([FinishedRun.read(out)], out / REPORT_FILE)
    return RunResult(out, result.file, scores, generated)


@contextmanager
def _alone(out: Path, storage: str | None) -> Iterator[None]:
    """Let one of several workers in a folder at a time do what is done once, the others wait.

    Args:
        out: the run's folder.
        storage: of the study; None is one that nobody shares.

    Raises:
        UserError: the folder cannot be made, or its disk has no locks.
    """
    if storage is None:
        yield
        return
    # A worker that is killed lets go of it.
    lock = FileLock(out / _LOCK_FILE, fallback_to_soft=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("another worker is busy in %s; waiting for it", out)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"cannot lock {out} against other workers: {error}; give each an --out of its own, on a"
            " disk that knows locks"
        ) from error
    try:
        yield
    finally:
        lock.release()


def center_texts(source: str | None, dev: Pairs) -> tuple[str, list[str]] | None:
    """Return name and texts of what embeddings are centred on: `dev`, a file, or nothing.

    Raises:
        UserError: the file cannot be read or is empty.
    """
    if source is None:
        return None
    if source == DEV_TEXTS:
        return f"{dev.name} dev", dev.sentences()
    check_input(source)
    return Path(source).name, list(dict.fromkeys(read_texts(source)))


def warm_demonstrations(paths: Sequence[str]) -> list[Demonstration]:
    """Return the chosen demonstrations of some files, each once.

    Raises:
        UserError: a file is not valid.
    """
    found = (one for path in paths for one in DemonstrationsFile.read(path).demonstrations)
    return list(dict.fromkeys(found))


def _begun(out: Path) -> tuple[str, Pipeline] | None:
    """Return the model and the settings of a run that was begun in a folder.

    Until there are candidates nothing depends on what the first try was given.

    Raises:
        UserError: there is a study, but not what it was made with.
    """
    path = out / PIPELINE_FILE
    has_study = (out / "study.db").exists()
    if not path.exists():
        if has_study:
            raise UserError(f"{out} holds a study without {PIPELINE_FILE}; choose another --out")
        return None
    if not (has_study or (out / CANDIDATES_FILE).exists()):
        return None
    kept = parse_yaml(read_text(path, "pipeline"), str(path))
    if not isinstance(kept, dict):
        raise UserError(f"{path} holds no settings; choose another --out")
    # A setting that came later is absent from an older file, where it had its default.
    return kept.pop("model", None), checked(Pipeline, kept, path)


def _claim(out: Path, model: str, pipeline: Pipeline) -> Pipeline:
    """Write the resolved settings into the run's folder, or compare them with what is there.

    Returns:
        The settings with every `auto` replaced: by what the run began with, or by what this machine has.
    """
    begun = _begun(out)
    candidates = pipeline.candidates
    if begun:
        # A key that was set since, or a dictionary that was installed, is no reason to stop.
        before = begun[1].candidates
        autos = [key for key, value in candidates if value == AUTO]
        candidates = candidates.model_copy(update={key: getattr(before, key) for key in autos})
    # By now dev has been read, from wherever it is.
    candidates = resolved(candidates, pipeline.data, hub=reads_hub([pipeline.dev], pipeline.data))
    precision = _precision(pipeline, begun)
    pipeline = pipeline.model_copy(update={"candidates": candidates, "precision": precision})
    if begun:
        kept = _flat(*begun)
        if kept["precision"] is None:
            # Earlier versions did not write which; the study knows.
            kept["precision"] = precision
        for key, value in _flat(model, pipeline).items():
            if key not in _FREE and kept[key] != value:
                raise UserError(
                    f"{out} holds another run ({key} was {_short(kept[key])}, now"
                    f" {_short(value)}); choose another --out"
                )
    settings = {"model": model, **pipeline.model_dump(mode="json")}
    with atomic_write(out / PIPELINE_FILE) as file:
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
    return pipeline


def _precision(pipeline: Pipeline, begun: tuple[str, Pipeline] | None) -> Precision:
    """Return the precision that was asked for, or the run began in, or suits the devices."""
    if found := pipeline.precision or (begun and begun[1].precision):
        return found
    from demosearch.models.loading import default_device, default_precision

    devices = parse_devices(pipeline.devices)
    return default_precision(devices[0] if devices else pipeline.device or default_device())


def _flat(model: str | None, pipeline: Pipeline) -> dict[str, Any]:
    """Return settings by their dotted names."""
    found = {"model": model, **pipeline.model_dump(mode="json")}
    inner = found.pop("candidates")
    return found | {f"candidates.{key}": value for key, value in inner.items()}


def _candidates(
    build: Callable[..., Generated],
    pipeline: Pipeline,
    out: Path,
    given: list[Candidate] | None,
    show_progress: bool,
) -> tuple[list[Candidate], Generated | None]:
    path = out / CANDIDATES_FILE
    if path.exists():
        kept = read_candidates(path)
        if given is not None and [one.id for one in given] != [one.id for one in kept]:
            raise UserError(f"{path} holds other candidates; choose another --out")
        return kept, None
    generated = None
    if given is None:
        generated = build(
            pipeline.candidates,
            precision=pipeline.precision,
            seed=pipeline.seed,
            show_progress=show_progress,
        )
        given = generated.candidates
    write_candidates(path, given)
    return given, generated


def _further(
    build: Callable[..., Generated],
    pipeline: Pipeline,
    out: Path,
    number: int,
    like: Sequence[Demonstration],
    known: Sequence[Demonstration],
) -> list[Candidate]:
    """Build the candidates of a further round near the best so far, and write them."""
    # The quality scores order nothing here, and would load the model once more.
    settings = pipeline.candidates.model_copy(update={"quality": False})
    path = _round_file(out, number)
    found = build(
        settings,
        precision=pipeline.precision,
        like=like,
        like_count=pipeline.round_size,
        known=known,
        seed=pipeline.seed + number - 1,
    ).candidates
    if found:
        write_candidates(path, found)
    logger.info("round %d: %d candidates near the best so far, %s", number, len(found), path)
    return found


def _round_file(out: Path, number: int) -> Path:
    path = out / CANDIDATES_FILE
    return path.with_stem(f"{path.stem}-{number}")


def _test_once(
    out: Path, file: DemonstrationsFile, test: Pairs, score: Callable[[], Gain]
) -> dict[str, Any]:
    """Score the test pairs once; a run that is started again reads what was written."""
    from demosearch.selection.gain import read_evaluation

    path = out / EVALUATION_FILE
    chosen = file.model_dump(mode="json", include={"prompts", "postprocess"})
    chosen["model"] = file.model.identity()
    if path.exists():
        kept = read_evaluation(path)
        same = test.sha256 == kept["test"]["sha256"]
        if same and all(kept.get(key) == value for key, value in chosen.items()):
            return kept
    logger.info("scoring the %d test pairs", len(test))
    scores = {
        **chosen,
        "test": score().model_dump(mode="json"),
        "versions": file.versions,
    }
    write_json(path, scores)
    return scores


def _short(value: Any) -> str:
    return short(json.dumps(value, ensure_ascii=False))
