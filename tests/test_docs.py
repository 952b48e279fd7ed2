"""Each command and each block of code in the README and the docs is executed, on tiny models.

Here, known names mean tiny seeded models, `DATA` means a few pairs, a GPU means the CPU, a database
server means a file, and the chat model is a server of the tests. Counts are small. Commands of other
programs are only parsed.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from transformers import LlamaConfig

from demosearch.cli.app import main, parse
from demosearch.models.known import KNOWN_MODELS, Origin
from demosearch.templates import find_template
from tests.chat_server import running_server
from tests.conftest import REPOSITORY
from tests.datasets.transfer import write_mrpc, write_opposites
from tests.fakes import fake_pairs
from tests.gguf_files import save_tiny, write_gguf
from tests.tiny import SMALL_LLAMA, save_model

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
]
# Downloads from the hub, which no test does.
NOT_RUN = ("mteb.get_tasks",)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: the language of a fenced block; empty for an indented one.
        text: its contents.
        file: for a fenced block, the file that was named last before it, or nothing.
    """

    language: str
    text: str
    file: str = ""


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    text = (REPOSITORY / page).read_text()
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    indented = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
    found = []
    for each in fenced.finditer(text):
        files = re.findall(r"`(\w+\.\w+)`", text[: each.start()])
        found.append((each.start(), Block(each[1], each[2], files[-1] if files else "")))
    # A fenced block may contain indented lines.
    bare = fenced.sub(lambda each: re.sub(r"[^\n]", "x", each[0]), text)
    found += [
        (each.start(), Block("", re.sub("^    ", "", each[0], flags=re.MULTILINE)))
        for each in indented.finditer(bare)
    ]
    return (block for _, block in sorted(found, key=lambda each: each[0]))


def commands(block: Block) -> list[str]:
    """Return the command lines of a block; none if it is not a shell block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()] if block.language in ("", "sh") else []


@pytest.fixture(scope="module")
def known(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replace known models by tiny models."""
    # Japanese texts have many tokens.
    llama = tmp_path_factory.mktemp("llama")
    save_model(LlamaConfig(**{**SMALL_LLAMA, "max_position_embeddings": 1024}), llama)
    with pytest.MonkeyPatch.context() as patch:
        for name, row in KNOWN_MODELS.items():
            folder = str(tiny("opt") if name.startswith("opt") else llama)
            patch.setitem(KNOWN_MODELS, name, replace(row, source=folder, origin=Origin.FOLDER))
        yield


@pytest.fixture(scope="module")
def prepared(
    known: None, tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with the files that the pages mention."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data(folder)
        make_results()
    for name in ("facebook/opt-1.3b", "my-model"):
        shutil.copytree(tiny("opt"), folder / name)
    llama = save_tiny("llama", tmp_path_factory.mktemp("gguf"), max_position_embeddings=1024)
    write_gguf(llama, folder / "model-Q4_K_M.gguf", "llama")
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a copy of that folder, with a chat model available."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DEMOSEARCH_DATA", "DATA")
    with running_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield tmp_path


