"""The header of a GGUF file: settings, names and types of tensors, read without other packages.

The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from demosearch.errors import UserError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_MOST_DIMENSIONS = 4
# Types of settings, by the format's numbers.
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
# Arrays are as long as the vocabulary; only short ones describe the model itself.
_KEPT = 1024
# Names of `general.file_type` (llama.cpp's llama_ftype).
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """The entry of a tensor.

    Attributes:
        count: number of weights.
        kind: number of the type in which they are stored.
        offset: first byte, from the start of the weights.
    """

    count: int
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a GGUF file.

    Attributes:
        path: the file.
        settings: all settings; of an array longer than 1024 items only its length.
        tensors: the tensors by name.
        start: byte of the file at which the weights begin.
        size: bytes of the file.
    """

    path: Path
    settings: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    start: int
    size: int

    @property
    def architecture(self) -> str:
        """The family of the model by llama.cpp's name."""
        return str(self.settings["general.architecture"])

    @property
    def width(self) -> int:
        """The width of the model's states; 0 if the file does not say."""
        width = self.settings.get(f"{self.architecture}.embedding_length", 0)
        return width if isinstance(width, int) else 0

    @property
    def quantization(self) -> str:
        """The format of the weights, e.g. `Q4_K_M`; `unknown` if the file does not say."""
        return _FILE_TYPES.get(self.settings.get("general.file_type", -1), "unknown")

    def own_settings(self) -> dict[str, Any]:
        """Return the settings of the architecture, without its name in front."""
        prefix = f"{self.architecture}."
        return {
            key.removeprefix(prefix): value
            for key, value in self.settings.items()
            if key.startswith(prefix)
        }


def is_gguf(path: Path) -> bool:
    """Whether a file begins as a GGUF file does.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_header(path: Path) -> Header:
    """Return the header of a GGUF file.

    Raises:
        UserError: the file cannot be read, is not a GGUF file, or is cut or damaged in its header.
    """
    try:
        with path.open("rb") as file:
            return _Reader(path, file).header()
    except OSError as error:
        raise UserError(f"cannot read model file {path}: {error.strerror or error}") from error


class _Reader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = path.stat().st_size

    def header(self) -> Header:
        if self.file.read(len(MAGIC)) != MAGIC:
            raise UserError(f"model file {self.path} is not a GGUF file; download it again")
        version = self._number("<I")
        if version not in _VERSIONS:
            versions = " or ".join(map(str, _VERSIONS))
            raise UserError(
                f"model file {self.path} must be of GGUF version {versions}, little-endian, but is of"
                f" version {version}; convert the model again"
            )
        tensor_count, setting_count = self._number("<Q"), self._number("<Q")
        settings: dict[str, Any] = {}
        for _ in range(self._checked(setting_count)):
            key = self._string()
            settings[key] = self._value(self._number("<I"))
        tensors = dict(self._tensor() for _ in range(self._checked(tensor_count)))
        if not isinstance(settings.get("general.architecture"), str):
            self._fail("it does not name its architecture")
        alignment = settings.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            self._fail(f"its alignment is {alignment!r}")
        start = -(-self.file.tell() // alignment) * alignment
        return Header(self.path, settings, tensors, start, self.size)

    def _fail(self, reason: str) -> NoReturn:
        raise UserError(
            f"model file {self.path} is cut or damaged ({reason}); download it again"
        ) from None

    def _checked(self, count: int) -> int:
        """Return a number of entries or bytes if the file can hold as many."""
        if not 0 <= count <= self.size - self.file.tell():
            self._fail("its header ends too early")
        return count

    def _number(self, form: str) -> Any:
        length = struct.calcsize(form)
        content = self.file.read(length)
        if len(content) < length:
            self._fail("its header ends too early")
        return struct.unpack(form, content)[0]

    def _string(self) -> str:
        length = self._checked(self._number("<Q"))
        # Words of a vocabulary need not be valid UTF-8; names that matter are.
        return self.file.read(length).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            self._fail(f"a setting has the type {kind}")
        kind, count = self._number("<I"), self._checked(self._number("<Q"))
        if kind == _ARRAY:
            self._fail("a list has lists as its items")
        if count <= _KEPT:
            return [self._value(kind) for _ in range(count)]
        if kind in _NUMBERS:
            self.file.seek(self._checked(count * struct.calcsize(_NUMBERS[kind])), 1)
        elif kind == _STRING:
            for _ in range(count):
                self.file.seek(self._checked(self._number("<Q")), 1)
        else:
            self._fail(f"a list has items of the type {kind}")
        return count

    def _tensor(self) -> tuple[str, Tensor]:
        name, dimensions = self._string(), self._number("<I")
        if dimensions > _MOST_DIMENSIONS:
            self._fail(f"the tensor {name[:40]!r} has {dimensions} dimensions")
        count = math.prod(self._number("<Q") for _ in range(dimensions))
        return name, Tensor(count, self._number("<I"), self._number("<Q"))
