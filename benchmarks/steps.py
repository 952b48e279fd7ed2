"""Gain of each step of a search on STS-B dev and test, and its cost per sentence.

    python benchmarks/steps.py layer.json template.json two.json ensemble.json [--data DATA]

The data folder defaults to the environment variable DEMOSEARCH_DATA. Each file is the result of a search
with one more step than the previous one. A file with several prompts gives one row for each number of
prompts, in the order in which they were added, and one for post-processing. The first row is the baseline. A
gain is relative to the previous row, with its 95% interval by paired bootstrap over the pairs. Re-run the
command to resume: embeddings are kept in --folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from measure import add_data_option, kept, machine, median, medians, scored, show, spread
from numpy.typing import NDArray

from demosearch import Embedder, Encoder, Prompt
from demosearch.datasets import Pairs, Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.metrics.similarity import cosine
from demosearch.selection.pair_encoder import PairEncoder
from demosearch.selection.steps import System


def main() -> None:
    """Encode what is missing in --folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", nargs="+", type=Path)
    add_data_option(parser)
    parser.add_argument("--sentences", type=int, default=100, help="number of sentences to time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/steps"))
    arguments = parser.parse_args()

    files = [DemonstrationsFile.read(path) for path in arguments.demonstrations]
    encoder = Encoder.load(files[0].model.name, precision=files[0].model.precision)
    rows = rows_of(files)
    sets = [read_pairs("stsb", split, arguments.data) for split in (Split.DEV, Split.TEST)]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = [
        [similarities(PairEncoder(encoder, pairs), row, arguments.folder) for pairs in sets]
        for row in rows
    ]
    seconds = timed(encoder, rows, sets[0], arguments.sentences, arguments.repeats)
    table = []
    for row, before, ours, cost in zip(
        rows, [results[0], *results], results, seconds, strict=False
    ):
        cells = [scored(*each) for each in zip(ours, before, sets, strict=True)]
        milliseconds = f"{1000 * cost / arguments.sentences:.1f}"
        table.append([*described(row), *(cell for pair in cells for cell in pair), milliseconds])
    print(machine())
    header = [f"{split} {what}" for split in ("dev", "test") for what in ("score", "gain")]
    names = ["prompts", "template", "demonstrations of the last", "layer", "post-processing"]
    show([*names, *header, "ms per sentence"], table)


def rows_of(files: Sequence[DemonstrationsFile]) -> list[System]:
    """Return the rows of the files without duplicates."""
    rows = [System((Prompt(),))]
    for file in files:
        prompts = tuple(Prompt.of(record) for record in file.prompts)
        rows += [System(prompts[:number]) for number in range(1, len(prompts) + 1)]
        if file.postprocessing is not None:
            rows.append(System(prompts, file.postprocessing))
    return list(dict.fromkeys(rows))


def described(row: System) -> list[str]:
    """Return the cells that describe a row."""
    demonstrations = row.prompts[-1].demonstrations
    return [
        str(len(row.prompts)),
        row.prompts[-1].template.name,
        " + ".join(demonstration.word for demonstration in demonstrations) or "-",
        str(row.prompts[-1].layer or "last"),
        row.postprocess.record.label if row.postprocess else "-",
    ]


def similarities(pair_encoder: PairEncoder, row: System, folder: Path) -> NDArray[np.float32]:
    """Return the cosine similarities of all pairs, (pairs,)."""
    texts = pair_encoder.pairs.sentences()
    states = row.embeddings(
        [
            kept(
                folder / f"{pair_encoder.cache_key([prompt])}.npy",
                partial(pair_encoder.encoder.encode, texts, prompt),
            )
            for prompt in row.prompts
        ]
    )
    first, second = pair_encoder.pairs.sentence_rows(texts)
    return cosine(states[first], states[second])


def timed(
    encoder: Encoder, rows: Sequence[System], pairs: Pairs, number: int, repeats: int
) -> list[float]:
    """Return the seconds that each row takes for this number of sentences; the rows alternate."""
    texts = spread(pairs, number).sentences()[:number]
    sides: dict[str, Callable[[], object]] = {
        str(index): partial(
            Embedder(encoder, row.prompts, postprocess=row.postprocess).encode, texts
        )
        for index, row in enumerate(rows)
    }
    return [median(times) for times in medians(sides, repeats).values()]


if __name__ == "__main__":
    main()
