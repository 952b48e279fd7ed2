"""Demonstrations that ship with the package: those that the paper chose for OPT, and our own best ones.

`known_demonstrations.csv` has a line for each demonstration. Several lines for one model are the
demonstrations of one prompt, in their order. `layer` is `last` or an index into `hidden_states`, and
`dev` the name of the pairs on which they were chosen.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.models.known import KNOWN_MODELS, resolve
from demosearch.models.source import read_config
from demosearch.prompt import Prompt
from demosearch.templates import find_template

TABLE = Path(__file__).with_suffix(".csv")
PAPER = "paper"
BEST = "best"
# The type of model of a collection whose demonstrations were chosen for a size. They apply to other
# weights of this size and type as well.
_CHOSEN_FOR_SIZE = {PAPER: "opt"}
_LAST = "last"


@dataclass(frozen=True, slots=True)
class KnownDemonstrations:
    """The known demonstrations for one model.

    Attributes:
        collection: `paper` or `best`.
        model: the known name of the model that they were chosen for.
        prompt: the prompt with the demonstrations; layer None is the last one.
        dev: name of the pairs on which they were chosen.
        source: where they come from.
    """

    collection: str
    model: str
    prompt: Prompt
    dev: str
    source: str

    @property
    def name(self) -> str:
        """The name that `--demonstrations` takes for these, e.g. `paper:opt-2.7b`."""
        return f"{self.collection}:{self.model}"

    @property
    def summary(self) -> str:
        """The demonstrations, the template and the layer in one line.

        >>> named_by("paper:opt-2.7b")[0].summary
        "demonstrations paper:opt-2.7b: 'A jockey riding a horse.' -> Equestrian (prompteol, layer last)"
        """
        shown = "; ".join(f"'{one.sentence}' -> {one.word}" for one in self.prompt.demonstrations)
        layer = _LAST if self.prompt.layer is None else self.prompt.layer
        return f"demonstrations {self.name}: {shown} ({self.prompt.template.name}, layer {layer})"

    def check_model(self, model: str | None, *, can_be_allowed: bool = False) -> None:
        """Check that the demonstrations were chosen for a model.

        Args:
            model: known name, hub id or folder; None means `self.model`.
            can_be_allowed: whether the caller takes `allow_other_model`, for the message.

        Raises:
            UserError: the model is unknown, or they were chosen for another one.
        """
        if model is not None and _known_name(model, self.collection) != self.model:
            hint = ", or use --allow-other-model" if can_be_allowed else ""
            raise UserError(
                f"{self.name} was chosen for model '{self.model}' but got '{model}'; search with this"
                f" model{hint}"
            )


def is_known(demonstrations: object) -> bool:
    """Whether a value of `--demonstrations` or `--warm-start` names known demonstrations, not a file.

    >>> is_known("paper"), is_known("./paper")
    (True, False)
    """
    return isinstance(demonstrations, str) and demonstrations.partition(":")[0] in _table()


def named_by(name: str) -> tuple[KnownDemonstrations, ...]:
    """Return what a name stands for: a collection (`paper`), or the entry of a model (`paper:opt-2.7b`).

    Raises:
        UserError: the collection has no entry for the model.
    """
    collection, separator, model = name.partition(":")
    entries = _table()[collection]
    if not separator:
        return tuple(entries.values())
    if model not in entries:
        raise UserError(f"unknown demonstrations '{name}'; {_available(collection)}")
    return (entries[model],)


def known_demonstrations(
    name: str, model: str | None, *, allow_other_model: bool | None = None
) -> KnownDemonstrations:
    """Return the known demonstrations for a model.

    Args:
        name: `paper` or `best`; or with the name of a model, `paper:opt-2.7b`.
        model: known name, hub id or folder. The entry of `paper` is that of the OPT model of the same
            size. None means the model in `name`.
        allow_other_model: accept the entry in `name` for any model; None if the caller cannot.

    Raises:
        UserError: there are none for this model, or the model is unknown.
    """
    collection, separator, _ = name.partition(":")
    if separator:
        (entry,) = named_by(name)
        if not allow_other_model:
            entry.check_model(model, can_be_allowed=allow_other_model is not None)
        return entry
    if model is None:
        raise UserError(f"demonstrations '{name}' require --model; {_available(collection)}")
    entry_of = _table()[collection].get(_known_name(model, collection) or "")
    if entry_of is None:
        example = next(iter(_table()[collection].values())).name
        hint = "" if allow_other_model is None else f", or use {example} with --allow-other-model"
        raise UserError(
            f"there are no demonstrations '{name}' for model '{model}'; {_available(collection)};"
            f" search with this model{hint}"
        )
    return entry_of


def _available(collection: str) -> str:
    return f"'{collection}' has demonstrations for {', '.join(_table()[collection])}"


def _known_name(model: str, collection: str) -> str | None:
    """Return the known name of a model, or of the model whose size and type it has, or None."""
    source = resolve(model)
    by_source = {row.source: row.name for row in KNOWN_MODELS.values()}
    if source.name in KNOWN_MODELS:
        return source.name
    if source.source in by_source:
        return by_source[source.source]
    kind = _CHOSEN_FOR_SIZE.get(collection)
    if kind is None:
        return None
    config, _ = read_config(source)
    # OPT-350M projects its last states to another width, which the table of models has.
    width = getattr(config, "word_embed_proj_dim", None) or getattr(config, "hidden_size", None)
    size = (config.model_type, getattr(config, "num_hidden_layers", None), width)
    rows = (KNOWN_MODELS[name] for name in _table()[collection])
    return next((row.name for row in rows if (kind, row.layers, row.width) == size), None)


@cache
def _table() -> dict[str, dict[str, KnownDemonstrations]]:
    """Return the known demonstrations by collection and model."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    table: dict[str, dict[str, KnownDemonstrations]] = {}
    for (collection, model), group in groupby(
        lines, lambda line: (line["collection"], line["model"])
    ):
        first, *_ = members = list(group)
        demonstrations = tuple(
            Demonstration(
                sentence=line["sentence"], word=line["word"], source=f"{collection}:{model}"
            )
            for line in members
        )
        layer = None if first["layer"] == _LAST else int(first["layer"])
        prompt = Prompt(find_template(first["template"]), demonstrations, layer)
        entry = KnownDemonstrations(collection, model, prompt, first["dev"], first["source"])
        table.setdefault(collection, {})[model] = entry
    return table
