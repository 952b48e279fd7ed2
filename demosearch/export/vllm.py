"""Export of a folder that vLLM serves as an embedding model, with instructions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demosearch.errors import UserError
from demosearch.export.folder import Exported, export_sentence_transformer, exported_precision
from demosearch.export.source import read_source
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions
from demosearch.models.precision import default_device, dtype_name, dtype_of
from demosearch.models.source import read_config

SERVING_FILE = "SERVING.md"
_POOLER = json.dumps({"pooling_type": "LAST", "use_activation": False})
_SERVING = """\
# Serving with vLLM

These commands follow vLLM's documentation of pooling models. They have not been tested with vLLM.

    vllm serve {folder} --runner pooling --convert embed --dtype {dtype} --enable-prefix-caching --pooler-config '{pooler}'

The prompt is the tokenizer's chat template, which the server applies to messages only. Send `messages`, not `input`.

    curl http://localhost:8000/v1/embeddings -H 'Content-Type: application/json' -d '{request}'

The demonstrations come before the text, so that prefix caching computes them once for all requests. Embeddings are not normalized
(`use_activation`), which does not change their cosine similarity.
"""


def export_vllm(
    demonstrations: str | Path,
    out: str | Path,
    options: LoadOptions | None = None,
    *,
    model: str | None = None,
    merge: bool = False,
    **keywords: Any,
) -> Exported:
    """Write a folder for vLLM: that of `export_sentence_transformer`, and `SERVING.md`.

    Args:
        demonstrations: a `demonstrations.json` with one prompt at the last layer, the folder of an
            adapter that `finetune` wrote, or `"paper"` or `"best"`.
        out: a new or empty folder.
        options: see `export_sentence_transformer`.
        model: where the weights are, if not where the file says; with `"paper"` or `"best"`, the model.
        merge: merge the adapter into the weights, which vLLM requires.
        **keywords: fields of `LoadOptions`.

    Raises:
        UserError: see `export_sentence_transformer`; also for an inner layer, or an adapter that is not
            merged.
    """
    options = LoadOptions.of(options, **keywords)
    source = read_source(demonstrations, model)
    if (options.adapter or source.adapter) and not merge:
        raise UserError("--to vllm requires merged weights; add --merge to merge the adapter")
    if source.postprocess is not None:
        raise UserError(
            "--to vllm serves plain embeddings only but these are post-processed"
            f" ({source.postprocess.record.label}); use --to sentence-transformers, or search"
            " without --postprocess"
        )
    config, _ = read_config(resolve(model or source.model.name))
    layer, layers = source.prompt.layer, config.num_hidden_layers
    if layer not in (None, layers):
        raise UserError(
            f"--to vllm serves the last layer only but this prompt uses layer {layer} of {layers};"
            " search with --layer last"
        )
    exported = export_sentence_transformer(demonstrations, out, options, model=model, merge=merge)
    message = {"role": "user", "content": "A cat sleeps"}
    request = json.dumps({"model": str(out), "messages": [message]})
    # By default vLLM serves 32-bit weights in 16 bits.
    dtype = dtype_name(
        dtype_of(exported_precision(options, source, demonstrations), default_device())
    )
    text = _SERVING.format(folder=out, dtype=dtype, pooler=_POOLER, request=request)
    (exported.folder / SERVING_FILE).write_text(text, encoding="utf-8")
    return exported
