"""The unembedding matrix of a model, whose language-model head is not loaded for encoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import cached_file

from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.models.source import weights_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"
# Names of the matrix in transformers' models; some are behind a prefix.
_NAMES = ("lm_head.weight", "embed_out.weight", "output.weight")


def read_unembedding(model: PreTrainedModel, name: str) -> NDArray[np.float32]:
    """Return the matrix that turns the last state into logits, float32 (vocabulary, width).

    Args:
        model: the base model.
        name: known name, hub id, folder or GGUF file of the weights.

    Raises:
        UserError: the matrix is not tied to the input embeddings, and is not in a safetensors file.
    """
    if getattr(model.config, "tie_word_embeddings", False):
        weight = model.get_input_embeddings().weight
        return np.asarray(weight.detach().float().cpu(), dtype=np.float32)
    path, _ = weights_path(resolve(name), model.dtype)
    for file in _files(path):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a dictionary
                if key.endswith(_NAMES):
                    matrix: torch.Tensor = tensors.get_tensor(key)
                    return np.asarray(matrix.float(), dtype=np.float32)
    raise UserError(
        f"embfilter requires the unembedding matrix of '{name}' in a safetensors file but found none;"
        " leave embfilter out of postprocess"
    )


def _files(path: str) -> list[Path]:
    """Return the safetensors files of a folder or of a model in the hub's cache."""
    for name in (_INDEX, _WEIGHTS):
        found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
        if found is not None:
            return sorted(Path(found).parent.glob("*.safetensors"))
    return []
