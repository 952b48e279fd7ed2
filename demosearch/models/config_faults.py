"""Why transformers cannot build a model from a config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demosearch.errors import UserError, one_line

CONFIG = "config.json"
# What huggingface_hub's and transformers' checks of settings put before their reasons.
_PREAMBLE = re.compile(r"^(Class v|V)alidation error for (field|validator) '\w+': (\w+: )?")
# Files that are right, but that this installation cannot or must not use.
_OTHER_CAUSES = re.compile("custom code|does not recognize this architecture|out of memory")


def check_config(folder: str) -> None:
    """Check that transformers can build a model, without weights, from a folder's config.json.

    Call this function after loading has failed, to find out whether the configuration is the cause.

    Raises:
        UserError: it cannot; the message names the file and the reason.
    """
    # Imported here: configurations are read before torch and transformers are loaded.
    import torch
    from transformers import AutoConfig, AutoModel

    path = Path(folder) / CONFIG
    if not path.is_file():
        return
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:
        if _OTHER_CAUSES.search(str(error)):
            return
        raise UserError(
            f"transformers cannot build a model from {path}: {_reason(error, path)}; correct the file or"
            " download it again"
        ) from error


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, KeyError) and error.args:
        # A table of known names has no such entry.
        names = sorted(set(_names_of(json.loads(path.read_text(encoding="utf-8")), error.args[0])))
        if names:
            return f"{' or '.join(names)} must be a known name but got {error.args[0]!r}"
    reason = _PREAMBLE.sub("", one_line(error, 300)) or type(error).__name__
    name = type(error).__name__
    plain = name.startswith("Strict") or isinstance(error, (ValueError, TypeError, AssertionError))
    return reason.rstrip(".") if plain else f"{name}: {reason}"


def _names_of(settings: Any, value: Any) -> Iterator[str]:
    """Yield the names of the settings that have a value."""
    for name, own in settings.items():
        if isinstance(own, dict):
            yield from _names_of(own, value)
        elif own == value:
            yield str(name)
