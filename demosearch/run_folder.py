"""The folder of a run: its file names, its settings, and its lock."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from demosearch._common.files import atomic_write, parse_yaml, read_text
from demosearch._common.locks import acquired
from demosearch.candidates.sources import resolved
from demosearch.datasets.sources import reads_hub
from demosearch.errors import UserError, short
from demosearch.models.known import Precision, resolve, short_name
from demosearch.pipeline import Pipeline, validated
from demosearch.selection.settings import AUTO, STUDY_FILE, SearchSettings

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

logger = logging.getLogger(__name__)

PIPELINE_FILE = "pipeline.yaml"
CANDIDATES_FILE = "candidates.jsonl"
DEMONSTRATIONS_FILE = "demonstrations.json"
TRIALS_FILE = "trials.csv"
HISTORY_FILE = "history.csv"
EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"
_LOCK_FILE = ".lock"
# Settings that may change when a run is resumed: every score computed before remains valid. (The
# content of `data` is in the study by its hash.)
_FREE = {
    *("description", "budget", "patience", "shots", "ensemble"),
    *("postprocess", "unlabeled", "center"),
    *("save_similarities", "data", "device", "devices"),
}
# Settings of version 0.1 that no longer exist, by the group that they were in.
_REMOVED = {"": ("pareto", "rounds", "round_size"), "candidates": ("batch",)}


def folder_name(model: str) -> str:
    """Return the name of the folder and of the demonstrations file of a model.

    Args:
        model: known name, hub id, folder or file; of a folder or file only the last part counts.

    Raises:
        UserError: the model is unknown.
    """
    return short_name(model, resolve(model).source).replace("/", "--").replace(":", "--")


@contextmanager
def locked(folder: Path, storage: str | BaseStorage | None) -> Iterator[None]:
    """Hold the lock of a folder, so that workers that share it do a task only once.

    Args:
        folder: the folder of the run.
        storage: storage of the study; None means that no other worker shares the folder.

    Raises:
        UserError: the folder cannot be made, or its disk does not support locks.
    """
    if storage is None:
        yield
        return
    try:
        lock = acquired(folder / _LOCK_FILE, f"another worker in {folder}")
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"cannot lock {folder} against other workers: {error}; give each worker its own --out, on"
            " a disk that supports locks"
        ) from error
    try:
        yield
    finally:
        lock.release()


def read_settings(folder: Path) -> tuple[str | None, Pipeline] | None:
    """Return the model and the settings of the run in a folder; None if there is no run.

    Without candidates there is no run: settings alone do not restrict a later run.

    Raises:
        UserError: the folder holds a study without its settings.
    """
    path = folder / PIPELINE_FILE
    has_study = (folder / STUDY_FILE).exists()
    if not path.exists():
        if has_study:
            raise UserError(
                f"{folder} contains a study without {PIPELINE_FILE}; choose another --out"
            )
        return None
    if not (has_study or (folder / CANDIDATES_FILE).exists()):
        return None
    kept = parse_yaml(read_text(path, "pipeline"), str(path))
    if not isinstance(kept, dict):
        raise UserError(f"{path} must contain settings by name; choose another --out")
    for group, names in _REMOVED.items():
        values = kept.get(group) if group else kept
        if isinstance(values, dict):
            for name in names:
                values.pop(name, None)
    # A setting that is newer than the file had its default.
    return kept.pop("model", None), validated(Pipeline, kept, path)


def claim(
    folder: Path, model: str, pipeline: Pipeline, study: tuple[str | BaseStorage | None, str]
) -> Pipeline:
    """Write the resolved settings into the folder of a run, or compare them with its settings.

    Args:
        folder: the folder of the run.
        model: known name, hub id or folder.
        pipeline: the settings.
        study: storage of the study, None if it is in the folder, and name.

    Returns:
        The settings with each `auto` replaced by the value that the run began with, or else by the
        best value that is available on this machine.

    Raises:
        UserError: the folder contains a run with different settings.
    """
    begun = read_settings(folder)
    candidates = pipeline.candidates
    if begun:
        # An API key or a dictionary that was added after the start must not stop the run.
        before = begun[1].candidates
        autos = [key for key, value in candidates if value == AUTO]
        candidates = candidates.model_copy(update={key: getattr(before, key) for key in autos})
    # The dev pairs have been read by now: if they came from the hub, it is available.
    candidates = resolved(candidates, pipeline.data, hub=reads_hub([pipeline.dev], pipeline.data))
    precision = resolve_precision(folder, model, pipeline, study)
    pipeline = pipeline.model_copy(update={"candidates": candidates, "precision": precision})
    if begun:
        _compare(folder, begun, (model, pipeline))
    settings = {"model": model, **_ordered(pipeline)}
    with atomic_write(folder / PIPELINE_FILE) as file:
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
    return pipeline


def resolve_precision(
    folder: Path, model: str, pipeline: Pipeline, study: tuple[str | BaseStorage | None, str]
) -> Precision:
    """Return the precision of the settings, of the existing run, of the study, or the fastest one.

    Args:
        folder: the folder of the run.
        model: known name, hub id or folder.
        pipeline: the settings.
        study: storage of the study, None if it is in the folder, and name.

    Raises:
        UserError: the storage cannot be opened, or the model's configuration cannot be read.
    """
    begun = read_settings(folder)
    if precision := pipeline.precision or (begun and begun[1].precision):
        return precision
    # Here, because torch and Optuna must not delay the checks before.
    from demosearch.selection.notes import study_precision

    return study_precision(model, pipeline.load_options, *study, folder)


def _ordered(pipeline: Pipeline) -> dict[str, Any]:
    """Return settings in the order in which people read them: data, search, model, candidates."""
    settings = pipeline.model_dump(mode="json")
    candidates = {"candidates": settings.pop("candidates")}
    own = [name for name in Pipeline.__annotations__ if name in settings]
    names = dict.fromkeys([*own, *SearchSettings.model_fields, *settings])
    return {name: settings[name] for name in names} | candidates


def _compare(folder: Path, begun: tuple[str | None, Pipeline], now: tuple[str, Pipeline]) -> None:
    before = _flat(*begun)
    after = _flat(*now)
    if before["precision"] is None:
        # Earlier versions did not write the precision; the study holds it.
        before["precision"] = after["precision"]
    for key, value in after.items():
        if key not in _FREE and before[key] != value:
            raise UserError(
                f"{folder} contains a run with a different '{key}' ({_short(before[key])}, now"
                f" {_short(value)}); choose another --out"
            )


def _flat(model: str | None, pipeline: Pipeline) -> dict[str, Any]:
    """Return the settings by dotted name."""
    settings = {"model": model, **pipeline.model_dump(mode="json")}
    candidates = settings.pop("candidates")
    return settings | {f"candidates.{key}": value for key, value in candidates.items()}


def _short(value: Any) -> str:
    return short(json.dumps(value, ensure_ascii=False))
