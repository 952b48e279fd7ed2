"""Post-processing: maps that are applied to embeddings at the end, learned without labels.

- Soft whitening normalizes an embedding, subtracts the mean of unlabeled texts' normalized embeddings,
  and shrinks the directions in which these vary most. Exponent 0 is centering, and 0.5 with a ridge of 0 is
  full whitening (Su et al., arXiv 2103.15316).
- EmbFilter keeps the middle right singular vectors of the unembedding matrix (arXiv 2606.07502) and
  needs no texts.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError

from demosearch._common.containers import as_texts
from demosearch._common.files import atomic_write
from demosearch._common.vectors import normalized
from demosearch.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Exponents and ridges of soft whitening among which a search selects; (0, 0) is centering.
WHITENINGS = (
    (0.0, 0.0),
    (0.15, 0.01),
    (0.25, 0.01),
    (0.25, 0.1),
    (0.35, 0.01),
    (0.35, 0.1),
    (0.5, 0.1),
)
# The settings that are good for most models (docs/search.md).
EXPONENT, RIDGE = 0.25, 0.01
# Widths of an embedding divided by the widths that EmbFilter keeps.
RATIOS = (1.1, 1.25, 1.5, 2.0)
# With fewer texts for each dimension, the covariance is poorly estimated.
TEXTS_PER_DIMENSION = 3
_MEAN, _MATRIX, _TEXTS = "mean", "matrix", "texts"


class Kind(StrEnum):
    """What is done to an embedding."""

    WHITEN = "whiten"
    EMBFILTER = "embfilter"
    # Written by earlier versions: a mean is subtracted from the embedding as it is.
    CENTER = "center"


class PostprocessRecord(BaseModel):
    """What is done to an embedding at the end; its arrays are in a safetensors file beside."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Kind = Field(
        description="whiten: soft whitening of normalized embeddings; embfilter: projection onto"
        " the middle singular vectors of the unembedding; center (earlier versions): a mean is"
        " subtracted"
    )
    fitted_on: str | None = Field(
        None, description="the unlabeled texts; null for embfilter, which needs none"
    )
    texts: int | None = Field(None, ge=1, description="number of texts")
    exponent: float | None = Field(None, ge=0, le=1, description="of whitening; 0 is centering")
    ridge: float | None = Field(
        None, ge=0, description="of whitening, as a multiple of the mean eigenvalue"
    )
    ratio: float | None = Field(
        None, ge=1, description="of embfilter: width of the model divided by the width kept"
    )
    refitted: bool = Field(
        False, description="fitted again after the search, so the scores in the file are not its"
    )
    sha256: str = Field(description="of the arrays' bytes, float32")

    @property
    def whitening(self) -> tuple[float, float]:
        """Exponent and ridge of whitening."""
        return self.exponent or 0.0, self.ridge or 0.0

    @property
    def label(self) -> str:
        """The post-processing in a few words, as tables show it."""
        if self.kind == Kind.EMBFILTER:
            return f"embfilter, ratio {self.ratio:g}"
        if self.kind == Kind.CENTER or not self.exponent:
            return "centered"
        return f"whitened, exponent {self.exponent:g}, ridge {self.ridge:g}"


