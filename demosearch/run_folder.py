"""The folder of a run: its file names, its settings, and its lock."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from demosearch._common.files import atomic_write, parse_yaml, read_text
from demosearch.candidates.sources import resolved
from demosearch.datasets.sources import reads_hub
from demosearch.errors import UserError, short
from demosearch.models.known import Precision
from demosearch.pipeline import Pipeline, checked
from demosearch.selection.settings import AUTO

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

logger = logging.getLogger(__name__)

PIPELINE_FILE = "pipeline.yaml"
CANDIDATES_FILE = "candidates.jsonl"
STUDY_FILE = "study.db"
DEMONSTRATIONS_FILE = "demonstrations.json"
TRIALS_FILE = "trials.csv"
HISTORY_FILE = "history.csv"
EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"
_LOCK_FILE = ".lock"
# Settings that may change when a run is resumed: every score computed before remains valid. (The
# content of `data` is in the study by its hash.)
_FREE = {
    *("description", "budget", "patience", "shots", "ensemble", "center"),
    *("save_similarities", "data", "device", "devices"),
}
# Settings of version 0.1 that no longer exist, by the group that they were in.
_REMOVED = {"": ("pareto", "rounds", "round_size"), "candidates": ("batch",)}


@contextmanager
def locked(folder: Path, storage: str | BaseStorage | None) -> Iterator[None]:
    """Let one worker of a shared folder at a time do what must be done only once.

    Args:
        folder: the run's folder.
        storage: of the study; with None nobody shares the folder.

    Raises:
        UserError: the folder cannot be made, or its disk does not support locks.
    """
    if storage is None:
        yield
        return
    # The lock of a worker that is killed is released by the operating system.
    lock = FileLock(folder / _LOCK_FILE, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another worker in %s", folder)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"cannot lock {folder} against other workers: {error}; give each worker an --out of its"
            " own, on a disk that supports locks"
        ) from error
    try:
        yield
    finally:
        lock.release()


def read_settings(folder: Path) -> tuple[str | None, Pipeline] | None:
    """Return the model and the settings of the run that a folder holds; None if it holds none.

    Settings do not matter before there are candidates.

    Raises:
        UserError: there is a study, but not the settings that it was made with.
    """
    path = folder / PIPELINE_FILE
    has_study = (folder / STUDY_FILE).exists()
    if not path.exists():
        if has_study:
            raise UserError(f"{folder} holds a study without {PIPELINE_FILE}; choose another --out")
        return None
    if not (has_study or (folder / CANDIDATES_FILE).exists()):
        return None
    kept = parse_yaml(read_text(path, "pipeline"), str(path))
    if not isinstance(kept, dict):
        raise UserError(f"{path} holds no settings; choose another --out")
    for group, names in _REMOVED.items():
        values = kept.get(group) if group else kept
        if isinstance(values, dict):
            for name in names:
                values.pop(name, None)
    # A setting that was added later is missing in an older file, where it had its default.
    return kept.pop("model", None), checked(Pipeline, kept, path)


def claim(folder: Path, model: str, pipeline: Pipeline) -> Pipeline:
    """Write the resolved settings into a run's folder, or compare them with those in it.

    Returns:
        The settings with every `auto` replaced: by the value the run began with, or by what is
        available on this machine.

    Raises:
        UserError: the folder holds a run with other settings.
    """
    begun = read_settings(folder)
    candidates = pipeline.candidates
    if begun:
        # An API key that was set since, or a dictionary that was installed, must not stop the run.
        before = begun[1].candidates
        autos = [key for key, value in candidates if value == AUTO]
        candidates = candidates.model_copy(update={key: getattr(before, key) for key in autos})
    # The dev pairs have been read by now, so the hub is available if they are on it.
    candidates = resolved(candidates, pipeline.data, hub=reads_hub([pipeline.dev], pipeline.data))
    precision = resolve_precision(pipeline, begun)
    pipeline = pipeline.model_copy(update={"candidates": candidates, "precision": precision})
    if begun:
        _compare(folder, begun, (model, pipeline))
    settings = {"model": model, **pipeline.model_dump(mode="json")}
    with atomic_write(folder / PIPELINE_FILE) as file:
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
    return pipeline


def resolve_precision(pipeline: Pipeline, begun: tuple[str | None, Pipeline] | None) -> Precision:
    """Return the precision that is set, or that the run began with, or the devices' default."""
    if precision := pipeline.precision or (begun and begun[1].precision):
        return precision
    # Here, because torch is needed to know the devices.
    from demosearch.models.precision import default_device, default_precision

    devices = pipeline.device_names
    return default_precision(devices[0] if devices else pipeline.device or default_device())


def _compare(folder: Path, begun: tuple[str | None, Pipeline], now: tuple[str, Pipeline]) -> None:
    before = _flat(*begun)
    after = _flat(*now)
    if before["precision"] is None:
        # Earlier versions did not write the precision; the study holds it.
        before["precision"] = after["precision"]
    for key, value in after.items():
        if key not in _FREE and before[key] != value:
            raise UserError(
                f"{folder} holds a run with another '{key}' ({_short(before[key])}, now"
                f" {_short(value)}); choose another --out"
            )


def _flat(model: str | None, pipeline: Pipeline) -> dict[str, Any]:
    """Return settings by their dotted names."""
    settings = {"model": model, **pipeline.model_dump(mode="json")}
    candidates = settings.pop("candidates")
    return settings | {f"candidates.{key}": value for key, value in candidates.items()}


def _short(value: Any) -> str:
    return short(json.dumps(value, ensure_ascii=False))
