"""Scores of readouts of one prompt, plain and whitened, on STS-B.

    python benchmarks/postprocess.py [--demonstration SENTENCE WORD] [--model smollm2-135m] [--data DATA]

A readout is the state of a layer, the mean of the normalized states of several layers, or the sum of several
layers' attention outputs, all at the last token. Whitening is fitted on the sentences of the dev pairs, and
on 3000 sentences of the training split. Prints a Markdown table of Spearman x 100 on dev and test. One
forward pass over 8600 sentences; minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from measure import add_data_option
from numpy.typing import NDArray

from demosearch import Encoder, Prompt
from demosearch._common.progress import bar
from demosearch._common.vectors import normalized
from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.demonstration import Demonstration
from demosearch.encoder.layers import decoder_layers
from demosearch.metrics.correlation import spearman
from demosearch.metrics.similarity import cosine
from demosearch.postprocess import Unlabeled, Whitening
from demosearch.templates import find_template

Array = NDArray[np.float32]
TRAIN_TEXTS = 3000
BATCH = 64
# Exponent and ridge.
WHITENINGS = {
    "centered": (0.0, 0.0),
    "soft": (0.25, 0.01),
    "stronger": (0.35, 0.01),
    "full": (0.5, 0.0),
}


@dataclass(frozen=True)
class States:
    """States of texts at the last token of the prompt.

    Attributes:
        layers: `hidden_states`, (layers + 1, texts, width).
        attention: outputs of the attention of each layer, (layers, texts, width).
    """

    layers: Array
    attention: Array

    def readouts(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and the embeddings of each readout."""
        last = len(self.layers) - 1
        for layer in (last - 6, last - 4, last - 2, last - 1, last):
            yield f"layer {layer}" + (" (last)" if layer == last else ""), self.layers[layer]
        for chosen in (
            (last - 4, last),
            (last - 6, last - 4, last - 2, last - 1),
            tuple(range(last - 6, last + 1)),
        ):
            mean = np.mean([normalized(self.layers[layer]) for layer in chosen], axis=0)
            yield f"mean of layers {', '.join(map(str, chosen))}", mean
        for first, end in ((last - 9, last), (last - 5, last)):
            yield (
                f"sum of attention outputs {first} to {end - 1}",
                self.attention[first:end].sum(axis=0),
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--template", default="prompteol")
    parser.add_argument(
        "--demonstration", nargs=2, action="append", default=[], metavar=("SENTENCE", "WORD")
    )
    add_data_option(parser)
    arguments = parser.parse_args()
    encoder = Encoder.load(arguments.model, precision=arguments.precision)
    prompt = Prompt(
        find_template(arguments.template),
        tuple(
            Demonstration(sentence=sentence, word=word)
            for sentence, word in arguments.demonstration
        ),
    )
    dev, test = (read_pairs("stsb", split, arguments.data) for split in (Split.DEV, Split.TEST))
    scored = {*dev.sentences(), *test.sentences()}
    train = read_pairs("stsb", Split.TRAIN, arguments.data).sentences()
    train = [text for text in train if text not in scored]
    rows = np.random.default_rng(0).permutation(len(train))[:TRAIN_TEXTS]
    texts = list(dict.fromkeys([*scored, *(train[row] for row in rows)]))
    # In one order in every process; sets have none.
    texts.sort()
    states = compute(encoder, prompt, texts)
    fits = {
        "dev": Unlabeled("dev", dev.sentences()),
        "train": Unlabeled("train", [train[row] for row in rows]),
    }
    columns = ["plain", *(f"{name}, {fit}" for fit in fits for name in WHITENINGS)]
    print(f"| readout | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name, embeddings in states.readouts():
        cells = [scores(embeddings, texts, dev, test)]
        for unlabeled in fits.values():
            fitted = Whitening(embeddings[positions(texts, unlabeled.texts)], unlabeled)
            cells += [
                scores(fitted.map(*setting).apply(embeddings), texts, dev, test)
                for setting in WHITENINGS.values()
            ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def compute(encoder: Encoder, prompt: Prompt, texts: Sequence[str]) -> States:
    """Return the states of texts under a prompt, by a plain forward pass with padding on the left."""
    model, tokenizer = encoder.model, encoder.tokenizer
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    attention: list[torch.Tensor] = []

    def keep(_: object, __: object, output: tuple[torch.Tensor, ...]) -> None:
        attention.append(output[0][:, -1].float())

    handles = [
        layer.self_attn.register_forward_hook(keep)  # type: ignore[union-attr]
        for layer in decoder_layers(model)
    ]
    # Texts of similar length share a batch.
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    parts: dict[str, list[Array]] = {"layers": [], "attention": []}
    with torch.inference_mode(), bar("encoding", len(texts), show=True) as progress:
        for start in range(0, len(order), BATCH):
            prompts = [prompt.render(texts[row]) for row in order[start : start + BATCH]]
            batch = tokenizer(prompts, return_tensors="pt", padding=True)
            attention.clear()
            output = model(**batch, output_hidden_states=True, use_cache=False)
            layers = [*output.hidden_states[:-1], output.last_hidden_state]
            parts["layers"].append(torch.stack([rows[:, -1].float() for rows in layers]).numpy())
            parts["attention"].append(torch.stack(attention).numpy())
            progress.advance(len(prompts))
    for handle in handles:
        handle.remove()
    back = np.argsort(order)
    return States(**{name: np.concatenate(rows, axis=1)[:, back] for name, rows in parts.items()})


def positions(texts: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the positions of texts in a list."""
    rows = {text: row for row, text in enumerate(texts)}
    return [rows[text] for text in wanted]


def scores(embeddings: Array, texts: Sequence[str], *sets: Pairs) -> str:
    """Return the scores on some sets of pairs as a cell of the table."""
    found = [
        spearman(
            cosine(
                embeddings[positions(texts, pairs.sentences1)],
                embeddings[positions(texts, pairs.sentences2)],
            ),
            pairs.scores,
        )
        for pairs in sets
    ]
    return " / ".join(f"{score:.2f}" for score in found)


if __name__ == "__main__":
    main()
