from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.cache import ResultCache
from scipy import stats

from demosearch import Embedder
from demosearch.integrations.mteb_model import MtebModel
from demosearch.metrics.similarity import cosine


def test_mteb_s_score_of_an_embedder_equals_scipy_s(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    embedder = Embedder.without_demonstrations(str(tiny("llama")), precision="fp32", device="cpu")
    generator = np.random.default_rng(0)
    first = [f"A man plays instrument {row}" for row in range(40)]
    second = [f"Dogs bark at {row * row}" for row in range(40)]
    scores = generator.uniform(0, 5, 40).tolist()
    task = mteb.get_task("STS12")
    columns = {"sentence1": first, "sentence2": second, "score": scores}
    task.dataset = DatasetDict(test=Dataset.from_dict(columns))
    task.data_loaded = True
    results = mteb.evaluate(
        MtebModel(embedder), task, cache=ResultCache(tmp_path), show_progress_bar=False
    )
    expected = stats.spearmanr(cosine(embedder.encode(first), embedder.encode(second)), scores)
    [result] = results.task_results
    assert result.scores["test"][0]["cosine_spearman"] == pytest.approx(
        expected.statistic, abs=1e-4
    )


def test_another_prompt_has_another_revision(tiny: Callable[[str], Path]) -> None:
    models = [
        MtebModel(
            Embedder.without_demonstrations(
                str(tiny("llama")), precision="fp32", device="cpu", template=template
            )
        ).mteb_model_meta
        for template in ("prompteol", "knowledge")
    ]
    assert models[0].name == models[1].name
    assert models[0].revision != models[1].revision
