"""Templates, metric, demonstrations and texts that settings refer to by name, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demosearch.datasets.pairs import Pairs
from demosearch.datasets.sources import Split, read_pairs
from demosearch.datasets.texts import check_input, read_texts
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError, short
from demosearch.known_demonstrations import is_known, named_by
from demosearch.metrics.metric import SPEARMAN, Metric, find_metric
from demosearch.postprocess import Kind, Unlabeled
from demosearch.prompt import PROMPTEOL, Template
from demosearch.selection.settings import (
    DEV_TEXTS,
    STSB_TRAIN,
    SearchSettings,
    postprocess_kinds,
)
from demosearch.templates import search_templates

# The settings that `SearchInputs` holds the values of.
_NAMED = ("template", "metric", "warm_start", "unlabeled")
# Whitening estimates a covariance; more texts hardly change it.
MAX_TEXTS = 20_000


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """Templates, objective, warm start and texts of a search, as values.

    The settings `template`, `metric`, `warm_start` and `unlabeled` name the same four things. A search
    takes each from one place: without `inputs` it reads all four from its settings; with `inputs` it
    uses these values, and each of the four settings must be its default or the one that `read` used.

    Attributes:
        templates: templates to choose among; the baseline is the first one without demonstrations.
        metric: the objective.
        warm_start: demonstrations, such as another model's best ones, that are scored first and always
            on all pairs; they are candidates like any other.
        unlabeled: texts that whitening is fitted on; None means the sentences of the dev pairs.
        read_from: the settings that `read` read, by name.

    Raises:
        UserError: two templates have the same name, which identifies them in a study.
    """

    templates: tuple[Template, ...] = (PROMPTEOL,)
    metric: Metric = SPEARMAN
    warm_start: tuple[Demonstration, ...] = ()
    unlabeled: Unlabeled | None = None
    read_from: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [template.name for template in self.templates]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise UserError(f"the names of templates must differ but got '{repeated[0]}' twice")

    @classmethod
    def read(cls, settings: SearchSettings, dev: Pairs, data: str | None = None) -> SearchInputs:
        """Read everything that settings refer to by name.

        To give some as values and read the others, use `dataclasses.replace` on the result.

        Args:
            settings: the search's settings.
            dev: the development pairs; `unlabeled="dev"` means their sentences.
            data: folder of STS-B, or `hub`; read for `unlabeled="stsb-train"`.

        Raises:
            UserError: a template or metric is unknown, or a file cannot be read.
        """
        return cls(
            search_templates(settings.template),
            find_metric(settings.metric),
            _read_demonstrations(settings.warm_start),
            _read_unlabeled(settings, dev, data),
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


def _read_demonstrations(sources: Sequence[str]) -> tuple[Demonstration, ...]:
    """Return the distinct demonstrations of several files, or of names such as `paper`."""
    return tuple(
        dict.fromkeys(demonstration for source in sources for demonstration in _read_source(source))
    )


def _read_source(source: str) -> Sequence[Demonstration]:
    if not is_known(source):
        return DemonstrationsFile.read(source).demonstrations
    return [one for entry in named_by(source) for one in entry.prompt.demonstrations]


def _read_unlabeled(settings: SearchSettings, dev: Pairs, data: str | None) -> Unlabeled | None:
    """Return the texts that whitening is fitted on; None without whitening."""
    if Kind.WHITEN not in postprocess_kinds(settings.postprocess):
        return None
    source = settings.unlabeled
    if source == DEV_TEXTS:
        return dev_texts(dev)
    return read_unlabeled(source, data)


def dev_texts(dev: Pairs) -> Unlabeled:
    """Return the sentences of the development pairs as unlabeled texts."""
    return Unlabeled(f"{dev.name} dev", dev.sentences())


def read_unlabeled(source: str, data: str | None = None, column: str | None = None) -> Unlabeled:
    """Read unlabeled texts; of more than `MAX_TEXTS` distinct ones, a sample is taken.

    Args:
        source: a file, `-` for standard input, or `stsb-train`.
        data: folder of STS-B, or `hub`.
        column: column that holds the text.

    Raises:
        UserError: the texts cannot be read.
    """
    if source == STSB_TRAIN:
        texts, name = read_pairs("stsb", Split.TRAIN, data).sentences(), STSB_TRAIN
    else:
        check_input(source)
        texts, name = list(dict.fromkeys(read_texts(source, column))), Path(source).name
    if len(texts) > MAX_TEXTS:
        rows = np.random.default_rng(0).choice(len(texts), MAX_TEXTS, replace=False)
        texts = [texts[row] for row in sorted(rows)]
    return Unlabeled(name, texts)