def write_data(folder: Path) -> None:
    """Write the files that the commands of the pages read."""
    tables = {}
    for seed, name in enumerate(("train", "dev", "test")):
        pairs = fake_pairs(64, seed)
        tables[name] = pd.DataFrame(
            {
                "sentence1": [f"The {name} {text}" for text in pairs.sentences1],
                "sentence2": [f"The {name} {text}" for text in pairs.sentences2],
                "score": pairs.scores,
            }
        )
        path = folder / "DATA" / "stsb" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        tables[name].to_csv(path, index=False)
    tables["dev"].to_csv("my_pairs.csv", index=False)
    tables["test"].to_csv("my_test.csv", index=False)
    senteval = folder / "SentEval" / "data"
    shutil.copytree(folder / "DATA" / "stsb", senteval / "stsb")
    write_opposites(senteval, "CR", "custrev.neg", "custrev.pos")
    write_mrpc(senteval)
    sts = senteval / "STS" / "STS12-en-test"
    sts.mkdir(parents=True)
    rows = tables["test"]
    (sts / "STS.input.MSRpar.txt").write_text(
        "".join(f"{one}\t{two}\n" for one, two in zip(rows.sentence1, rows.sentence2, strict=True))
    )
    (sts / "STS.gs.MSRpar.txt").write_text("".join(f"{score}\n" for score in rows.score))
    benchmark = senteval / "STS" / "STSBenchmark" / "sts-test.csv"
    benchmark.parent.mkdir()
    benchmark.write_text(
        "".join(
            f"main\tfile\t2017\t0001\t{score}\t{one}\t{two}\n"
            for one, two, score in zip(rows.sentence1, rows.sentence2, rows.score, strict=True)
        )
    )
    triplets = [
        [f"A man {row} walks", f"Somebody {row} walks", f"Nobody {row} walks"] for row in range(12)
    ]
    for name in ("nli.csv", "triplets.csv"):
        pd.DataFrame(triplets, columns=["sent0", "sent1", "hard_neg"]).to_csv(name, index=False)
    Path("lines.txt").write_text("A cat sleeps.\nDogs bark at night.\n")
    Path("my_sentences.txt").write_text(
        "\n".join(f"Rain {row} fell on the town" for row in range(9))
    )
    pd.DataFrame(
        {
            "word": ["Rain", "Snow", "Wind"],
            "definition": [f"it is {row} in the air" for row in "abc"],
        }
    ).to_csv("my_dictionary.csv", index=False)


def make_results() -> None:
    """Make the results that pages start from: runs, a search, and candidates."""
    execute("demosearch candidates --labeler none --dictionary starter --out candidates.jsonl")
    for model in ("smollm2-135m", "llama-13b", "opt-125m", "opt-350m", "opt-1.3b"):
        below = "opt/" if model.startswith("opt") else ""
        out = f"runs/{below}{model}"
        execute(
            f"demosearch run --model {model} --dev my_pairs.csv --test my_test.csv"
            " --candidates candidates.jsonl",
            out,
        )
        if below:
            shutil.copytree(out, f"runs/{model}")
    execute(
        "demosearch search --model smollm2-135m --candidates candidates.jsonl --dev my_pairs.csv"
        " --out best.json"
    )


SMALL = {
    "run": "--set candidates.n_sentences=2 candidates.n_dictionary=4"
    " candidates.dictionary=starter candidates.labeler=none",
    "candidates": "--n-sentences 2 --n-dictionary 4",
    "finetune": "--set batch_size=4 max_steps=2 eval_steps=2 warmup_steps=1 --precision fp32",
}
HERE = (
    (r"--devices \S+", "--devices cpu"),
    (r"postgresql://\S+", "sqlite:///shared.db"),
    (r"/shared/(\S+\.log)", r"\1"),
    (r"--base-url \S+", ""),
)


def execute(line: str, out: str = "made") -> None:
    """Run a `demosearch` command; a run writes its files to `out` instead of the folder of the line."""
    for pattern, replacement in HERE:
        line = re.sub(pattern, replacement, line)
    words = shlex.split(line, comments=True)[1:]
    if words and words[-1] != "--help":
        words = with_options(words, shlex.split(SMALL.get(words[0], "")))
    if words[0] == "run":
        # A folder belongs to one run, and a study belongs to one run.
        shutil.rmtree(out, ignore_errors=True)
        Path("shared.db").unlink(missing_ok=True)
        words = with_options(words, ["--out", out])
    if words[0] == "search":
        # A study belongs to one search.
        written = Path(words[words.index("--out") + 1])
        shutil.rmtree(written.with_suffix(".study"), ignore_errors=True)
    # The training of a tiny model on a few rows may give an adapter that is worse than none.
    assert main(words) in ((0, 1) if words[0] == "finetune" else (0,)), line


def with_options(words: list[str], options: list[str]) -> list[str]:
    """Return the words of a command with more options, which replace those of the same name."""
    if not options or not is_building(words):
        return words
    for name in (word for word in options if word.startswith("--") and word != "--set"):
        if name in words:
            index = words.index(name)
            words = [*words[:index], *words[index + 2 :]]
    return [*words, *options]


def is_building(words: list[str]) -> bool:
    """Whether a command builds something, which `candidates --show` and `--merge` do not."""
    return not {"--show", "--merge"} & set(words)


