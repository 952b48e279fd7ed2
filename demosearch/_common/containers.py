"""Texts that a caller passes in a container: which containers are clear, and which are refused.

Iterating over some containers gives something else than their texts: the keys of a dictionary, the names
of a table's columns, the letters of a text, the numbers of bytes, the rows of a matrix. They would be
embedded without an error. All functions that take texts from a caller use this module.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, MappingView, Sequence, Set
from typing import Any

from demosearch.errors import UserError, short


def as_texts(texts: Iterable[str], name: str = "texts", *, ordered: bool = True) -> list[str]:
    """Return the texts of a list, tuple, Series, one-dimensional array, iterator or other container.

    Args:
        texts: what a caller passed.
        name: what the texts are called in messages.
        ordered: whether the order of the texts matters, so that a set is refused.

    Raises:
        UserError: the container is not a sequence of texts, or an item (whose row is named) is not a text.
    """
    return list(iterate_texts(texts, name, ordered=ordered))


def iterate_texts(
    texts: Iterable[str], name: str = "texts", *, ordered: bool = True
) -> Iterator[str]:
    """Return an iterator over texts; the container is checked at once, and each text when it is read.

    Raises:
        UserError: as `as_texts`.
    """
    check_container(texts, name, ordered=ordered)
    # Iterating over arrow's arrays gives scalars. Asked of the type, because a row may have this label.
    to_list = getattr(type(texts), "to_pylist", None)
    items: Iterable[Any] = to_list(texts) if to_list else texts
    return (_text(item, row, name) for row, item in enumerate(items, start=1))


def check_container(
    values: object, name: str = "texts", *, ordered: bool = True, items: str = "texts"
) -> None:
    """Check that a value is a container of texts, numbers or rows, without reading them.

    Args:
        values: what a caller passed.
        name: what the values are called in messages.
        ordered: whether the order of the values matters, so that a set is refused.
        items: the kind of the values.

    Raises:
        UserError: it is not.
    """
    if hint := _misleading(values, ordered=ordered):
        kind = type(values).__name__
        raise UserError(f"{name} must be a list of {items} but got a value of type {kind}; {hint}")


def as_scores(scores: Iterable[float], name: str) -> tuple[float, ...]:
    """Return scores as numbers of Python.

    Args:
        scores: what a caller passed.
        name: what the scores are called in messages.

    Raises:
        UserError: the container is not a sequence, or an item (whose row is named) is not a number.
    """
    check_container(scores, name, items="numbers")
    return tuple(_number(item, row, name) for row, item in enumerate(scores, start=1))


def as_rows(rows: Iterable[Sequence[str]], name: str = "rows") -> list[tuple[str, ...]]:
    """Return rows of texts, each of which is a tuple or a list.

    Args:
        rows: what a caller passed.
        name: what the rows are called in messages.

    Raises:
        UserError: the container is not a sequence of rows with the same number of texts.
    """
    if _is_table(rows):
        kind = type(rows).__name__
        raise UserError(
            f"{name} must be a list of tuples of texts but got a value of type {kind}; pass a list of its rows, each a tuple"
        )
    check_container(rows, name, items="tuples of texts")
    checked: list[tuple[str, ...]] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, (tuple, list)):
            raise UserError(
                f"row {number} of the {name} must be a tuple of texts but got {_described(row)}"
            )
        checked.append(tuple(as_texts(row, f"row {number} of the {name}")))
        if len(checked[-1]) != len(checked[0]):
            raise UserError(
                f"row {number} of the {name} must have as many texts as the first row"
                f" ({len(checked[0])}) but got {len(checked[-1])}"
            )
    return checked


def _misleading(value: object, *, ordered: bool) -> str | None:
    """Return what to pass instead of a container whose items are not its texts, in their order."""
    kind = type(value)
    if isinstance(value, str):
        return "its letters would be taken; pass a list with this text"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "decode it and pass a list"
    if isinstance(value, Mapping):
        return "its keys would be taken; pass a list of its values"
    if ordered and isinstance(value, Set) and not isinstance(value, MappingView):
        return "it has no order; pass a list"
    if isinstance(value, io.IOBase):
        return "read it first, without line ends, and pass a list"
    if getattr(value, "ndim", 1) == 0:
        return "pass a list"
    if _is_table(value):
        return "pass one column, e.g. table['text']"
    return None if hasattr(kind, "__iter__") or hasattr(kind, "__getitem__") else "pass a list"


def _is_table(value: object) -> bool:
    """Whether a value is a table of pandas, polars or arrow, or an array of several dimensions."""
    # The type is asked, because an entry of a Series may have this name.
    return hasattr(type(value), "columns") or getattr(value, "ndim", 1) > 1


def _text(item: object, row: int, name: str) -> str:
    if not isinstance(item, str):
        raise UserError(
            f"row {row} of the {name} must be a text but got {_described(item)}; remove the row or replace it"
        )
    if not item.isascii():
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"row {row} of the {name} must be valid Unicode but has half of a surrogate pair at character"
                f" {error.start + 1}; remove it"
            ) from None
    return item


def _number(item: object, row: int, name: str) -> float:
    # A number of NumPy prints as `np.float64(1.0)`, which would change the hash of pairs.
    number = item.item() if getattr(item, "ndim", None) == 0 and hasattr(item, "item") else item
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise UserError(f"row {row} of the {name} must be a number but got {_described(item)}")
    return number


def _described(value: object) -> str:
    """Return a value and its type for a message, e.g. `nan (float)`."""
    if value is None:
        return "None"
    return f"{short(repr(value))} ({type(value).__name__})"
