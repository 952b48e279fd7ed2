"""What is installed and available on this machine, and how to add what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from demosearch.candidates.settings import KEY_VARIABLE, URL_VARIABLE
from demosearch.candidates.wordnet import wordnet_is_installed
from demosearch.datasets.sources import DATA_VARIABLE, Split, read_pairs, stsb_folder
from demosearch.errors import UserError
from demosearch.evaluation.tasks import TASKS, Task, read_tasks
from demosearch.models.known import KNOWN_BASELINES, KNOWN_MODELS, Origin
from demosearch.models.packaged import cache_folder, install_command, is_installed

# The purpose of each extra, most common first.
EXTRAS = {
    "gguf": "GGUF files, as the embedded models smollm2-135m and gemma-3-270m",
    "openai": "labeling by a chat model",
    "wordnet": "dictionary pairs of WordNet",
    "quality": "word frequencies and the language check",
    "hub": "data sets from the hub",
    "evaluate": "transfer tasks, BERT and sentence-transformers models",
    "finetune": "contrastive fine-tuning",
    "quantization": "weights in 8 and 4 bits",
    "postgresql": "studies in a PostgreSQL database",
    "mysql": "studies in a MySQL database",
    "mteb": "evaluation with MTEB",
    "notebooks": "running the notebooks",
}
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one package, device, model, data set or folder.

    Attributes:
        topic: the group that it is shown in.
        name: its name.
        found: its state.
        advice: what the user can do; empty if nothing is missing.
    """

    topic: str
    name: str
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Return the state of packages, devices, models, data, dictionaries and folders."""
    return [*_packages(), *_devices(), *_models(), *_data(), *_sources(), *_folders()]


def _packages() -> Iterator[Finding]:
    yield Finding("packages", "python", platform.python_version())
    for name in ("demosearch", "torch", "transformers", "optuna"):
        yield Finding("packages", name, importlib.metadata.version(name))
    for extra, purpose in EXTRAS.items():
        missing = sorted(_missing(extra))
        advice = f"pip install 'demosearch[{extra}]'" if missing else ""
        state = f"missing {', '.join(missing)}" if missing else "installed"
        yield Finding("packages", f"[{extra}]", f"{state}: {purpose}", advice)


def _missing(extra: str) -> Iterator[str]:
    """Yield the packages of an extra that are not installed."""
    for requirement in importlib.metadata.requires("demosearch") or ():
        name, _, condition = requirement.partition(";")
        if not re.search(rf"extra\s*==\s*['\"]{extra}['\"]", condition):
            continue
        package = re.split(r"[\s\[<>=!~(]", name.strip(), maxsplit=1)[0]
        if not _is_installed(package):
            yield package


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _devices() -> Iterator[Finding]:
    import torch

    memory = psutil.virtual_memory()
    yield Finding(
        "devices",
        "cpu",
        f"{psutil.cpu_count(logical=False) or os.cpu_count()} cores,"
        f" {memory.available / _GIB:.0f} of {memory.total / _GIB:.0f} GiB free",
    )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding(
            "devices",
            f"cuda:{index}",
            f"{name}, {free / _GIB:.0f} of {total / _GIB:.0f} GiB free",
        )
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "Apple's GPU")
    elif not count:
        advice = ""
        if shutil.which("nvidia-smi"):
            advice = (
                "a driver is installed but torch does not see a GPU: install a CUDA build of torch"
            )
        yield Finding("devices", "gpu", "none", advice)


def _models() -> Iterator[Finding]:
    for name, source in {
        **{row.name: row.source for row in KNOWN_MODELS.values() if row.origin is Origin.PACKAGE},
        **KNOWN_BASELINES,
    }.items():
        if is_installed(source):
            package = source.partition(":")[0]
            yield Finding("models", name, f"in the package {package}{_license(name)}")
        else:
            yield Finding("models", name, f"not installed{_license(name)}", install_command(source))
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    yield Finding(
        "models",
        "hub",
        "disabled (HF_HUB_OFFLINE)" if offline else "used if a model is not on the disk",
        "unset HF_HUB_OFFLINE to download models" if offline else "",
    )


def _license(name: str) -> str:
    row = KNOWN_MODELS.get(name)
    return f", license: {row.license}" if row and row.license else ""


def _data() -> Iterator[Finding]:
    folder = stsb_folder(None)
    if folder is None:
        yield Finding(
            "data",
            DATA_VARIABLE,
            "not set: stsb is read from the hub",
            f"set {DATA_VARIABLE} to a folder with stsb/ or SentEval's data",
        )
        return
    yield Finding("data", DATA_VARIABLE, folder)
    for split in Split:
        try:
            pairs = read_pairs("stsb", split, folder)
            yield Finding("data", f"stsb {split}", f"{len(pairs)} pairs")
        except UserError as error:
            yield Finding("data", f"stsb {split}", "missing", str(error))
    available: list[str] = []
    missing: list[str] = []
    for task in TASKS.values():
        (available if _is_available(task, folder) else missing).append(task.title)
    yield Finding(
        "data",
        "tasks",
        ", ".join(available) or "none",
        f"missing: {', '.join(missing)} (SentEval's get_transfer_data.bash downloads them)"
        if missing
        else "",
    )


def _is_available(task: Task, folder: str) -> bool:
    try:
        return bool(read_tasks([task], folder))
    except UserError:
        return False


def _sources() -> Iterator[Finding]:
    variables = [name for name in (KEY_VARIABLE, URL_VARIABLE) if os.environ.get(name)]
    yield Finding(
        "sources",
        "chat model",
        f"{' and '.join(variables)} set"
        if variables
        else "none: the searched model labels the sentences",
        "" if variables else f"set {KEY_VARIABLE}, or {URL_VARIABLE} for your own server",
    )
    wordnet = wordnet_is_installed()
    yield Finding(
        "sources",
        "wordnet",
        "installed" if wordnet else "not installed: the starter dictionary is used instead",
        ""
        if wordnet
        else "pip install 'demosearch[wordnet]', and apt-get install wordnet-base or"
        " python -m nltk.downloader wordnet",
    )


def _folders() -> Iterator[Finding]:
    folder = cache_folder()
    advice = "not writable: set DEMOSEARCH_CACHE to another folder"
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        free = shutil.disk_usage(existing).free
        state = f"{folder}, {size / _GIB:.1f} GiB used, {free / _GIB:.0f} GiB free"
        yield Finding("folders", "cache", state, "" if os.access(existing, os.W_OK) else advice)
    except OSError as error:
        yield Finding("folders", "cache", f"{folder}: {error.strerror}", advice)
    here = Path.cwd()
    yield Finding(
        "folders",
        "working folder",
        f"{here}, {shutil.disk_usage(here).free / _GIB:.0f} GiB free",
        "" if os.access(here, os.W_OK) else "not writable: use --out",
    )
