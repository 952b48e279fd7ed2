"""The commands: where each one is defined, its summary, and its examples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the command line.

    Attributes:
        path: the module and the function, imported when the command is used or its help is shown.
        summary: one line for `--help`.
        examples: command lines for `--help`; the tests parse each one.
    """

    path: str
    summary: str
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the command."""
        return self.path.partition(":")[2]


COMMANDS = (
    Command(
        "demosearch.cli.run:run",
        "Build candidates, search, export and test, all in one folder.",
        (
            "demosearch run --model smollm2-135m --pipeline quickstart",
            "demosearch run --model facebook/opt-1.3b --dev my_pairs.csv"
            " --set candidates.n_sentences=50",
            "demosearch run --model opt-125m opt-350m opt-1.3b --data DATA --out runs/opt",
        ),
    ),
    Command(
        "demosearch.cli.candidates:candidates",
        "Build candidate demonstrations from sentences and a dictionary.",
        (
            "demosearch candidates --labeler openai --votes 5 --max-cost 0.50"
            " --out candidates.jsonl",
            "demosearch candidates --labeler none --dictionary wordnet --out candidates.jsonl",
            "demosearch candidates --merge a.jsonl b.jsonl --out both.jsonl",
            "demosearch candidates --show both.jsonl",
        ),
    ),
    Command(
        "demosearch.cli.search:search",
        "Select the best candidates on development pairs.",
        (
            "demosearch search --model opt-1.3b --candidates candidates.jsonl --dev stsb"
            " --out best.json",
        ),
    ),
    Command(
        "demosearch.cli.embed:embed",
        "Embed texts.",
        (
            "demosearch embed --demonstrations best.json lines.txt --out vectors.npy",
            "cat lines.txt | demosearch embed --model opt-125m - --out vectors.parquet",
        ),
    ),
    Command(
        "demosearch.cli.adapt:adapt",
        "Fit whitening on your own unlabeled texts, without searching again.",
        ("demosearch adapt best.json --unlabeled lines.txt --out adapted.json",),
    ),
    Command(
        "demosearch.cli.evaluate:evaluate",
        "Evaluate a model on the tasks of the paper, with or without demonstrations.",
        (
            "demosearch evaluate --demonstrations best.json --tasks sts --data SentEval/data"
            " --out r.json",
            "demosearch evaluate --model opt-2.7b --demonstrations paper --tasks sts --out p.json",
            "demosearch evaluate --model google-bert/bert-base-uncased --method mean --tasks full"
            " --out b.json",
            "demosearch evaluate --model smollm2-135m --tasks my_pairs.csv",
        ),
    ),
    Command(
        "demosearch.cli.evaluate:compare",
        "Compare results of `evaluate`, with confidence intervals.",
        (
            "demosearch compare plain.json best.json --published 'OPT*'",
            "demosearch compare results/*.json --table latex > table.tex",
        ),
    ),
    Command(
        "demosearch.cli.finetune:finetune",
        "Train a LoRA adapter on the prompted model with the contrastive recipe of the paper.",
        (
            "demosearch finetune --model opt-1.3b --train nli.csv --dev stsb"
            " --out adapters/opt-1.3b",
            "demosearch finetune --model opt-2.7b --train nli.csv --precision nf4"
            " --out adapters/qlora --set mini_batch_size=32",
            "demosearch finetune --model smollm2-135m --train lines.csv --columns text"
            " --out adapters/u",
        ),
    ),
    Command(
        "demosearch.cli.export:export",
        "Write a folder that other programs load without demosearch.",
        (
            "demosearch export best.json --to sentence-transformers --out my-encoder",
            "demosearch export adapters/opt-1.3b --to vllm --merge --precision bf16 --out served",
        ),
    ),
    Command(
        "demosearch.cli.report:report",
        "Write an HTML page with figures about finished runs.",
        (
            "demosearch report runs/smollm2-135m",
            "demosearch report runs/opt-125m runs/opt-350m runs/opt-1.3b --out by_size.html",
        ),
    ),
    Command("demosearch.cli.lists:models", "List the known models.", ("demosearch models",)),
    Command("demosearch.cli.lists:pipelines", "List the pipelines.", ("demosearch pipelines",)),
    Command(
        "demosearch.cli.lists:schema",
        "Print the JSON Schema of demonstrations.json or of the settings of a pipeline.",
        ("demosearch schema > demonstrations.schema.json", "demosearch schema run"),
    ),
    Command(
        "demosearch.cli.lists:doctor",
        "Show what is installed and available, and how to add what is missing.",
        (
            "demosearch doctor",
            "demosearch doctor --json | jq '.[] | select(.advice != \"\")'",
        ),
    ),
)

EXAMPLES = (
    "demosearch run --model smollm2-135m --pipeline quickstart",
    "demosearch run --model llama-13b --data data/",
    "demosearch embed --demonstrations runs/llama-13b/demonstrations.json lines.txt"
    " --out vectors.npy",
)
