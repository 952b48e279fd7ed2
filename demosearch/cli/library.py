"""The functions and classes that commands use, each imported on first use.

They import torch, Optuna, scipy or matplotlib. Because of this one table, `--help` answers within a second,
and options and files are checked before torch is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demosearch._common.lazy import lazily

if TYPE_CHECKING:
    from demosearch.adaptation import adapt
    from demosearch.cli.doctor import examine
    from demosearch.embedder import Embedder
    from demosearch.encoder.replicas import open_encoder
    from demosearch.evaluation.baselines import open_baseline
    from demosearch.evaluation.comparison import TableFormat, compare
    from demosearch.evaluation.scoring import evaluate
    from demosearch.export import export_sentence_transformer, export_vllm
    from demosearch.finetune import finetune
    from demosearch.models.memory import machine
    from demosearch.report import read_runs, write_report
    from demosearch.run import run
    from demosearch.runs import run_models
    from demosearch.selection.inputs import SearchInputs, check_names, read_unlabeled
    from demosearch.selection.notes import study_precision
    from demosearch.selection.search import search

__all__ = [
    "Embedder",
    "SearchInputs",
    "TableFormat",
    "adapt",
    "check_names",
    "compare",
    "evaluate",
    "examine",
    "export_sentence_transformer",
    "export_vllm",
    "finetune",
    "machine",
    "open_baseline",
    "open_encoder",
    "read_runs",
    "read_unlabeled",
    "run",
    "run_models",
    "search",
    "study_precision",
    "write_report",
]

_HOMES = {
    "Embedder": "demosearch.embedder",
    "SearchInputs": "demosearch.selection.inputs",
    "TableFormat": "demosearch.evaluation.comparison",
    "adapt": "demosearch.adaptation",
    "check_names": "demosearch.selection.inputs",
    "compare": "demosearch.evaluation.comparison",
    "evaluate": "demosearch.evaluation.scoring",
    "examine": "demosearch.cli.doctor",
    "export_sentence_transformer": "demosearch.export",
    "export_vllm": "demosearch.export",
    "finetune": "demosearch.finetune",
    "machine": "demosearch.models.memory",
    "open_baseline": "demosearch.evaluation.baselines",
    "open_encoder": "demosearch.encoder.replicas",
    "read_runs": "demosearch.report",
    "read_unlabeled": "demosearch.selection.inputs",
    "run": "demosearch.run",
    "run_models": "demosearch.runs",
    "search": "demosearch.selection.search",
    "study_precision": "demosearch.selection.notes",
    "write_report": "demosearch.report",
}

__getattr__ = lazily(__name__, _HOMES)
