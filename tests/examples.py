"""Example data: a small valid demonstrations file."""

from __future__ import annotations

from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import (
    DemonstrationsFile,
    DevRecord,
    EstimateRecord,
    Ranked,
    SearchRecord,
)
from demosearch.models.records import ModelRecord
from demosearch.prompt import Prompt

JOCKEY = Demonstration(sentence="A jockey riding a horse.", word="Equestrian")


def demonstrations_file(
    model: ModelRecord | None = None, layer: int = 3, demonstration: Demonstration = JOCKEY
) -> DemonstrationsFile:
    """Return a demonstrations file with one prompt."""
    return DemonstrationsFile(
        model=model
        or ModelRecord(name="opt-125m", source="facebook/opt-125m", revision="", precision="fp32"),
        prompts=[Prompt(demonstrations=(demonstration,)).record(layer)],
        adapter=None,
        postprocess=None,
        demonstrations=[demonstration],
        dev=DevRecord(
            name="dev",
            pairs=20,
            sha256="0" * 64,
            spearman=70.5,
            baseline_spearman=65.25,
            gain_ci95=(2.0, 8.0),
        ),
        estimate=EstimateRecord(method="halves", gain=4.0, ci95=(1.0, 7.0), candidates=4),
        ranking=[Ranked(**demonstration.model_dump(), template="prompteol", spearman=70.5)],
        search=SearchRecord(
            strategy="race",
            seed=0,
            candidates=8,
            candidates_sha256="1" * 64,
            sentences_encoded=100,
            sentences_exhaustive=400,
            seconds=1.5,
        ),
        versions={"demosearch": "0"},
    )
