"""Scored pairs from the model hub."""

from __future__ import annotations

from demosearch._common.extras import missing_extra
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError, one_line

# STS-B with its original casing; its scores are from 0 to 1.
HUB_STSB = "sentence-transformers/stsb"


def read_hub_pairs(
    dataset: str, split: str, name: str, revision: str | None = None, scale: float = 1.0
) -> Pairs:
    """Read scored pairs of a data set with the columns `sentence1`, `sentence2` and `score`.

    Args:
        dataset: id of the data set.
        split: name of the split.
        name: name of the pairs in files and tables.
        revision: commit; None means the newest one.
        scale: factor of the scores.

    Raises:
        UserError: the data set cannot be downloaded, or its scores cannot be ranked.
    """
    try:
        # Imported here: the package is installed by the extra `hub`, and data are mostly read from files.
        import datasets
    except ImportError:
        raise missing_extra(f"'{name}' from the hub", "hub") from None
    try:
        table = datasets.load_dataset(dataset, split=split, revision=revision)
    except Exception as error:  # the client raises errors of many types
        raise UserError(
            f"cannot download {dataset} from the hub ({one_line(error, 200)}); set --data or"
            " DEMOSEARCH_DATA to a folder, or use a file"
        ) from error
    scores = tuple(scale * float(score) for score in table["score"])
    pairs = Pairs(name, tuple(table["sentence1"]), tuple(table["sentence2"]), scores)
    return pairs.check(dataset)
