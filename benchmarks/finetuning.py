"""Fine-tuning on a small machine: with the plain prompt, and with the best demonstration.

    python benchmarks/finetuning.py best.json --train nli_triplets.csv [--data DATA]

The data folder defaults to the environment variable DEMOSEARCH_DATA. Both are trained on the same rows
with the same schedule; the best step is chosen on 200 pairs of STS-B dev. Before and after training they
are evaluated on SentEval's STS-B dev and test. Gains have 95% intervals by paired bootstrap over the pairs.
Re-run the command to resume: complete results are kept in --out.
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
    """Train and evaluate what is missing in --out, and print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demonstrations", type=Path)
    parser.add_argument("--train", type=Path, required=True, help="training file of `finetune`")
    add_data_option(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--steps", type=int, default=48, help="number of steps of 16 rows")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()

    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    file = DemonstrationsFile.read(arguments.demonstrations)
    model = ["--model", file.model.name, "--precision", arguments.precision]
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
    layer = ["--layer", str(file.prompts[0].layer)] if file.prompts[0].layer else []
    # The options of `evaluate`, and those of `finetune`.
    prompts = {
        "plain": (model, model),
        "demonstration": (best, [*model, *best[:2], *layer]),
    }
    for name, (evaluated, trained) in prompts.items():
        evaluate(out / f"{name}.json", evaluated, arguments.data)
        adapter = out / name
        if not (adapter / TRAINING_FILE).exists():
            run(["finetune", *trained, *train, "--out", str(adapter)])
        options = [*evaluated, "--adapter", str(adapter)]
        evaluate(out / f"{name}-tuned.json", options, arguments.data)

    # Each result is compared with all later ones.
    files = [str(out / f"{name}{suffix}.json") for name in prompts for suffix in ("", "-tuned")]
    for start in range(len(files) - 1):
        run(["compare", *files[start:], "--table", "markdown"])


def dev_pairs(data: str, out: Path) -> Path:
    """Write pairs of STS-B dev that cover the range of gold scores, and return their file."""
    path = out / "dev.csv"
    if not path.exists():
        dev = spread(read_pairs("stsb", Split.DEV, data), DEV_PAIRS)
        table = {"sentence1": dev.sentences1, "sentence2": dev.sentences2, "score": dev.scores}
        pd.DataFrame(table).to_csv(path, index=False)
    return path


def evaluate(out: Path, options: list[str], data: str) -> None:
    """Evaluate on STS-B dev and test, with the details from which intervals are computed."""
    if not out.exists():
        tasks = ["--data", str(Path(data) / "senteval"), "--tasks", "stsb-dev,stsb"]
        run(["evaluate", *options, *tasks, "--details", "--out", str(out)])


def run(arguments: list[str]) -> None:
    """Run a demosearch command, and exit with its status if it fails."""
    if status := demosearch(arguments):
        raise SystemExit(status)


if __name__ == "__main__":
    main()
