"""What each step of a search is worth on STS-B dev and test, and what it costs a sentence.

    python benchmarks/steps.py layer.json template.json two.json ensemble.json [--data DATA]

The data folder defaults to the environment variable DEMOSEARCH_DATA. Every file is what a search wrote that was allowed one step more than the one before it. A file with
several prompts is a row for every number of them, in the order in which they joined, and one for
centering. The first row is the prompt without demonstration at the last layer; a gain is over the row
before, with its 95% interval by paired bootstrap over the pairs. It can be killed and started again:
embeddings are kept in --folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from measure import add_data_option, kept, machine, median, medians, scored, show, spread
from numpy.typing import NDArray

from demosearch import Embedder, Encoder, Prompt
from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.metrics.similarity import averaged, cosine
from demosearch.selection.pair_encoder import PairEncoder


@dataclass(frozen=True)
class Row:
    """Prompts that are averaged, and the mean embedding that is subtracted."""

    prompts: tuple[Prompt, ...]
    mean: NDArray[np.float32] | None = None

    def describe(self) -> list[str]:
        """Return the cells that name it."""
        shown = self.prompts[-1].demonstrations
        return [
            str(len(self.prompts)),
            self.prompts[-1].template.name,
            " + ".join(one.word for one in shown) or "-",
            str(self.prompts[-1].layer or "last"),
            "no" if self.mean is None else "yes",
        ]


def main() -> None:
    """Encode what is not kept yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", nargs="+", type=Path)
    add_data_option(parser)
    parser.add_argument("--sentences", type=int, default=100, help="to time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/steps"))
    arguments = parser.parse_args()

    files = [DemonstrationsFile.read(path) for path in arguments.demonstrations]
    encoder = Encoder.load(files[0].model.name, precision=files[0].model.precision)
    rows = rows_of(files)
    sets = [read_pairs("stsb", split, arguments.data) for split in (Split.DEV, Split.TEST)]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found = [
        [similarities(PairEncoder(encoder, pairs), row, arguments.folder) for pairs in sets]
        for row in rows
    ]
    seconds = timed(encoder, rows, sets[0], arguments.sentences, arguments.repeats)
    table = []
    for row, before, ours, cost in zip(rows, [found[0], *found], found, seconds, strict=False):
        cells = [scored(*each) for each in zip(ours, before, sets, strict=True)]
        milliseconds = f"{1000 * cost / arguments.sentences:.1f}"
        table.append([*row.describe(), *(cell for pair in cells for cell in pair), milliseconds])
    print(machine())
    header = [f"{split} {what}" for split in ("dev", "test") for what in ("score", "gain")]
    names = ["prompts", "template", "demonstrations of the last", "layer", "centered"]
    show([*names, *header, "ms a sentence"], table)


def rows_of(files: Sequence[DemonstrationsFile]) -> list[Row]:
    """Return the steps that the files stand for, each once."""
    rows = [Row((Prompt(),))]
    for file in files:
        prompts = tuple(Prompt.of(record) for record in file.prompts)
        rows += [Row(prompts[:number]) for number in range(1, len(prompts) + 1)]
        if file.mean is not None:
            rows.append(Row(prompts, file.mean))
    once: list[Row] = []
    for row in rows:
        if not any(row.prompts == each.prompts and row.mean is each.mean for each in once):
            once.append(row)
    return once


def similarities(pair_encoder: PairEncoder, row: Row, folder: Path) -> NDArray[np.float32]:
    """Return the cosines of all pairs, (pairs,)."""
    texts = pair_encoder.pairs.sentences()
    states = averaged(
        [
            kept(
                folder / f"{pair_encoder.key([prompt])}.npy",
                partial(pair_encoder.encoder.encode, texts, prompt),
            )
            for prompt in row.prompts
        ]
    )
    if row.mean is not None:
        states = states - row.mean
    first, second = pair_encoder.pairs.sentence_rows(texts)
    return cosine(states[first], states[second])


def timed(
    encoder: Encoder, rows: Sequence[Row], pairs: Pairs, number: int, repeats: int
) -> list[float]:
    """Return the seconds that so many sentences take in every row; the rows take turns."""
    texts = spread(pairs, number).sentences()[:number]
    sides: dict[str, Callable[[], object]] = {
        str(place): partial(Embedder(encoder, row.prompts).encode, texts)
        for place, row in enumerate(rows)
    }
    return [median(each) for each in medians(sides, repeats).values()]


if __name__ == "__main__":
    main()
