"""A folder that vLLM serves as an embedding model, with the command and the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demosearch.demonstration import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.checks import only_prompt
from demosearch.export.folder import Exported, export_sentence_transformer
from demosearch.loading import read_config
from demosearch.models import resolve

SERVING_FILE = "SERVING.md"
_POOLER = json.dumps({"pooling_type": "LAST", "use_activation": False})
_SERVING = """\
# Serving with vLLM

These commands follow vLLM's documentation of pooling models; they have not been run by the tool that wrote this file.

    vllm serve {folder} --runner pooling --convert embed --enable-prefix-caching --pooler-config '{pooler}'

The prompt is the tokenizer's chat template, which the server applies to messages only: send `messages`, not `input`.

    curl http://localhost:8000/v1/embeddings -H 'Content-Type: application/json' -d '{request}'

The demonstrations stand before the text, so prefix caching computes them once for all requests. Embeddings are not normalised
(`use_activation`); cosine similarity does not mind.
"""


def export_vllm(demonstrations: str | Path, out: str | Path, **options: Any) -> Exported:
    """Write a folder for vLLM: as `export_sentence_transformer`, and `SERVING.md`.

    Args:
        demonstrations: a `demonstrations.json` with one prompt at the last layer.
        out: a folder that is not there yet, or empty.
        **options: as `export_sentence_transformer` has them.

    Raises:
        UserError: as there; also an earlier layer, or an adapter that is not merged.
    """
    file = DemonstrationsFile.read(demonstrations)
    if (options.get("adapter") or file.adapter) and not options.get("merge"):
        raise UserError("--to vllm: the adapter has to be part of the weights; say --merge")
    config, _ = read_config(resolve(options.get("model") or file.model.name))
    layer, layers = only_prompt(file).layer, config.num_hidden_layers
    if layer not in (None, layers):
        raise UserError(
            f"--to vllm: it serves the last layer's states, this prompt takes layer {layer} of"
            f" {layers}"
        )
    exported = export_sentence_transformer(demonstrations, out, **options)
    message = {"role": "user", "content": "A cat sleeps"}
    request = json.dumps({"model": str(out), "messages": [message]})
    text = _SERVING.format(folder=out, pooler=_POOLER, request=request)
    (exported.folder / SERVING_FILE).write_text(text, encoding="utf-8")
    return exported
