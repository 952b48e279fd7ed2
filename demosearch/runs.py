"""The same run for several models: a folder each, the demonstrations side by side, one table."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from demosearch._common.files import atomic_write
from demosearch.demonstrations_file import score_of
from demosearch.errors import UserError
from demosearch.models.known import resolve, short_name
from demosearch.pipeline import Pipeline
from demosearch.run import RunResult, run
from demosearch.run_folder import REPORT_FILE
from demosearch.selection.settings import STUDY_NAME

logger = logging.getLogger(__name__)

TABLE_FILE = "models.csv"
DEMONSTRATIONS_FOLDER = "demonstrations"


@dataclass(frozen=True, slots=True)
class Runs:
    """What the runs of several models found.

    Attributes:
        results: by model, in the order of the models.
        failures: why a model's run ended without a result, by model.
        table: a row a result: model, parameters, scores on dev and test, what was chosen.
        files: the table, the report and the demonstrations files.
    """

    results: dict[str, RunResult]
    failures: dict[str, str]
    table: pd.DataFrame
    files: list[Path]


def folder_name(model: str) -> str:
    """Return what a model's folder and file are called.

    Args:
        model: known name, hub id or folder, of which only the last part counts.

    Raises:
        UserError: it is none of these.
    """
    return short_name(model, resolve(model).source).replace("/", "--")


def run_models(
    models: Sequence[str],
    pipeline: Pipeline,
    out: str | Path,
    *,
    storage: str | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
) -> Runs:
    """Go all the way for one model after the other, each in a folder of its own.

    A model whose run fails does not keep the others from theirs.

    Args:
        models: known names, hub ids or folders.
        pipeline: the settings of all.
        out: gets a folder a model, `demonstrations/MODEL.json`, `models.csv` and `report.html`.
        storage: Optuna storage URL or journal file (`*.log`); None is a file in each folder.
        study_name: of every folder's study; in one storage the models' names stand behind it.
        show_progress: draw bars on standard error.

    Raises:
        UserError: a model is unknown, two would have the same folder, or no run came to a result.
    """
    if twice := next((model for model in models if models.count(model) > 1), None):
        raise UserError(f"--model {twice} is given twice")
    names = [folder_name(model) for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        alike = [model for model, name in zip(models, names, strict=True) if name == twice]
        raise UserError(
            f"--model {' and '.join(alike)} would be twice in the folder {twice}; run each by itself,"
            " with an --out of its own"
        )
    out = Path(out)
    results: dict[str, RunResult] = {}
    failures: dict[str, str] = {}
    for model, name in zip(models, names, strict=True):
        logger.info("%s", model)
        try:
            results[model] = run(
                model,
                pipeline,
                out / name,
                storage=storage,
                study_name=f"{study_name}-{name}" if storage else study_name,
                show_progress=show_progress,
            )
        except UserError as error:
            failures[model] = str(error)
            logger.error("%s: %s", model, error)
        # The next model needs the memory.
        gc.collect()
    if not results:
        raise UserError(f"no run came to a result; the first one: {next(iter(failures.values()))}")
    files = []
    for model, result in results.items():
        files.append(out / DEMONSTRATIONS_FOLDER / f"{folder_name(model)}.json")
        result.file.write(files[-1])
    table = pd.DataFrame([_row(model, result) for model, result in results.items()])
    with atomic_write(out / TABLE_FILE) as file:
        table.to_csv(file, index=False)
    from demosearch.report import read_runs, write_report

    page = out / REPORT_FILE
    write_report(read_runs([result.folder for result in results.values()]), page)
    return Runs(results, failures, table, [out / TABLE_FILE, page, *files])


def _row(model: str, result: RunResult) -> dict[str, Any]:
    file = result.file
    row: dict[str, Any] = {
        "model": model,
        "parameters": file.model.parameters,
        "precision": file.model.precision,
        "metric": file.search.metric,
        "dev_baseline": score_of(file.dev, "baseline_"),
        "dev": score_of(file.dev),
        "dev_low": file.dev.gain_ci95[0],
        "dev_high": file.dev.gain_ci95[1],
        "corrected_gain": file.estimate.gain if file.estimate else None,
    }
    if result.test is not None:
        test = result.test["test"]
        row |= {
            "test_baseline": score_of(test, "baseline_"),
            "test": score_of(test),
            "test_low": test["gain_ci95"][0],
            "test_high": test["gain_ci95"][1],
        }
    return row | {
        "layer": file.prompts[0].layer,
        "template": file.prompts[0].template,
        "word": " | ".join(one.word for one in file.demonstrations),
        "sentence": " | ".join(one.sentence for one in file.demonstrations),
        "sentences_encoded": file.search.sentences_encoded,
        "seconds": file.search.seconds,
    }
