"""A folder that vLLM serves as an embedding model, with the command and the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demosearch.errors import UserError
from demosearch.export.folder import Exported, export_sentence_transformer
from demosearch.export.made import read_made
from demosearch.models.known import Precision, resolve
from demosearch.models.precision import default_device, dtype_name, dtype_of
from demosearch.models.source import read_config

SERVING_FILE = "SERVING.md"
_POOLER = json.dumps({"pooling_type": "LAST", "use_activation": False})
_SERVING = """\
# Serving with vLLM

These commands follow vLLM's documentation of pooling models; they have not been run by the tool that wrote this file.

    vllm serve {folder} --runner pooling --convert embed --dtype {dtype} --enable-prefix-caching --pooler-config '{pooler}'

The prompt is the tokenizer's chat template, which the server applies to messages only: send `messages`, not `input`.

    curl http://localhost:8000/v1/embeddings -H 'Content-Type: application/json' -d '{request}'

The demonstrations stand before the text, so prefix caching computes them once for all requests. Embeddings are not normalised
(`use_activation`); cosine similarity does not mind.
"""


def export_vllm(demonstrations: str | Path, out: str | Path, **options: Any) -> Exported:
    """Write a folder for vLLM: as `export_sentence_transformer`, and `SERVING.md`.

    Args:
        demonstrations: a `demonstrations.json` with one prompt at the last layer, or an adapter's
            folder as `finetune` writes it.
        out: a folder that is not there yet, or empty.
        **options: as `export_sentence_transformer` has them.

    Raises:
        UserError: as there; also an earlier layer, or an adapter that is not merged.
    """
    made = read_made(demonstrations)
    if (options.get("adapter") or made.adapter) and not options.get("merge"):
        raise UserError("--to vllm: the adapter has to be part of the weights; say --merge")
    config, _ = read_config(resolve(options.get("model") or made.model.name))
    layer, layers = made.prompt.layer, config.num_hidden_layers
    if layer not in (None, layers):
        raise UserError(
            f"--to vllm: it serves the last layer's states, this prompt takes layer {layer} of"
            f" {layers}"
        )
    exported = export_sentence_transformer(demonstrations, out, **options)
    message = {"role": "user", "content": "A cat sleeps"}
    request = json.dumps({"model": str(out), "messages": [message]})
    # Left to itself it serves 32-bit weights in 16 bits.
    precision = Precision(options.get("precision") or made.model.precision)
    dtype = dtype_name(dtype_of(precision, default_device()))
    text = _SERVING.format(folder=out, dtype=dtype, pooler=_POOLER, request=request)
    (exported.folder / SERVING_FILE).write_text(text, encoding="utf-8")
    return exported
