"""Whether a task had a part in choosing the demonstrations that it is to judge."""

from __future__ import annotations

from collections.abc import Iterator

from demosearch.datasets.classification import Classification
from demosearch.datasets.sources import Split
from demosearch.demonstration import DemonstrationsFile
from demosearch.evaluation.tasks import TaskData
from demosearch.prompt import prepare

_OTHER_SPELLING = "-senteval"
# Only of these does a name say what is in them.
_STSB = tuple(f"stsb-{split}{spelling}" for split in Split for spelling in ("", _OTHER_SPELLING))


def find_overlaps(file: DemonstrationsFile, data: dict[str, TaskData]) -> list[str]:
    """Return a line for each task that chose the demonstrations or that they are taken from.

    A dev set is recognised by its hash, and by its name where SentEval spells the same pairs in
    another way; a demonstration by its prepared text.
    """
    return [f"{name}: {what}" for name, task in data.items() for what in _overlaps(file, task)]


def _overlaps(file: DemonstrationsFile, task: TaskData) -> Iterator[str]:
    if not isinstance(task, Classification):
        for pairs in task:
            for dev in file.dev.sets or [file.dev]:
                same = pairs.name.removesuffix(_OTHER_SPELLING) == dev.name and pairs.name in _STSB
                if pairs.sha256 == dev.sha256 or same:
                    yield f"the demonstrations were chosen on it ({dev.name})"
    parts = [task] if isinstance(task, Classification) else task
    texts = {prepare(text).lower() for part in parts for text in part.sentences()}
    for prompt in file.prompts:
        for one in prompt.demonstrations:
            if prepare(one.sentence).lower() in texts:
                yield f"holds the demonstration '{one.sentence}'"
