from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats
from scipy.spatial import distance

from demosearch import Embedder, Encoder
from demosearch.evaluation import evaluate, find_tasks, read_tasks
from demosearch.postprocess import Unlabeled, Whitening
from demosearch.prompt import Prompt
from tests.datasets.transfer import write_opposites


def test_post_processing_is_applied_to_similarities_and_not_to_features(
    senteval: Path, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = Encoder.load(str(tiny("llama")), precision="fp32", device="cpu")
    write_opposites(senteval, "CR", "custrev.neg", "custrev.pos")
    tasks = find_tasks("sts12,cr")
    data = read_tasks(tasks, senteval)
    texts = [text for pairs in data["sts12"] for text in pairs.sentences()]
    whitening = Whitening(encoder.encode(texts, Prompt()), Unlabeled("all", texts)).map()
    embedders = [Embedder(encoder, [Prompt()], postprocess=each) for each in (None, whitening)]
    plain, whitened = (
        evaluate(embedder, data, tasks=tasks, cache=tmp_path, classifier="logistic").result
        for embedder in embedders
    )
    assert whitened.tasks["cr"] == plain.tasks["cr"]
    # The cache holds embeddings without post-processing.
    assert whitened.sentences_encoded == 0
    similarities, gold = [], []
    for pairs in data["sts12"]:
        first, second = map(embedders[1].encode, (pairs.sentences1, pairs.sentences2))
        similarities += [1 - distance.cosine(a, b) for a, b in zip(first, second, strict=True)]
        gold += pairs.scores
    expected = 100 * stats.spearmanr(similarities, gold).statistic
    assert whitened.tasks["sts12"].score == pytest.approx(expected, abs=0.01)
    assert whitened.tasks["sts12"].score != plain.tasks["sts12"].score
    assert whitened.system.postprocess == whitening.record
    assert whitened.system.label == f"{plain.system.label}, whitened, exponent 0.25, ridge 0.01"
