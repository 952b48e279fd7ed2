"""`demosearch models`, `pipelines`, `schema` and `doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter
from pydantic import BaseModel

from demosearch.cli import library
from demosearch.cli.display.console import show_json
from demosearch.cli.display.lists import show_findings, show_models, show_pipelines
from demosearch.cli.options import Output, Printing
from demosearch.cli.outcome import Outcome
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.finetune.settings import FinetuneSettings
from demosearch.models.known import KNOWN_MODELS, Precision
from demosearch.pipeline import Pipeline, describe_pipelines

Described: TypeAlias = Literal["demonstrations", "run", "finetune"]


def models(*, output: Printing = Output()) -> Outcome:
    """`demosearch models`."""
    here = library.machine()
    rows = [
        {
            "name": model.name,
            "parameters": round(model.parameters * 1e6),
            "layers": model.layers,
            "width": model.width,
            "memory": {precision.value: model.memory(precision) for precision in Precision},
            "fits": here.fits(model),
            "source": model.source,
            "license": model.license,
        }
        for model in KNOWN_MODELS.values()
    ]
    return Outcome(rows, lambda: show_models(rows, here))


def pipelines(*, output: Printing = Output()) -> Outcome:
    """`demosearch pipelines`."""
    rows = describe_pipelines()
    return Outcome(rows, lambda: show_pipelines(rows))


def schema(
    of: Annotated[
        Described,
        Parameter(
            name="OF",
            help="demonstrations: the file that a search writes; run, finetune: the settings of"
            " pipelines of that command",
        ),
    ] = "demonstrations",
    /,
    *,
    output: Printing = Output(),
) -> Outcome:
    """`demosearch schema`."""
    described: dict[str, type[BaseModel]] = {
        "demonstrations": DemonstrationsFile,
        "run": Pipeline,
        "finetune": FinetuneSettings,
    }
    value = described[of].model_json_schema()
    return Outcome(value, lambda: show_json(value))


def doctor(*, output: Printing = Output()) -> Outcome:
    """`demosearch doctor`."""
    findings = library.examine()
    return Outcome([asdict(finding) for finding in findings], lambda: show_findings(findings))
