"""The command line: settings in, one call of a public function, one result out."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import TypeAlias

from demosearch import __version__
from demosearch.cli import commands
from demosearch.cli.completion import SHELLS, PrintCompletion
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError, failure_of_the_machine
from demosearch.selection.settings import STUDY_NAME

DESCRIPTION = """\
Find the in-context demonstrations that make a language model the best sentence encoder.

examples:
  demosearch run --model smollm2-135m --pipeline quickstart
  demosearch run --model llama-13b --data data/
  demosearch embed --demonstrations runs/llama-13b/demonstrations.json lines.txt --out vectors.npy
"""


# Seconds after which an interrupt that was lost comes again.
_AGAIN = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0, 2 for what the user can mend, 130 if interrupted.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    _quiet_others()
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _lose_no_interrupt
    from demosearch._common.progress import complain, console, log_to_console

    quiet = arguments.quiet or tensor_parallel.follows()
    log_to_console(logging.WARNING if quiet else logging.INFO)
    try:
        result = arguments.command(arguments)
        if arguments.json and not tensor_parallel.follows():
            sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    except UserError as error:
        if arguments.json and error.result is not None:
            sys.stdout.write(json.dumps(error.result, ensure_ascii=False) + "\n")
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        # Who presses it once more, while threads come to their end, wants out at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        console.print("demosearch: interrupted; the same command goes on where it stopped")
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not (reason := failure_of_the_machine(error)):
            raise
        complain(f"{reason}; once that is mended the same command goes on where it stopped")
        return 2
    finally:
        tensor_parallel.dismiss()
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="demosearch",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"demosearch {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print a script by which the shell completes commands and options",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(subparsers)
    _add_candidates(subparsers)
    _add_search(subparsers)
    _add_embed(subparsers)
    _add_evaluate(subparsers)
    _add_compare(subparsers)
    _add_finetune(subparsers)
    _add_export(subparsers)
    _add_report(subparsers)
    _add_lists(subparsers)
    return parser


Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_run(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "run",
        commands.run,
        "build candidates, search, export and test, all in one folder",
        "demosearch run --model smollm2-135m --pipeline quickstart",
        "demosearch run --model facebook/opt-1.3b --dev my_pairs.csv --set candidates.n_sentences=50",
        "demosearch run --model opt-125m opt-350m opt-1.3b --data DATA --out runs/opt",
    )
    parser.add_argument(
        "--model",
        required=True,
        nargs="+",
        metavar="M",
        help="known names, hub ids or local folders; several give a table over all",
    )
    parser.add_argument(
        "--pipeline",
        metavar="P",
        help="a pipeline's name or file (default: paper, of STS-B dev and test)",
    )
    _dev(parser)
    parser.add_argument(
        "--test",
        metavar="D[,D...]",
        help="pairs scored once, after the choice (default: the pipeline's, unless --dev is given)",
    )
    parser.add_argument("--candidates", metavar="F", help="use these instead of building some")
    _search_options(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the run's folder (default: runs/MODEL; of several models: runs)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change any setting; `demosearch schema run` lists them",
    )
    _adapter(parser)
    _device(parser)
    _devices(parser)


def _add_candidates(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "candidates",
        commands.candidates,
        "build candidate demonstrations from sentences and a dictionary",
        "demosearch candidates --labeler openai --votes 5 --max-cost 0.50 --out candidates.jsonl",
        "demosearch candidates --labeler none --dictionary wordnet --out candidates.jsonl",
        "demosearch candidates --merge a.jsonl b.jsonl --out both.jsonl",
        "demosearch candidates --show both.jsonl",
    )
    parser.add_argument("--out", metavar="F", help="candidates file to write")
    parser.add_argument("--show", metavar="F", help="show a candidates file, build nothing")
    parser.add_argument("--merge", nargs="+", metavar="F", help="merge files, build nothing")
    parser.add_argument("--explain", metavar="F", help="write what was refused, and why (JSONL)")
    parser.add_argument("--model", metavar="M", help="the model, for local labels and quality")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of what is drawn")
    labeling = parser.add_argument_group("labeled sentences")
    labeling.add_argument(
        "--labeler",
        choices=["auto", "openai", "local", "none"],
        help="who says the word; auto: openai if a key is set, otherwise local",
    )
    labeling.add_argument("--labeler-model", metavar="M", help="chat model, or another local model")
    labeling.add_argument("--sentences", metavar="F", help="starter, stsb-train or a file")
    labeling.add_argument("--n-sentences", type=int, metavar="N", help="labeled sentences wanted")
    labeling.add_argument("--data", metavar="DIR", help="folder that stsb-train is looked for in")
    labeling.add_argument("--base-url", metavar="URL", help="chat server (default OPENAI_BASE_URL)")
    labeling.add_argument("--votes", type=int, metavar="N", help="answers a sentence (default: 1)")
    labeling.add_argument("--rate", type=int, metavar="N", help="requests a minute at most")
    labeling.add_argument("--max-cost", type=float, metavar="USD", help="what labeling may cost")
    labeling.add_argument("--price", metavar="S,R", help="USD a million tokens sent, received")
    pairs = parser.add_argument_group("dictionary pairs")
    pairs.add_argument("--dictionary", metavar="D", help="wordnet, starter, none or a file")
    pairs.add_argument("--n-dictionary", type=int, metavar="N", help="dictionary pairs wanted")
    pairs.add_argument("--headwords", metavar="F", help="words that wordnet is asked for")
    pairs.add_argument(
        "--download",
        action="store_true",
        default=None,
        help="fetch WordNet through NLTK where it is not installed",
    )
    curation = parser.add_argument_group("curation")
    curation.add_argument(
        "--refuse-word-in-sentence",
        action="store_true",
        default=None,
        help="refuse a word that stands in its sentence (by default it is flagged)",
    )
    curation.add_argument("--language", metavar="L", help="refuse other languages, e.g. en")
    curation.add_argument("--offensive-words", metavar="F", help="refuse pairs with one of these")
    curation.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="D",
        help="dev or test pairs whose sentences must not become demonstrations; repeatable",
    )
    curation.add_argument(
        "--no-quality",
        dest="quality",
        action="store_false",
        default=None,
        help="leave out the quality scores",
    )
    _pickle(parser)
    _device(parser)
    _devices(parser, "the first of them, or all where it has no room for the local labeler")


def _add_search(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "search",
        commands.search,
        "choose among candidates by the dev pairs",
        "demosearch search --model opt-1.3b --candidates candidates.jsonl --dev stsb --out best.json",
    )
    _model(parser)
    parser.add_argument("--candidates", required=True, metavar="F", help="candidates file")
    _dev(parser, required=True)
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="D",
        help="test pairs whose sentences must not be demonstrations; repeatable",
    )
    _search_options(parser)
    parser.add_argument("--out", required=True, metavar="F.json", help="demonstrations file")
    _adapter(parser)
    _device(parser)
    _devices(parser)


def _add_embed(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "embed",
        commands.embed,
        "turn texts into vectors",
        "demosearch embed --demonstrations best.json lines.txt --out vectors.npy",
        "cat lines.txt | demosearch embed --model opt-125m - --out vectors.parquet",
    )
    _system(parser)
    parser.add_argument("input", metavar="INPUT", help="text, CSV, TSV, JSONL, parquet or -")
    parser.add_argument("--out", required=True, metavar="F", help=".npy or .parquet")
    parser.add_argument("--column", metavar="NAME", help="the column that holds the text")
    parser.add_argument("--normalize", action="store_true", help="scale every vector to length 1")
    _adapter(parser)
    _device(parser)
    _devices(parser)


def _add_evaluate(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "evaluate",
        commands.evaluate,
        "score a model, with or without demonstrations, on the paper's tasks",
        "demosearch evaluate --demonstrations best.json --tasks sts --data SentEval/data --out r.json",
        "demosearch evaluate --model google-bert/bert-base-uncased --method mean --tasks full --out b.json",
        "demosearch evaluate --model smollm2-135m --tasks my_pairs.csv",
    )
    _system(parser)
    parser.add_argument(
        "--method",
        choices=["prompt", "mean", "cls", "pooler"],
        help="how states become an embedding (default for a decoder: prompt)",
    )
    parser.add_argument(
        "--tasks",
        default="sts",
        metavar="T,...",
        help="sts, transfer, full, names of tasks, files of pairs (default: sts)",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="SentEval data folder, or hub (default: DEMOSEARCH_DATA)"
    )
    parser.add_argument("--out", metavar="F.json", help="result file to write")
    parser.add_argument(
        "--classifier",
        choices=["senteval", "logistic"],
        default="senteval",
        help="of the transfer tasks: as published, or a faster one",
    )
    parser.add_argument(
        "--details", action="store_true", help="show subsets, Pearson and other averages"
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="keep no embeddings for the next evaluation"
    )
    _adapter(parser)
    _device(parser)
    _devices(parser)


def _add_compare(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "compare",
        commands.compare,
        "put results side by side: which is better, and how sure that is",
        "demosearch compare plain.json best.json --published 'OPT*'",
        "demosearch compare results/*.json --table latex > table.tex",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULT", help="the others are compared with the first"
    )
    parser.add_argument(
        "--table",
        choices=["markdown", "csv", "latex", "json"],
        default="markdown",
        help="default: markdown",
    )
    parser.add_argument(
        "--published", metavar="PATTERN", help="add published scores, e.g. 'OPT*' or '*'"
    )
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)"
    )


def _add_finetune(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "finetune",
        commands.finetune,
        "train a LoRA on the prompted model by the paper's contrastive recipe",
        "demosearch finetune --model opt-1.3b --train nli.csv --dev stsb --out adapters/opt-1.3b",
        "demosearch finetune --model opt-2.7b --train nli.csv --precision nf4 --out adapters/qlora"
        " --set mini_batch_size=32",
        "demosearch finetune --model smollm2-135m --train lines.csv --columns text --out adapters/u",
    )
    parser.add_argument("--model", required=True, metavar="M", help="name, hub id or folder")
    parser.add_argument("--train", required=True, metavar="F", help="sent0,sent1,hard_neg")
    parser.add_argument(
        "--columns", metavar="A[,B[,C]]", help="columns: text, positive, hard negative"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the adapter")
    parser.add_argument("--demonstrations", metavar="F", help="train under these demonstrations")
    parser.add_argument("--layer", metavar="last|N", help="train at this layer (default: last)")
    parser.add_argument("--dev", metavar="D", help="pairs that choose among the steps")
    _data(parser)
    parser.add_argument(
        "--pipeline", default="finetune", metavar="P", help="name or file (default: the paper's)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="e.g. batch_size=32; `demosearch schema finetune` lists all",
    )
    _pickle(parser)
    _device(parser)


def _add_export(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "export",
        commands.export,
        "write a folder that others load without this package",
        "demosearch export best.json --to sentence-transformers --out my-encoder",
        "demosearch export adapters/opt-1.3b --to vllm --merge --precision bf16 --out served",
    )
    parser.add_argument(
        "file", metavar="F.json", help="a demonstrations.json, or an adapter's folder of finetune"
    )
    parser.add_argument(
        "--to",
        required=True,
        choices=["sentence-transformers", "vllm"],
        help="who is to load it",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder to make")
    parser.add_argument("--model", metavar="M", help="where the weights are, if elsewhere")
    parser.add_argument("--merge", action="store_true", help="add the adapter to the weights")
    _adapter(parser)
    parser.add_argument(
        "--precision", choices=["fp32", "bf16", "fp16"], help="of the weights (default: the file's)"
    )


def _add_report(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "report",
        commands.report,
        "show finished runs on one page, with pictures",
        "demosearch report runs/smollm2-135m",
        "demosearch report runs/opt-125m runs/opt-350m runs/opt-1.3b --out by_size.html",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="DIR", help="folders of runs, or files that search wrote"
    )
    parser.add_argument(
        "--out",
        metavar="F.html",
        help="page to write; the pictures go into a folder of its name (default: DIR/report.html, of"
        " several DIRs report.html)",
    )


def _add_lists(subparsers: Subparsers) -> None:
    _command(subparsers, "models", commands.models, "list the known models", "demosearch models")
    _command(
        subparsers,
        "doctor",
        commands.doctor,
        "say what is installed and in reach, and what to do about what is not",
        "demosearch doctor",
        "demosearch doctor --json | jq '.[] | select(.advice != \"\")'",
    )
    _command(
        subparsers, "pipelines", commands.pipelines, "list the pipelines", "demosearch pipelines"
    )
    parser = _command(
        subparsers,
        "schema",
        commands.schema,
        "print the JSON Schema of demonstrations.json, or of a pipeline's settings",
        "demosearch schema > demonstrations.schema.json",
        "demosearch schema run",
    )
    parser.add_argument(
        "of",
        nargs="?",
        choices=["demonstrations", "run", "finetune"],
        default="demonstrations",
        help="the result's, or the settings of a command's pipelines (default: demonstrations)",
    )


def _command(
    subparsers: Subparsers, name: str, function: commands.Command, summary: str, *examples: str
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    parser.add_argument("--json", action="store_true", help="print one JSON value, nothing else")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, warnings only")
    return parser


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="M", help="known name, hub id or local folder"
    )


def _system(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="known name, hub id or local folder")
    parser.add_argument("--demonstrations", metavar="F", help="a demonstrations.json")
    parser.add_argument(
        "--template", metavar="T", help="name or YAML file, without --demonstrations"
    )
    parser.add_argument("--layer", type=int, metavar="N", help="index into hidden_states")
    parser.add_argument(
        "--allow-other-model",
        action="store_true",
        help="use demonstrations that were chosen for other weights",
    )


def _dev(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--dev",
        required=required,
        metavar="D[,D...]",
        help="pairs that choose: stsb, starter, a file or folder; over several the mean score counts",
    )
    _data(parser)


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder that stsb is looked for in (default: what DEMOSEARCH_DATA names, else the hub)",
    )


def _search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strategy", choices=["race", "exhaustive"], help="default: race")
    parser.add_argument(
        "--layer", metavar="last|auto|N", help="index into hidden_states; auto chooses it too"
    )
    parser.add_argument(
        "--budget",
        metavar="B",
        help="end after 10m, 5000-sentences, or 0.1 of an exhaustive search, with the best so far",
    )
    parser.add_argument(
        "--patience", type=int, metavar="N", help="end after N candidates without a new best"
    )
    parser.add_argument(
        "--storage",
        metavar="URL|F.log",
        help="a database that workers share, or a journal file on a shared disk (default: SQLite)",
    )
    parser.add_argument("--study", default=STUDY_NAME, metavar="NAME", help="the study's name")
    parser.add_argument(
        "--template",
        metavar="T[,T...]|all",
        help="names or YAML files to choose among (default: prompteol)",
    )
    parser.add_argument(
        "--warm-start",
        nargs="+",
        metavar="F",
        help="other models' demonstrations files, whose demonstrations are scored first",
    )
    parser.add_argument(
        "--shots", type=int, metavar="K", help="look for up to K demonstrations (default: 1)"
    )
    parser.add_argument(
        "--ensemble",
        type=int,
        metavar="M",
        help="average the embeddings under up to M prompts (default: 1)",
    )
    parser.add_argument(
        "--center",
        metavar="F|dev",
        help="subtract the mean embedding of a file's texts, or of the dev sentences",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="what is made larger: spearman (default), pearson, or an installed package's",
    )
    parser.add_argument(
        "--max-extra-tokens",
        type=int,
        metavar="N",
        help="leave out prompts that have more tokens than this beyond the plain one's",
    )
    parser.add_argument(
        "--save-similarities",
        action="store_true",
        help="keep the similarities of all that was scored on all pairs (float16)",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="default: 0")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16", "fp16", "int8", "nf4"],
        help="default: the fastest of 16 and 32 bits",
    )
    parser.add_argument("--device", metavar="D", help="a torch device (default: GPU if there is)")


def _devices(
    parser: argparse.ArgumentParser,
    use: str = "a replica on each; a model too large for one is spread over all",
) -> None:
    parser.add_argument("--devices", metavar="0,1", help=use)


def _adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--adapter", metavar="DIR", help="a LoRA to put on the model, or its hub id"
    )
    _pickle(parser)


def _pickle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-pickle", action="store_true", help="also read weights that are no safetensors"
    )


def _seed(text: str) -> int:
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 on")
    return int(text)


def _lose_no_interrupt(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where Ctrl-C came in the middle of what Python lets no exception out of."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(_AGAIN, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _quiet_others() -> None:
    """Keep other libraries' chatter off a user's screen; their errors still arrive."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Ours is the one bar on the screen.
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore")
    # On a CPU with bfloat16 instructions it says at import that a package of faster kernels is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
