"""Embedding files of any length in constant memory."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from demosearch._common.containers import iterate_texts
from demosearch._common.files import atomic_write, sha256
from demosearch._common.progress import bar
from demosearch._common.vectors import ZEROS_STAY, normalized, zero_rows
from demosearch.errors import NotFiniteError, UserError
from demosearch.models.finite import checked

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from demosearch.embedder import Embedder

logger = logging.getLogger(__name__)

# Texts in a chunk: enough for batches of similar length, and few enough to fit into memory and to repeat
# after a kill, which takes half a minute with a small model on two cores.
CHUNK = 1024


def check_output(path: str | Path) -> Path:
    """Return the output path.

    Raises:
        UserError: files with this suffix cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise UserError(
            f"--out must end in {' or '.join(_WRITERS)} but got {path}; change the file name"
        )
    return path


def embed_file(
    embedder: Embedder,
    texts: Iterable[str],
    output: str | Path,
    *,
    normalize_embeddings: bool = False,
    postprocess: bool = True,
    show_progress: bool = False,
) -> int:
    """Embed texts into a `.npy` or `.parquet` file, which is created only when it is complete.

    Until then, finished chunks are kept in a folder beside the output. Their file names are hashes of the
    texts and of everything that determines the embeddings. A call with the same arguments reuses them.

    Args:
        embedder: computes the embeddings.
        texts: any number of texts; they are read in chunks.
        output: a `.npy` file holds float32 (n, width), a `.parquet` file the columns `text` and
            `embedding`.
        normalize_embeddings: scale every row to length 1.
        postprocess: whether the embedder's post-processing is applied.
        show_progress: show a progress bar on standard error.

    Returns:
        The number of embedded texts.

    Raises:
        UserError: the suffix of the output is unknown, the output cannot be written, there are no
            texts, an item is not a text, or an embedding is not finite (the row is named).
    """
    output = check_output(output)
    writer = _WRITERS[output.suffix.lower()]
    parts = output.with_name(f".{output.name}.parts")
    described = embedder.describe()
    keywords: dict[str, Any] = {}
    if not postprocess and getattr(embedder, "postprocess", None) is not None:
        keywords["postprocess"] = False
        described.pop("postprocess")
    settings = json.dumps([described, normalize_embeddings], sort_keys=True)
    stream = iterate_texts(texts)
    finished: list[Path] = []
    count = 0
    with bar("embedding", None, show=show_progress) as progress:
        while chunk := list(islice(stream, CHUNK)):
            part = parts / f"{len(finished):06d}-{sha256([settings, *chunk])[:24]}{output.suffix}"
            if not part.exists():
                try:
                    rows = embedder.encode(chunk, **keywords)
                    rows = checked(rows, chunk, described["model"]["precision"])
                except NotFiniteError as error:
                    raise error.in_row(count + (error.row or 0)) from None
                if normalize_embeddings:
                    # Here and not by the embedder, which does not know the rows of the file.
                    rows = normalized(rows)
                with atomic_write(part, "wb") as file, closing(writer(file)) as chunk_writer:
                    chunk_writer.write(chunk, rows)
            finished.append(part)
            count += len(chunk)
            progress.advance(len(chunk))
    if not count:
        raise UserError("there are no texts to embed; give at least one")
    with atomic_write(output, "wb") as file, closing(writer(file)) as output_writer:
        zeros: list[int] = []
        begin = 0
        for part in finished:
            # Counted here, because an earlier call may have computed the part.
            rows = output_writer.append(part)
            zeros += [begin + int(row) for row in zero_rows(rows)]
            begin += len(rows)
    if normalize_embeddings and zeros:
        logger.warning(ZEROS_STAY, len(zeros), count, zeros[0] + 1)
    shutil.rmtree(parts)
    return count


class _NpyWriter:
    """Appends rows after a header that is rewritten when their number is known."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0
        self._width = 0

    def write(self, texts: list[str], rows: NDArray[np.float32]) -> None:
        del texts
        if not self._rows:
            self._width = rows.shape[1]
            self._header()
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._rows += len(rows)

    def append(self, part: Path) -> NDArray[np.float32]:
        """Append the rows of another file of this format, and return them."""
        rows: NDArray[np.float32] = np.load(part, mmap_mode="r", allow_pickle=False)
        self.write([], rows)
        return rows

    def close(self) -> None:
        self._file.seek(0)
        self._header()

    def _header(self) -> None:
        # NumPy reserves space in the header for the first axis to grow, so its length does not change.
        shape = (self._rows, self._width)
        description = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, description)


class _ParquetWriter:
    """Writes one row group for each chunk: the texts, and the embeddings as fixed-size lists."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, texts: list[str], rows: NDArray[np.float32]) -> None:
        import pyarrow

        vectors = pyarrow.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])
        self._append(pyarrow.table({"text": pyarrow.array(texts), "embedding": vectors}))

    def append(self, part: Path) -> NDArray[np.float32]:
        """Append the rows of another file of this format, and return them."""
        from pyarrow import parquet

        table = parquet.read_table(part)
        self._append(table)
        values = table["embedding"].combine_chunks().flatten().to_numpy()
        return np.asarray(values).reshape(table.num_rows, -1)

    def _append(self, table: pyarrow.Table) -> None:
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


_WRITERS: dict[str, type[_NpyWriter | _ParquetWriter]] = {
    ".npy": _NpyWriter,
    ".parquet": _ParquetWriter,
}
