"""The model card of an exported folder: what it is, where it comes from, and what it scores."""

from __future__ import annotations

from demosearch import __version__
from demosearch.demonstration import AdapterRecord, DemonstrationsFile
from demosearch.models import Precision
from demosearch.prompt import Prompt

_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- prompteol
---

# {name} with a searched prompt

Sentence embeddings from the {width}-dimensional state of a prompt's last token, layer {layer}, weights in {precision}.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
vectors = model.encode(["A cat sleeps.", "Dogs bark at night."])
```

Texts go in as they are: the tokenizer's chat template prepares them and puts them into the prompt.

```
{rendered}
```

## Where it comes from

- Weights: {source}, revision {revision}.
- Adapter: {adapter}.
- Demonstrations: {demonstrations}.
- Found by demosearch {version}: {strategy} over {candidates} candidates, seed {seed}.

## What it scores

Spearman's rank correlation x 100 of cosine similarities with gold scores, on the {pairs} pairs of {dev} that chose the prompt{without}:
{spearman:.2f}; without demonstration, at the last layer, {baseline:.2f}. The gain's 95% interval over the pairs is
[{low:+.2f}, {high:+.2f}]{metric}; it is not adjusted for the choice{estimate}.
"""


def model_card(
    file: DemonstrationsFile,
    prompt: Prompt,
    width: int,
    precision: Precision,
    adapter: AdapterRecord | None = None,
) -> str:
    """Return the card's text, Markdown with a YAML head; `adapter` is the one that is exported."""
    low, high = file.dev.gain_ci95
    estimate = ""
    if file.estimate:
        bounds = ", ".join(f"{end:+.2f}" for end in file.estimate.ci95)
        estimate = f". Corrected for it the gain is {file.estimate.gain:+.2f} [{bounds}]"
    return _CARD.format(
        name=file.model.name,
        width=width,
        layer=prompt.layer,
        precision=precision.value,
        rendered=prompt.render("..."),
        source=file.model.source,
        revision=file.model.revision or "unknown",
        adapter=f"{adapter.source}, revision {adapter.revision}" if adapter else "none",
        without="" if adapter == file.adapter else ", without the adapter above",
        demonstrations="; ".join(f"{one.sentence} -> {one.word}" for one in prompt.demonstrations)
        or "none",
        version=__version__,
        strategy=file.search.strategy,
        candidates=file.search.candidates,
        seed=file.search.seed,
        pairs=file.dev.pairs,
        dev=file.dev.name,
        spearman=file.dev.spearman,
        baseline=file.dev.baseline_spearman,
        metric="" if file.dev.score is None else f" in {file.search.metric}",
        low=low,
        high=high,
        estimate=estimate,
    )
