"""Templates, metric, demonstrations and texts that settings refer to by name, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demosearch.datasets.containers import as_texts
from demosearch.datasets.pairs import Pairs
from demosearch.datasets.texts import check_input, read_texts
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError, short
from demosearch.metrics.metric import SPEARMAN, Metric, find_metric
from demosearch.prompt import PROMPTEOL, Template
from demosearch.selection.settings import SearchSettings
from demosearch.templates import search_templates

# Instead of a file of unlabeled texts: the sentences of the development pairs.
DEV_TEXTS = "dev"


# The settings that `SearchInputs` holds the values of.
_NAMED = ("template", "metric", "warm_start", "center")


@dataclass(frozen=True, slots=True)
class Center:
    """Unlabeled texts whose mean embedding is subtracted.

    Attributes:
        name: name of the texts in the demonstrations file.
        texts: the texts, at least one.

    Raises:
        UserError: there are no texts, or one is not a text.
    """

    name: str
    texts: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", as_texts(self.texts, f"texts of {self.name}"))
        if not self.texts:
            raise UserError(f"{self.name} must contain at least one text to center embeddings on")


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """Templates, objective, warm start and texts of a search, as values.

    The settings `template`, `metric`, `warm_start` and `center` name the same four things. A search
    takes each from one place: without `inputs` it reads all four from its settings; with `inputs` it
    uses these values, and each of the four settings must be its default or the one that `read` used.

    Attributes:
        templates: templates to choose among; the baseline is the first one without demonstrations.
        metric: the objective.
        warm_start: demonstrations, such as another model's best ones, that are scored first and always
            on all pairs; they are candidates like any other.
        center: unlabeled texts whose mean embedding is subtracted, if that improves the score.
        read_from: the settings that `read` read, by name.

    Raises:
        UserError: two templates have the same name, which identifies them in a study.
    """

    templates: tuple[Template, ...] = (PROMPTEOL,)
    metric: Metric = SPEARMAN
    warm_start: tuple[Demonstration, ...] = ()
    center: Center | None = None
    read_from: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [template.name for template in self.templates]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise UserError(f"the names of templates must differ but got '{repeated[0]}' twice")

    @classmethod
    def read(cls, settings: SearchSettings, dev: Pairs) -> SearchInputs:
        """Read everything that settings refer to by name.

        To give some as values and read the others, use `dataclasses.replace` on the result.

        Args:
            settings: the search's settings.
            dev: the development pairs; `center="dev"` means their sentences.

        Raises:
            UserError: a template or metric is unknown, or a file cannot be read.
        """
        return cls(
            search_templates(settings.template),
            find_metric(settings.metric),
            _read_demonstrations(settings.warm_start),
            _read_center(settings.center, dev),
            {name: getattr(settings, name) for name in _NAMED},
        )

    def check(self, settings: SearchSettings) -> None:
        """Check that no setting contradicts these values.

        Raises:
            UserError: a setting names something that these values were not read from.
        """
        for name in _NAMED:
            value = getattr(settings, name)
            default = SearchSettings.model_fields[name].default
            if value not in (default, self.read_from.get(name, default)):
                raise UserError(
                    f"{name} must not be set beside `inputs` but got {short(repr(value))}; give it in"
                    " `inputs` only, or read `inputs` from the same settings by `SearchInputs.read`"
                )


def check_names(settings: SearchSettings) -> None:
    """Check the names of templates and metric before pairs are read, which may be a download.

    Raises:
        UserError: a template or metric is unknown.
    """
    search_templates(settings.template)
    find_metric(settings.metric)


def _read_demonstrations(paths: Sequence[str]) -> tuple[Demonstration, ...]:
    """Return the distinct demonstrations of several demonstrations files."""
    files = (DemonstrationsFile.read(path) for path in paths)
    return tuple(
        dict.fromkeys(demonstration for file in files for demonstration in file.demonstrations)
    )


def _read_center(source: str | None, dev: Pairs) -> Center | None:
    if source is None:
        return None
    if source == DEV_TEXTS:
        return Center(f"{dev.name} dev", dev.sentences())
    check_input(source)
    return Center(Path(source).name, list(dict.fromkeys(read_texts(source))))
