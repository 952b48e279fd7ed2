"""Fine-tuning on a small machine: the plain prompt, and on top of the best demonstration.

    python benchmarks/finetuning.py best.json --train nli_triplets.csv [--data DATA]

The data folder defaults to the environment variable DEMOSEARCH_DATA. Trains both on the same rows with the same schedule, 200 pairs of STS-B dev choosing among the steps,
and evaluates before and after on STS-B dev and test as SentEval has them. Gains come with 95% intervals
by paired bootstrap over the pairs. It can be killed and started again: what is whole stays in --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from measure import add_data_option, spread

from demosearch.cli.app import main as demosearch
from demosearch.datasets import Split, read_pairs
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.finetune.training_record import TRAINING_FILE

DEV_PAIRS = 200


def main() -> None:
    """Train and evaluate what is not there yet, and print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", type=Path)
    parser.add_argument(
        "--train", type=Path, required=True, help="triplets, as `finetune` takes them"
    )
    add_data_option(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--steps", type=int, default=48, help="of 16 rows each")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()

    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found = DemonstrationsFile.read(arguments.demonstrations)
    model = ["--model", found.model.name, "--precision", arguments.precision]
    best = ["--demonstrations", str(arguments.demonstrations), "--precision", arguments.precision]
    schedule = {
        "batch_size": 16,
        "max_steps": arguments.steps,
        "warmup_steps": 5,
        "eval_steps": 12,
        "learning_rate": 0.00015,
    }
    train = ["--train", str(arguments.train), "--dev", str(dev_pairs(arguments.data, out))]
    train += [word for key, value in schedule.items() for word in ("--set", f"{key}={value}")]
    layer = ["--layer", str(found.prompts[0].layer)] if found.prompts[0].layer else []
    sides = {
        "plain": (model, model),
        "demonstration": (best, [*model, *best[:2], *layer]),
    }
    for name, (how, trained) in sides.items():
        evaluate(out / f"{name}.json", how, arguments.data)
        adapter = out / name
        if not (adapter / TRAINING_FILE).exists():
            run(["finetune", *trained, *train, "--out", str(adapter)])
        evaluate(out / f"{name}-tuned.json", [*how, "--adapter", str(adapter)], arguments.data)

    # Every step before the last is compared with what comes after it.
    files = [str(out / f"{name}{after}.json") for name in sides for after in ("", "-tuned")]
    for start in range(len(files) - 1):
        run(["compare", *files[start:], "--table", "markdown"])


def dev_pairs(data: str, out: Path) -> Path:
    """Write pairs of STS-B dev, spread over the gold scores, and return their file."""
    path = out / "dev.csv"
    if not path.exists():
        dev = spread(read_pairs("stsb", Split.DEV, data), DEV_PAIRS)
        table = {"sentence1": dev.sentences1, "sentence2": dev.sentences2, "score": dev.scores}
        pd.DataFrame(table).to_csv(path, index=False)
    return path


def evaluate(out: Path, how: list[str], data: str) -> None:
    """Evaluate on STS-B dev and test, with what intervals are computed from."""
    if not out.exists():
        tasks = ["--data", str(Path(data) / "senteval"), "--tasks", "stsb-dev,stsb"]
        run(["evaluate", *how, *tasks, "--details", "--out", str(out)])


def run(words: list[str]) -> None:
    """Run a command of demosearch, or stop with its exit status."""
    if status := demosearch(words):
        raise SystemExit(status)


if __name__ == "__main__":
    main()
