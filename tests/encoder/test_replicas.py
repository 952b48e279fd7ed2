"""Replicas, with two processes on the CPU in place of two GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from demosearch import Embedder, Encoder, search
from demosearch.datasets import Pairs
from demosearch.demonstration import Demonstration
from demosearch.encoder import replicas
from demosearch.encoder.replicas import Replicas, open_encoder
from demosearch.errors import DeviceLostError, UserError
from demosearch.models import memory
from demosearch.models.known import parse_devices
from demosearch.prompt import Prompt
from tests.fakes import fake_pairs

WORDS = ["Horse", "Night", "Swiss", "Food"]
CANDIDATES = [Demonstration(sentence=f"All about a {word.lower()}.", word=word) for word in WORDS]
TEXTS = ["A cat sleeps.", "Dogs bark at night.", "", "Is it raining?"]


@pytest.fixture(scope="module")
def pool(tiny: Callable[[str], Path]) -> Iterator[Replicas]:
    name = str(tiny("llama"))
    with Replicas(name, ["cpu", "cpu"], precision="fp32", token_budget=64) as replicas_on_cpu:
        yield replicas_on_cpu


@pytest.fixture
def single(tiny: Callable[[str], Path]) -> Encoder:
    return Encoder.load(str(tiny("llama")), precision="fp32", device="cpu", token_budget=64)


def test_replicas_give_the_same_states_as_one_encoder(pool: Replicas, single: Encoder) -> None:
    prompts = [Prompt(), *(Prompt(demonstrations=(candidate,)) for candidate in CANDIDATES)]
    pairs = ([0, 1, 2], [1, 3, 3])
    with ThreadPoolExecutor(len(prompts)) as threads:
        similarities = threads.map(
            lambda prompt: pool.compare(TEXTS, prompt, [2, 3], *pairs), prompts
        )
    for prompt, ours in zip(prompts, similarities, strict=True):
        np.testing.assert_allclose(ours, single.compare(TEXTS, prompt, [2, 3], *pairs), atol=1e-5)
        for layer, row in zip([2, 3], ours, strict=True):
            states = single.encode_layers(TEXTS, prompt, [layer])[0]
            expected = cosine_similarity(states[pairs[0]], states[pairs[1]]).diagonal()
            np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(
        pool.encode(TEXTS, Prompt()), single.encode(TEXTS, Prompt()), atol=1e-5
    )
    assert (pool.record, pool.layers) == (single.record, single.layers)
    assert pool.resolve_layer(-1) == 3


def test_the_texts_of_one_call_are_divided_among_replicas(
    pool: Replicas, single: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "FEWEST_TEXTS", 3)
    texts = [f"{text} {number}" for number in range(5) for text in TEXTS]
    steps: list[int] = []
    found = Embedder(pool, [Prompt(demonstrations=(CANDIDATES[0],))]).encode(texts)
    expected = single.encode(texts, Prompt(demonstrations=(CANDIDATES[0],)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pool.encode(texts, Prompt(), advance=steps.append)
    assert sum(steps) == len(texts)
    assert len(steps) > 2
    assert pool.encode([], Prompt()).shape == (0, 48)


def test_replicas_continue_after_a_prompt_that_fails(pool: Replicas) -> None:
    story = Demonstration(sentence="A very long story. " * 60, word="Long")
    with pytest.raises(UserError, match="without any text"):
        pool.encode(TEXTS, Prompt(demonstrations=(story,)))
    with pytest.raises(UserError, match="without any text"):
        pool.compare(TEXTS, Prompt(demonstrations=(story,)), [3], [0], [1])
    assert pool.encode(TEXTS, Prompt()).shape == (4, 48)


def test_a_killed_process_raises_a_device_error(tiny: Callable[[str], Path]) -> None:
    with Replicas(str(tiny("llama")), ["cpu"], precision="fp32", token_budget=64) as pool:
        (process,) = pool._workers[0]._processes.values()
        process.kill()
        with pytest.raises(DeviceLostError, match="process of device 0 was ended"):
            pool.encode(TEXTS, Prompt())


def test_a_search_with_replicas_has_the_result_of_one_encoder(
    pool: Replicas, single: Encoder, tmp_path: Path
) -> None:
    fake = fake_pairs(40)
    words = [f"{text} {word}" for text, word in zip(fake.sentences1, WORDS * 10, strict=True)]
    dev = Pairs("dev", tuple(words), fake.sentences2, fake.scores)
    files = [
        search(encoder, CANDIDATES, dev, folder=tmp_path / name, strategy="exhaustive").file
        for name, encoder in (("pool", pool), ("single", single))
    ]
    first, second = files
    assert [ranked.id for ranked in first.ranking] == [ranked.id for ranked in second.ranking]
    for ours, theirs in zip(first.ranking, second.ranking, strict=True):
        assert ours.spearman == pytest.approx(theirs.spearman, abs=0.05)
    assert first.search.sentences_encoded == second.search.sentences_encoded


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot build a model from "):
        Replicas(str(tmp_path), ["cpu", "cpu"])


def test_devices_decide_between_one_device_replicas_and_spreading(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tiny("llama"))
    opened: list[tuple[str, object]] = []
    monkeypatch.setattr(
        replicas, "Replicas", lambda _, devices, __: opened.append(("replicas", devices))
    )
    monkeypatch.setattr(
        Encoder,
        "load",
        lambda _, options: opened.append(("encoder", options.device_names or options.device)),
    )
    open_encoder(name, device="cpu")
    open_encoder(name, devices=["cpu"])
    open_encoder(name, devices=["cpu", "cpu"])
    monkeypatch.setattr(memory, "free_memory", lambda _: 100_000)
    open_encoder(name, devices=["cuda:0", "cuda:1"])
    assert opened == [
        ("encoder", "cpu"),
        ("encoder", "cpu"),
        ("replicas", ["cpu", "cpu"]),
        ("encoder", ["cuda:0", "cuda:1"]),
    ]


def test_devices_are_parsed() -> None:
    assert parse_devices(None) is None
    assert parse_devices("0, 1,cuda:2,cpu") == ["cuda:0", "cuda:1", "cuda:2", "cpu"]
    with pytest.raises(UserError, match="must be device names separated by commas"):
        parse_devices("0,,1")
