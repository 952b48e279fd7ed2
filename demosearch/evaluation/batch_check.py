"""Whether a text has the same embedding in a batch as alone.

Padding on the left shifts the absolute positions of BERT, and some types read the padding (FNet has no
attention mask, ConvBERT's convolutions cross it). Such models are given one text at a time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.progress import quiet_transformers

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

# Of sentence-transformers.
BATCH_SIZE = 32
# Numbers of words.
_WORDS = (3, 60, 300)
# Largest relative distance between two embeddings of one text. Rounding reaches 1e-5 in float32 and 1e-2 in
# 16 bits; a shift by one position is larger.
_TOLERANCE, _TOLERANCE_OF_16_BITS = 1e-4, 2e-2


def find_batch_size(model: SentenceTransformer, name: str) -> int:
    """Return the number of texts of a batch: 1 if the embedding of a text depends on the others."""
    # Different words, because attention over equal ones is the same in any window.
    short, middle, long = (" ".join(map(str, range(words))) for words in _WORDS)
    with quiet_transformers():
        alone = [_encode(model, [text])[0] for text in (short, middle)]
        together = _encode(model, [short, middle, long])
    tolerance = _TOLERANCE_OF_16_BITS if model.dtype.itemsize < 4 else _TOLERANCE
    near = all(
        np.linalg.norm(left - right) <= tolerance * np.linalg.norm(left)
        for left, right in zip(alone, together, strict=False)
    )
    if near:
        return BATCH_SIZE
    logger.warning(
        "model '%s' is given one text at a time, which is slower, because its embeddings depend on the"
        " padding of a batch",
        name,
    )
    return 1


def limit_positions(transformer: Any) -> None:
    """Set a maximum number of tokens that does not exceed the table of positions.

    RoBERTa's positions begin behind the padding's index, so that its table has two more rows than a
    text may have tokens; sentence-transformers takes the size of the table if the tokenizer has no
    maximum of its own.
    """
    embeddings = getattr(transformer.auto_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    # Here, because options are checked before torch is imported.
    import torch

    if not isinstance(table, torch.nn.Embedding):
        return
    # Tables of RoBERTa mark the index of the padding, those of BERT mark none.
    begin = 0 if table.padding_idx is None else table.padding_idx + 1
    limit = table.num_embeddings - begin
    if (transformer.max_seq_length or limit + 1) > limit:
        transformer.max_seq_length = limit


def _encode(model: SentenceTransformer, texts: list[str]) -> Any:
    return np.asarray(model.encode(texts, show_progress_bar=False), dtype=np.float32)
