from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from demosearch.models.known import resolve
from demosearch.models.loading import load


def test_the_revision_depends_on_the_weights(tiny: Callable[[str], Path]) -> None:
    revisions = {
        load(resolve(str(tiny(name))), device="cpu").record.revision for name in ("llama", "opt")
    }
    assert len(revisions) == 2
    assert all(revision.startswith("sha256:") for revision in revisions)
