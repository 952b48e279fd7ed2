"""`demosearch embed`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from demosearch._common.files import check_writable
from demosearch.bulk import check_output, embed_file
from demosearch.cli.options import (
    DATA,
    MODEL,
    OUTPUT,
    Loading,
    ModelOptions,
    Output,
    Printing,
    flattened,
)
from demosearch.cli.outcome import Outcome
from demosearch.cli.system import open_embedder, read_demonstrations
from demosearch.datasets.texts import STDIN, check_input, read_texts
from demosearch.models.options import LoadOptions

logger = logging.getLogger(__name__)


def _source(_: type, tokens: Sequence[Token]) -> str:
    """Return the input; `-` is the only one that begins with a hyphen."""
    (token,) = tokens
    if token.value.startswith("-") and token.value != STDIN:
        raise ValueError(f"must be a file or - but got {token.value}")
    return token.value


def embed(
    source: Annotated[
        str,
        Parameter(
            name="INPUT",
            converter=_source,
            allow_leading_hyphen=True,
            help="text, CSV, TSV, JSONL or parquet file, or - for standard input",
        ),
    ],
    /,
    *,
    out: Annotated[Path, Parameter(group=OUTPUT, help="file to write: .npy or .parquet")],
    column: Annotated[
        str | None,
        Parameter(group=DATA, help="column that holds the text; default: text or sentence"),
    ] = None,
    normalize: Annotated[
        bool, Parameter(group=OUTPUT, help="scale each embedding to length 1")
    ] = False,
    postprocess: Annotated[
        bool,
        Parameter(
            group=OUTPUT,
            negative="--no-postprocess",
            help="apply the post-processing of the demonstrations file; leave it out for classifiers",
        ),
    ] = True,
    model: Annotated[ModelOptions, flattened(MODEL)] = ModelOptions(),
    load: Loading = LoadOptions(),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch embed`."""
    check_writable(check_output(out))
    check_input(source)
    embedder = open_embedder(model, load, read_demonstrations(model))
    count = embed_file(
        embedder,
        read_texts(source, column),
        out,
        normalize_embeddings=normalize,
        postprocess=postprocess,
        show_progress=output.progress,
    )
    logger.info("%d texts embedded into %s", count, out)
    return Outcome({"file": str(out), "texts": count}, lambda: None)
