"""Labelled texts, or labelled pairs of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from demosearch._common.files import sha256
from demosearch.errors import UserError

# Ten folds need an example each.
FEWEST_EXAMPLES = 10


@dataclass(frozen=True)
class Examples:
    """One part of a classification task.

    Attributes:
        texts: the texts.
        labels: a class index each, from 0.
        others: the second text of each example where pairs are classified, else None.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    others: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """Hash of all texts and labels in order."""
        columns = [self.texts, self.others or self.texts, self.labels]
        return sha256(f"{a}\x1f{b}\x1f{label}" for a, b, label in zip(*columns, strict=True))


@dataclass(frozen=True)
class Classification:
    """A classification task.

    Attributes:
        name: what it is called in files and tables.
        train: what is trained on; all there is where there is no `test`.
        dev: decides the classifier's regularisation; None: folds of `train` do.
        test: what is scored; None: every part of `train` in turn.
    """

    name: str
    train: Examples
    dev: Examples | None = None
    test: Examples | None = None

    @property
    def parts(self) -> list[Examples]:
        """The parts that there are."""
        return [part for part in (self.train, self.dev, self.test) if part is not None]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return 1 + max(max(part.labels) for part in self.parts)

    @cached_property
    def sha256(self) -> str:
        """Hash of all texts and labels in order."""
        return sha256(part.sha256 for part in self.parts)

    def sentences(self) -> list[str]:
        """Return the distinct texts, in order."""
        texts = [text for part in self.parts for text in (*part.texts, *(part.others or ()))]
        return list(dict.fromkeys(texts))

    def check(self, source: str) -> Classification:
        """Return the task if a classifier can be trained and scored on it.

        Args:
            source: names its files in errors.

        Raises:
            UserError: too few examples to train on, of one class only, or a part is empty.
        """
        if len(self.train) < FEWEST_EXAMPLES:
            raise UserError(
                f"{source}: {len(self.train)} examples; at least {FEWEST_EXAMPLES} are needed"
            )
        if len(set(self.train.labels)) == 1:
            raise UserError(f"{source}: all examples are of one class")
        if not all(len(part) for part in self.parts):
            raise UserError(f"{source}: one of its parts holds no example")
        return self
