"""Values that all workers on a study share: its settings, its token budget, its precision."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from demosearch.models.choice import automatic_precision
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions
from demosearch.models.precision import Precision, default_device
from demosearch.selection.settings import STUDY_FILE
from demosearch.selection.storage import close_storage, open_storage, reported
from demosearch.selection.workers import Claims

logger = logging.getLogger(__name__)

SETTINGS = "settings"
_PRECISION = "precision"
# In place of the index of a thread: the worker that writes values shared by all workers.
_NOTES = -1
# Seconds between two attempts to read a value that another worker writes.
_PAUSE = 0.5


def open_study(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    """Return the study with a name; create it if it does not exist."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        # The race decides what is scored next; no sampler or pruner is asked.
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )


def note(study: optuna.Study, key: str, value: Any) -> Any:
    """Return the value stored under a key; the first value that any worker proposes is stored."""
    if (stored := study.user_attrs.get(key)) is not None:
        return stored
    claims = Claims(study, _NOTES)
    try:
        while (stored := study.user_attrs.get(key)) is None:
            if not claims.claim([key], 1):
                time.sleep(_PAUSE)
            elif study.user_attrs.get(key) is None:
                study.set_user_attr(key, value)
    finally:
        claims.close()
    return stored


def study_precision(
    model: str,
    options: LoadOptions,
    storage: str | optuna.storages.BaseStorage | None,
    name: str,
    folder: Path,
) -> Precision:
    """Return the precision of a search: that of the options, of the study, or the fastest one.

    On a CPU all workers on a study, and a resumed search, use the first worker's choice. On a GPU the
    device decides.

    Args:
        model: known name, hub id or folder.
        options: how the model is loaded.
        storage: see `agreed_precision`.
        name: the study's name.
        folder: the folder of the search.

    Raises:
        UserError: the storage cannot be opened, or the model is unknown.
    """
    if options.precision is not None:
        return options.precision
    devices = options.device_names
    device = devices[0] if devices else options.device or default_device()

    def propose() -> Precision:
        return automatic_precision(resolve(model), device)

    if not device.startswith("cpu"):
        return propose()
    return agreed_precision(storage, name, folder, propose)


def agreed_precision(
    storage: str | optuna.storages.BaseStorage | None,
    name: str,
    folder: Path,
    propose: Callable[[], Precision],
) -> Precision:
    """Return the precision of a study; if it has none, that of the first worker that proposes one.

    Args:
        storage: Optuna storage, its URL, or a journal file; None means the SQLite file in `folder`,
            which no other worker shares. It then holds a precision as soon as its search has begun.
        name: the study's name.
        folder: the folder of the search.
        propose: returns this worker's proposal; called only if the study has no precision.

    Raises:
        UserError: the storage cannot be opened.
    """
    if storage is None and not (folder / STUDY_FILE).exists():
        return propose()
    storage = storage or f"sqlite:///{folder / STUDY_FILE}"
    opened = open_storage(storage) if isinstance(storage, str) else storage
    try:
        with reported(storage):
            study = open_study(opened, name)
        known = study.user_attrs.get(SETTINGS, {}).get("model", {}).get("precision")
        known = known or study.user_attrs.get(_PRECISION)
        if known not in set(Precision):
            proposed = propose()
            # Nothing is written into a study of another program, which the search refuses.
            if study.get_trials(deepcopy=False):
                return proposed
            known = note(study, _PRECISION, proposed.value)
            if known == proposed:
                return proposed
        logger.info("precision %s, as in the study", known)
        return Precision(known)
    finally:
        if opened is not storage:
            close_storage(opened)