@dataclass(frozen=True, slots=True, eq=False)
class Postprocess:
    """A map of embeddings.

    Attributes:
        record: kind and settings.
        mean: float32 (width,); None for EmbFilter.
        matrix: float32 (width, output width); None if a mean is subtracted only.
        texts: 64-bit hashes of the texts that it was fitted on, uint64 (texts,); they show whether the
            texts of a task are among them.

    Raises:
        UserError: a value of the mean or the matrix is not finite.
    """

    record: PostprocessRecord
    mean: NDArray[np.float32] | None
    matrix: NDArray[np.float32] | None
    texts: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        for name, array in ((_MEAN, self.mean), (_MATRIX, self.matrix)):
            if array is not None and not np.isfinite(array).all():
                raise UserError(
                    f"the {name} of post-processing must be finite but has a value that is infinite or not"
                    " a number; fit it again"
                )

    def __eq__(self, other: object) -> bool:
        # The record holds a hash of the arrays.
        return isinstance(other, Postprocess) and self.record == other.record

    def __hash__(self) -> int:
        return hash(self.record)

    @property
    def width(self) -> int:
        """Width of the embeddings that it takes."""
        arrays = (array for array in (self.mean, self.matrix) if array is not None)
        return int(next(arrays).shape[0])

    @property
    def normalizes(self) -> bool:
        """Whether embeddings are scaled to length 1 before anything else."""
        return self.record.kind != Kind.CENTER

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mapped embeddings, float32 (n, output width), not normalized.

        Raises:
            UserError: the embeddings have another width.
        """
        if embeddings.shape[-1] != self.width:
            raise UserError(
                f"post-processing was fitted on embeddings of width {self.width} but got width"
                f" {embeddings.shape[-1]}; use the layer and model that it was fitted for"
            )
        rows = embeddings
        if self.normalizes:
            rows = normalized(rows)
        if self.mean is not None:
            rows = rows - self.mean
        if self.matrix is not None:
            rows = rows @ self.matrix
        return np.asarray(rows, dtype=np.float32)

    def write(self, path: Path) -> None:
        """Write arrays and settings to a safetensors file, atomically."""
        arrays = {
            name: np.ascontiguousarray(array)
            for name, array in (
                (_MEAN, self.mean),
                (_MATRIX, self.matrix),
                (_TEXTS, self.texts),
            )
            if array is not None
        }
        metadata = {"postprocess": self.record.model_dump_json()}
        with atomic_write(path, "wb") as file:
            file.write(safetensors.numpy.save(arrays, metadata))

    @classmethod
    def read(cls, path: Path, record: PostprocessRecord) -> Postprocess:
        """Read the arrays of a record.

        Raises:
            UserError: the file cannot be read, is not the one that belongs to the record, or has a
                value that is not finite.
        """
        try:
            arrays = safetensors.numpy.load(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"cannot read {path}, which must be beside the demonstrations file:"
                f" {error.strerror or error}"
            ) from error
        except SafetensorError as error:
            raise UserError(f"{path} is not a safetensors file: {error}") from error
        mean, matrix = arrays.get(_MEAN), arrays.get(_MATRIX)
        if arrays_sha256(mean, matrix) != record.sha256:
            raise UserError(
                f"{path} belongs to a different demonstrations file; copy the two files together"
            )
        try:
            return cls(record, mean, matrix, arrays.get(_TEXTS))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Unlabeled:
    """Unlabeled texts that post-processing is fitted on.

    Attributes:
        name: name of the texts in the demonstrations file.
        texts: the distinct texts, at least one.

    Raises:
        UserError: there are no texts, or one is not a text.
    """

    name: str
    texts: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", as_texts(self.texts, f"texts of {self.name}"))
        if not self.texts:
            raise UserError(f"{self.name} must contain at least one text to fit post-processing on")

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """The hashes of the texts; see `text_hashes`."""
        return text_hashes(self.texts)

    def warn_if_few(self, width: int) -> None:
        """Log a warning if there are too few texts for whitening embeddings of a width."""
        recommended = TEXTS_PER_DIMENSION * width
        if len(self.texts) < recommended:
            logger.warning(
                "whitening: %s has %d texts for %d dimensions; at least %d are recommended",
                self.name,
                len(self.texts),
                width,
                recommended,
            )


class Whitening:
    """The distribution of normalized embeddings, from which whitening with any settings follows.

    Args:
        embeddings: of the unlabeled texts, (texts, width).
        unlabeled: the texts.
    """

    def __init__(self, embeddings: NDArray[np.float32], unlabeled: Unlabeled) -> None:
        rows = embeddings.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths == 0, 1, lengths)
        self._mean = rows.mean(axis=0)
        rows -= self._mean
        variances, self._directions = np.linalg.eigh(rows.T @ rows / len(rows))
        self._variances = np.maximum(variances, 0)
        self._unlabeled = unlabeled

    def map(self, exponent: float = EXPONENT, ridge: float = RIDGE) -> Postprocess:
        """Return soft whitening: `(x / |x| - mean) U diag((variances + ridge * their mean)^-exponent) U'`.

        Args:
            exponent: 0 is centering, 0.5 full whitening.
            ridge: added to the variances, as a multiple of their mean.
        """
        mean = self._mean.astype(np.float32)
        matrix = None
        if exponent:
            floor = max(ridge * self._variances.mean(), np.finfo(np.float64).tiny)
            scales = (self._variances + floor) ** -exponent
            # The scale as a whole does not change a cosine; this keeps the numbers near 1.
            scales /= scales.mean()
            matrix = ((self._directions * scales) @ self._directions.T).astype(np.float32)
        record = PostprocessRecord(
            kind=Kind.WHITEN,
            fitted_on=self._unlabeled.name,
            texts=len(self._unlabeled.texts),
            exponent=exponent,
            ridge=ridge,
            sha256=arrays_sha256(mean, matrix),
        )
        return Postprocess(record, mean, matrix, self._unlabeled.hashes)


class EmbFilter:
    """The right singular vectors of the unembedding matrix, from which every projection follows.

    Args:
        unembedding: float32 (vocabulary, width).

    Raises:
        UserError: a value of the matrix is not finite.
    """

    def __init__(self, unembedding: NDArray[np.float32]) -> None:
        if not np.isfinite(unembedding).all():
            raise UserError(
                "the unembedding matrix of the model has a value that is not finite; leave embfilter out"
                " of postprocess"
            )
        # The eigenvectors of the Gram matrix, from the smallest eigenvalue to the largest, are the right
        # singular vectors; the order does not matter for the middle.
        gram = unembedding.T.astype(np.float64) @ unembedding.astype(np.float64)
        _, self._vectors = np.linalg.eigh(gram)

    def map(self, ratio: float) -> Postprocess:
        """Return the projection onto the middle vectors.

        Args:
            ratio: width divided by the number of vectors that are kept.
        """
        width = len(self._vectors)
        kept = round(width / ratio)
        start = (width - kept) // 2
        matrix = np.ascontiguousarray(self._vectors[:, start : start + kept], dtype=np.float32)
        record = PostprocessRecord(
            kind=Kind.EMBFILTER, ratio=ratio, sha256=arrays_sha256(None, matrix)
        )
        return Postprocess(record, None, matrix)


def arrays_sha256(mean: NDArray[np.float32] | None, matrix: NDArray[np.float32] | None) -> str:
    """Return the hex digest of the arrays of a map, as float32."""
    digest = hashlib.sha256()
    for array in (mean, matrix):
        if array is not None:
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def text_hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each text, without regard to case, punctuation and spaces."""
    keys = ("".join(filter(str.isalnum, text)).lower() for text in texts)
    return np.array(
        [int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") for key in keys],
        dtype=np.uint64,
    )
