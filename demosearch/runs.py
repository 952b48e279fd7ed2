"""Runs of several models: one folder per model, one table and one report of all."""

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
from demosearch.pipeline import Pipeline
from demosearch.run import RunResult, run
from demosearch.run_folder import REPORT_FILE, folder_name
from demosearch.selection.settings import STUDY_NAME

logger = logging.getLogger(__name__)

TABLE_FILE = "models.csv"
DEMONSTRATIONS_FOLDER = "demonstrations"


@dataclass(frozen=True, slots=True)
class Runs:
    """The results of the runs of several models.

    Attributes:
        results: results by model, in the order of the models.
        failures: error messages of failed runs by model.
        table: one row per result: model, parameters, scores on dev and test, the demonstrations.
        files: paths of the table, the report and the demonstrations files.
    """

    results: dict[str, RunResult]
    failures: dict[str, str]
    table: pd.DataFrame
    files: list[Path]

    def as_json(self) -> dict[str, Any]:
        """Return the results and failures as `demosearch run --json` prints them."""
        return {
            "models": {model: result.as_json() for model, result in self.results.items()},
            "failures": self.failures,
            "files": [str(path) for path in self.files],
        }


def run_models(
    models: Sequence[str],
    pipeline: Pipeline,
    out: str | Path,
    *,
    storage: str | None = None,
    study_name: str = STUDY_NAME,
    show_progress: bool = False,
) -> Runs:
    """Run the same pipeline for several models, each one in its own folder.

    A run that fails does not stop the others.

    Args:
        models: known names, hub ids or folders.
        pipeline: the settings of each run.
        out: folder for one folder per model, `demonstrations/MODEL.json`, `models.csv` and
            `report.html`.
        storage: Optuna storage URL or journal file (`*.log`); None is a file in each folder.
        study_name: name of the study in each folder; in a shared storage the name of the model is
            appended.
        show_progress: draw bars on standard error.

    Raises:
        UserError: a model is unknown, two models have the same folder, or all runs failed.
    """
    names = _folder_names(models)
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
        # The next model requires the memory.
        gc.collect()
    if not results:
        raise UserError(f"all runs failed; the first one: {next(iter(failures.values()))}")
    table = pd.DataFrame([_row(model, result) for model, result in results.items()])
    return Runs(results, failures, table, _write(out, results, table))


def _folder_names(models: Sequence[str]) -> list[str]:
    """Return the name of each model's folder.

    Raises:
        UserError: a model is unknown, or two models have the same folder.
    """
    names: dict[str, str] = {}
    for model in models:
        name = folder_name(model)
        if name in names:
            raise UserError(
                f"--model {model} is given twice"
                if names[name] == model
                else f"--model {names[name]} and {model} have the same folder name {name}; run each"
                " model separately with its own --out"
            )
        names[name] = model
    return list(names)


def _write(out: Path, results: dict[str, RunResult], table: pd.DataFrame) -> list[Path]:
    """Write the demonstrations files, the table and the report, and return their paths."""
    files = []
    for model, result in results.items():
        files.append(out / DEMONSTRATIONS_FOLDER / f"{folder_name(model)}.json")
        result.file.write(files[-1])
    with atomic_write(out / TABLE_FILE) as file:
        table.to_csv(file, index=False)
    # Here, because matplotlib is slow to import.
    from demosearch.report import read_runs, write_report

    page = out / REPORT_FILE
    write_report(read_runs([result.folder for result in results.values()]), page)
    return [out / TABLE_FILE, page, *files]


def _row(model: str, result: RunResult) -> dict[str, Any]:
    """Return the row of a model in the table."""
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
        "word": " | ".join(demonstration.word for demonstration in file.demonstrations),
        "sentence": " | ".join(demonstration.sentence for demonstration in file.demonstrations),
        "sentences_encoded": file.search.sentences_encoded,
        "seconds": file.search.seconds,
    }
