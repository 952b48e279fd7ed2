"""Classification tasks: labeled texts, or labeled pairs of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from demosearch._common.containers import as_texts
from demosearch._common.files import sha256
from demosearch.errors import UserError

# Each of ten folds requires an example.
MIN_EXAMPLES = 10


@dataclass(frozen=True)
class Examples:
    """The examples of one split of a classification task.

    Attributes:
        texts: the texts.
        labels: class indices, starting at 0.
        others: the second texts if pairs are classified, otherwise None.

    Raises:
        UserError: a text is not a text.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    others: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(as_texts(self.texts)))
        if self.others is not None:
            object.__setattr__(self, "others", tuple(as_texts(self.others, "second texts")))

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
        name: name of the task in files and tables.
        train: training examples; all examples if the task has no test set.
        dev: examples that choose the regularization; None means cross-validation on `train`.
        test: test examples; None means cross-validation on `train`.
    """

    name: str
    train: Examples
    dev: Examples | None = None
    test: Examples | None = None

    @property
    def parts(self) -> list[Examples]:
        """The splits that the task has."""
        return [part for part in (self.train, self.dev, self.test) if part is not None]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return 1 + max(max(part.labels) for part in self.parts)

    @cached_property
    def sha256(self) -> str:
        """Hash of all texts and labels in order."""
        return sha256(part.sha256 for part in self.parts)

    def sentences(self) -> list[str]:
        """Return the distinct texts, in order."""
        texts = [text for part in self.parts for text in (*part.texts, *(part.others or ()))]
        return list(dict.fromkeys(texts))

    def location(self, text: str) -> str:
        """Return the first example with a text as messages name it, e.g. `MRPC test, example 7`."""
        for split, part in {"train": self.train, "dev": self.dev, "test": self.test}.items():
            for texts in (part.texts, part.others or ()) if part else ():
                if text in texts:
                    return f"{self.name} {split}, example {texts.index(text) + 1}"
        raise ValueError("no example has this text")

    def check(self, source: str) -> Classification:
        """Return the task if a classifier can be trained and scored on it.

        Args:
            source: the files, for errors.

        Raises:
            UserError: there are fewer than 10 training examples, all of them have the same class, or a
                split is empty.
        """
        if len(self.train) < MIN_EXAMPLES:
            raise UserError(
                f"{source}: the number of examples must be at least {MIN_EXAMPLES} but got {len(self.train)}"
            )
        if len(set(self.train.labels)) == 1:
            raise UserError(
                f"{source}: the examples must have at least two classes but all have the same one"
            )
        if not all(len(part) for part in self.parts):
            raise UserError(f"{source}: each split must contain an example but one is empty")
        return self
