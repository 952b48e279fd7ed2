"""The model card of an exported folder: contents, origin and scores."""

from __future__ import annotations

from demosearch import __version__
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.export.source import ExportSource
from demosearch.finetune.training_record import Training
from demosearch.known_demonstrations import KnownDemonstrations
from demosearch.models.known import KNOWN_MODELS, Precision
from demosearch.models.records import AdapterRecord

_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- prompteol
---

# {name} {kind}

Sentence embeddings from the {width}-dimensional state of a prompt's last token, layer {layer}, weights in {precision}.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
vectors = model.encode(["A cat sleeps.", "Dogs bark at night."])
```

Pass texts as they are. The tokenizer's chat template prepares them and inserts them into the prompt:

```
{rendered}
```

`encode_query` and `encode_document` return the vectors of `encode`. `prompt=` is not required; its text is put before each text.

## Origin

- Weights: {source}, revision {revision}{license}.
- Adapter: {adapter}.
- Demonstrations: {demonstrations}.
{origin}
"""
_SEARCHED = """\
- Searched with demosearch {version}: {strategy} over {candidates} candidates, seed {seed}.

## Scores

Spearman's rank correlation x 100 of cosine similarities and gold scores, on the {pairs} development pairs of {dev} on which the prompt was
chosen{differences}: {spearman:.2f}. Without demonstrations, at the last layer: {baseline:.2f}. The 95% interval of the gain over the pairs is
[{low:+.2f}, {high:+.2f}]{metric}. It is not adjusted for the choice{estimate}.
"""
_KNOWN = """\
- Chosen for {model} on {dev}. Source: {source}.
"""
_TRAINED = """\
- Trained with demosearch {version} on {rows} rows (sha256 {sha256}), {steps} steps of {batch}, weights in {precision}.

## Scores

{scores}
"""


def model_card(
    source: ExportSource, width: int, precision: Precision, adapter: AdapterRecord | None = None
) -> str:
    """Return the card's text, Markdown with a YAML head; `adapter` is the exported one."""
    origin, prompt = source.origin, source.prompt
    row = KNOWN_MODELS.get(source.model.name)
    return (
        _CARD.format(
            name=source.model.name,
            kind="fine-tuned as a sentence encoder"
            if isinstance(origin, Training)
            else "with a searched prompt",
            width=width,
            layer=prompt.layer,
            precision=precision.value,
            rendered=prompt.render("..."),
            source=source.model.source,
            revision=source.model.revision or "unknown",
            license=f", license: {row.license}" if row and row.license else "",
            adapter=f"{adapter.source}, revision {adapter.revision}" if adapter else "none",
            demonstrations="; ".join(
                f"{demonstration.sentence} -> {demonstration.word}"
                for demonstration in prompt.demonstrations
            )
            or "none",
            origin=_origin(origin, precision, adapter),
        ).rstrip("\n")
        + "\n"
    )


def _origin(
    origin: DemonstrationsFile | Training | KnownDemonstrations,
    precision: Precision,
    adapter: AdapterRecord | None,
) -> str:
    if isinstance(origin, DemonstrationsFile):
        return _searched(origin, precision, adapter)
    if isinstance(origin, Training):
        return _trained(origin)
    return _KNOWN.format(model=origin.model, dev=origin.dev, source=origin.source)


def _searched(file: DemonstrationsFile, precision: Precision, adapter: AdapterRecord | None) -> str:
    low, high = file.dev.gain_ci95
    estimate = ""
    if file.estimate:
        bounds = ", ".join(f"{end:+.2f}" for end in file.estimate.ci95)
        estimate = f". Corrected for the choice, the gain is {file.estimate.gain:+.2f} [{bounds}]"
    return _SEARCHED.format(
        version=__version__,
        strategy=file.search.strategy,
        candidates=file.search.candidates,
        seed=file.search.seed,
        pairs=file.dev.pairs,
        dev=file.dev.name,
        differences=_differences(file, precision, adapter),
        spearman=file.dev.spearman,
        baseline=file.dev.baseline_spearman,
        metric="" if file.dev.score is None else f" in {file.search.metric}",
        low=low,
        high=high,
        estimate=estimate,
    )


def _trained(training: Training) -> str:
    scores = "The adapter was not evaluated."
    if training.dev_after is not None:
        scores = (
            "Spearman's rank correlation x 100 of cosine similarities and gold scores, on the development"
            f" pairs of {training.dev} on which the step was chosen: {training.dev_after:.2f}. Before"
            f" training: {training.dev_before:.2f}. Weights in {training.precision}."
        )
    return _TRAINED.format(
        version=training.versions.get("demosearch", "?"),
        rows=training.rows,
        sha256=training.rows_sha256,
        steps=training.steps,
        batch=training.settings.batch_size,
        precision=training.precision,
        scores=scores,
    )


def _differences(
    file: DemonstrationsFile, precision: Precision, adapter: AdapterRecord | None
) -> str:
    """Return how the scored weights differ from the exported ones."""
    differences = [] if adapter == file.adapter else ["without the adapter above"]
    if precision.value != file.model.precision:
        differences.append(f"with weights in {file.model.precision}")
    return "".join(f", {difference}" for difference in differences)