def check(line: str) -> bool:
    """Check a line of another program as far as possible; return whether it was one."""
    words = line.partition(" # ")[0].split()
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), line
    elif words[0] == "torchrun":
        parse(words[words.index("demosearch") + 1 :])
    elif words[0] == "optuna-dashboard":
        assert Path(words[1].removeprefix("sqlite:///")).is_file(), line
    elif words[0] == "pip":
        extras = re.findall(r"\[([\w,]+)\]", line)
        declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        assert {name for each in extras for name in each.split(",")} <= {
            *declared["optional-dependencies"]
        }
    elif words[0] == "export":
        assert words[1].startswith("OPENAI_API_KEY="), line
    else:
        return False
    return True


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_and_code_of_a_page_work(
    page: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(page):
        for line in commands(block):
            if line.startswith("demosearch "):
                execute(line)
            elif not check(line):
                # Not a command: a prompt, a file, or the output of a command.
                assert not re.search(r"--\w|\bdemosearch [a-z]", line), line
        if block.language == "python":
            if any(call in block.text for call in NOT_RUN):
                ast.parse(block.text)
            else:
                exec(compile(block.text, page, "exec"), {})
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            for name in ("mine.yaml", *([block.file] if block.file.endswith(".yaml") else [])):
                (place / name).write_text(block.text)
            assert yaml.safe_load(block.text)
            assert find_template(str(place / "mine.yaml"))
        elif block.language in ("csv", "text"):
            (place / block.file).write_text(block.text)
        else:
            assert block.language in ("", "sh"), f"{page}: {block.language} is not executed"


def test_the_site_has_all_pages_and_no_broken_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    build(config)
    built = {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    assert {Path(page).stem for page in PAGES if page.startswith("docs/")} <= built | {"index"}
    nav = (REPOSITORY / "mkdocs.yml").read_text()
    assert all(Path(page).name in nav for page in PAGES if page.startswith("docs/"))


STUBS = {
    # Runs the command that follows its options, as one task.
    "srun": 'while [[ $1 == --* ]]; do shift; done; export SLURM_PROCID=0; exec "$@"',
    "torchrun": 'shift 4; exec demosearch "$@"',
    "nvidia-smi": "echo GPU 0; echo GPU 1",
    "demosearch": 'printf "%s\\n" "$*" >> commands; while [ $# -gt 1 ]; do if [ "$1" = --out ]; then out=$2;'
    ' fi; shift; done; mkdir -p "$(dirname "$out")"; case $out in *.jsonl) touch "$out";; *) mkdir -p "$out";'
    ' touch "$out/demonstrations.json" "$out/report.html";; esac',
}


@pytest.mark.parametrize(
    ("script", "given", "expected"),
    [
        ("slurm.sbatch", [], ["run"]),
        ("torchrun.sh", ["search", "llama-65b"], ["run"]),
        ("torchrun.sh", ["finetune", "llama-13b"], ["finetune"]),
    ],
)
def test_the_example_scripts_call_valid_commands(
    script: str, given: list[str], expected: list[str], tmp_path: Path
) -> None:
    for name, text in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MODEL": "llama-13b",
        "DATA": "DATA",
        "TRAIN": "nli.csv",
        "STORAGE": "sqlite:///s.db",
        "SLURM_CPUS_PER_TASK": "16",
    }
    path = REPOSITORY / "pipelines" / script
    subprocess.run(["bash", str(path), *given], check=True, cwd=tmp_path, env=environment)
    called = [shlex.split(line) for line in (tmp_path / "commands").read_text().splitlines()]
    assert [words[0] for words in called] == expected
    for words in called:
        parse(words)
    if script == "slurm.sbatch":
        # A job fails if all its tasks fail, even if an earlier job has written a report.
        assert (tmp_path / "runs/llama-13b/report.html").exists()
        (tmp_path / "demosearch").write_text("#!/bin/bash\nexit 2\n")
        again = subprocess.run(["bash", str(path)], check=False, cwd=tmp_path, env=environment)
        assert again.returncode == 1


def test_the_links_of_the_readme_point_to_files() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (REPOSITORY / page).read_text()):
            assert target.startswith("https://") or (REPOSITORY / target).exists(), target
