"""What the settings of a search refer to by name, read once and passed as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demosearch.datasets.pairs import Pairs
from demosearch.datasets.texts import check_input, read_texts
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.prompt import Template
from demosearch.selection.objective import Metric, find_metric
from demosearch.selection.settings import SearchSettings
from demosearch.templates import search_templates

# In place of a file of unlabeled texts: the sentences of the dev pairs.
DEV_TEXTS = "dev"


@dataclass(frozen=True, slots=True)
class Center:
    """Unlabeled texts whose mean embedding is subtracted.

    Attributes:
        name: how files refer to the texts.
        texts: at least one.

    Raises:
        UserError: there is no text.
    """

    name: str
    texts: Sequence[str]

    def __post_init__(self) -> None:
        if not self.texts:
            raise UserError(f"{self.name} holds no texts to center embeddings on")


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """Templates, demonstrations, texts and metric of a search, as values.

    Attributes:
        templates: to choose among; the baseline is the first one without demonstrations.
        metric: the objective.
        warm_start: demonstrations, such as another model's best ones, that are scored first and always
            on all pairs; they are candidates like any other.
        center: unlabeled texts whose mean embedding is subtracted, if that improves the score.
    """

    templates: tuple[Template, ...]
    metric: Metric
    warm_start: tuple[Demonstration, ...] = ()
    center: Center | None = None

    @classmethod
    def read(cls, settings: SearchSettings, dev: Pairs) -> SearchInputs:
        """Read everything that settings refer to by name.

        Args:
            settings: of the search.
            dev: the pairs whose sentences `center="dev"` stands for.

        Raises:
            UserError: a template or metric is unknown, or a file cannot be read.
        """
        return cls(
            search_templates(settings.template),
            find_metric(settings.metric),
            _read_demonstrations(settings.warm_start),
            _read_center(settings.center, dev),
        )


def _read_demonstrations(paths: Sequence[str]) -> tuple[Demonstration, ...]:
    """Return the chosen demonstrations of several files, each one once."""
    files = (DemonstrationsFile.read(path) for path in paths)
    return tuple(dict.fromkeys(one for file in files for one in file.demonstrations))


def _read_center(source: str | None, dev: Pairs) -> Center | None:
    if source is None:
        return None
    if source == DEV_TEXTS:
        return Center(f"{dev.name} dev", dev.sentences())
    check_input(source)
    return Center(Path(source).name, list(dict.fromkeys(read_texts(source))))
