from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from demosearch.finetune import finetune, train
from tests.finetune.small import SETTINGS, TRIPLETS


def test_the_estimate_counts_what_is_left(
    tiny: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = SETTINGS.model_copy(update={"warmup_steps": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=settings, device="cpu")
    assert "3 steps of 8 rows, about" in caplog.text
    assert "rises over 3 steps, of which there are 3: it never gets to 0.01" in caplog.text
    caplog.clear()
    finetune(str(tiny("llama")), TRIPLETS, tmp_path, settings=settings, device="cpu")
    assert "0 of 3 steps of 8 rows, about 0 seconds" in caplog.text
