"""Post-processing as modules of sentence-transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from demosearch.export.source import ExportSource


def postprocess_modules(source: ExportSource) -> list[Any]:
    """Return the modules behind the pooling: none, or a normalization and a dense layer.

    The dense layer computes `x W - mean W`, which is `(x - mean) W`, in float32.
    """
    # Here, because it imports torch.
    import torch
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Normalize

    postprocess = source.postprocess
    if postprocess is None:
        return []
    matrix = postprocess.matrix
    if matrix is None:
        matrix = np.eye(postprocess.width, dtype=np.float32)
    dense = Dense(*matrix.shape, bias=True, activation_function=torch.nn.Identity())
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(matrix.T)))
        bias = np.zeros(matrix.shape[1])
        if postprocess.mean is not None:
            bias = -(postprocess.mean.astype(np.float64) @ matrix.astype(np.float64))
        dense.linear.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
    return [*([Normalize()] if postprocess.normalizes else []), dense]
