"""A fake encoder with known scores, for tests that require only `encode`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from demosearch.datasets import Pairs
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.metrics.similarity import cosine
from demosearch.models.records import ModelRecord
from demosearch.prompt import Prompt


class FakeEncoder:
    """Embeds a sentence as an angle plus noise; the word of the demonstration sets the noise.

    A sentence is `name angle number`: the closer the angles of two sentences, the more similar they are.
    The word `W<n>` adds n hundredths of noise; without demonstration the noise is 60 hundredths.
    """

    token_budget = 100
    layers = 3
    concurrency = 1
    adapter = None
    arithmetic = "cpu, float32"
    record = ModelRecord(name="fake", source="tests", revision="1", precision="fp32")

    def __init__(self) -> None:
        self.encoded: Counter[str] = Counter()

    def resolve_layer(self, layer: int | None) -> int:
        return 3 if layer is None else layer

    def prompt_tokens(self, prompt: Prompt) -> int:
        return len(" ".join(prompt.parts).split())

    def width(self, layer: int | None) -> int:
        del layer
        return 2

    def encode(self, texts: Sequence[str], prompt: Prompt, *, advance: object = None) -> np.ndarray:
        del advance
        words = [demonstration.word for demonstration in prompt.demonstrations] or ["W60"]
        if "Fail" in words:
            raise UserError("this prompt is too long")
        name = "+".join(words)
        self.encoded[name] += len(texts)
        if "Nan" in words:
            return np.full((len(texts), 2), np.nan, dtype=np.float32)
        noise = self.noise(prompt, [int(word.lstrip("W")) / 100 for word in words])
        return np.stack([self._state(text, name, noise) for text in texts])

    def noise(self, prompt: Prompt, noises: list[float]) -> float:
        """Return the noise of a prompt, which is that of its first demonstration."""
        del prompt
        return noises[0]

    def compare(
        self,
        texts: Sequence[str],
        prompt: Prompt,
        layers: Sequence[int | None],
        first: Sequence[int],
        second: Sequence[int],
    ) -> np.ndarray:
        states = self.encode(texts, prompt)
        return np.stack([cosine(states[list(first)], states[list(second)]) for _ in layers])

    def _state(self, text: str, word: str, noise: float) -> np.ndarray:
        angle = float(text.split()[1]) / 5 * np.pi / 2
        digest = hashlib.sha256(f"{word}{text}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        angle += noise * generator.normal()
        return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


def fake_pairs(number: int, seed: int = 0) -> Pairs:
    """Return pairs whose gold scores a `FakeEncoder` without noise ranks perfectly."""
    gaps = np.random.default_rng(seed).uniform(0, 5, number).round(2)
    return Pairs(
        "fake",
        tuple(f"first 0 {row}" for row in range(number)),
        tuple(f"second {gap} {row}" for row, gap in enumerate(gaps)),
        tuple(float(5 - gap) for gap in gaps),
    )


def write_fake_pairs(path: Path, number: int, seed: int = 0) -> str:
    """Write `fake_pairs` whose sentences begin with the name of the file; return its path."""
    pairs = fake_pairs(number, seed)
    table = {
        "sentence1": [f"{path.stem} {text}" for text in pairs.sentences1],
        "sentence2": [f"{path.stem} {text}" for text in pairs.sentences2],
        "score": pairs.scores,
    }
    pd.DataFrame(table).to_csv(path, index=False)
    return str(path)


def fake_candidates(noises: Sequence[int | str]) -> list[Demonstration]:
    """Return a candidate for each noise."""
    return [
        Demonstration(
            sentence=f"Sentence number {row}.",
            word=f"W{noise}" if isinstance(noise, int) else noise,
            source="fake",
        )
        for row, noise in enumerate(noises)
    ]
