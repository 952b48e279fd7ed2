from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, LlamaConfig, OPTConfig

from demosearch import Embedder, Encoder
from demosearch.cli.app import main
from demosearch.cli.finetune import TrainedModel, _prompt
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.evaluation import find_overlaps
from demosearch.export import export_sentence_transformer, export_vllm
from demosearch.integrations.sklearn_transformer import EmbeddingTransformer
from demosearch.known_demonstrations import (
    TABLE,
    is_known,
    known_demonstrations,
    named_by,
)
from demosearch.models.known import KNOWN_MODELS
from demosearch.prompt import prepare
from demosearch.selection.inputs import SearchInputs
from demosearch.selection.search import search
from demosearch.selection.settings import SearchSettings
from demosearch.templates import TEMPLATES
from tests.examples import demonstrations_file
from tests.fakes import fake_pairs, write_fake_pairs
from tests.selection.searches import open_study

OPT = ["opt-125m", "opt-350m", "opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b", "opt-66b"]
TEXTS = ["A cat sleeps.", "Dogs bark at night", "Is it raining?", ""]
# The configurations of facebook/opt-*: layers, width, width of the last states.
SIZES = {
    "opt-125m": (12, 768, 768),
    "opt-350m": (24, 1024, 512),
    "opt-1.3b": (24, 2048, 2048),
    "opt-2.7b": (32, 2560, 2560),
    "opt-6.7b": (32, 4096, 4096),
    "opt-13b": (40, 5120, 5120),
    "opt-30b": (48, 7168, 7168),
    "opt-66b": (64, 9216, 9216),
}


@pytest.fixture
def opt(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny OPT in a folder, which has the size of the known model opt-125m."""
    row = replace(KNOWN_MODELS["opt-125m"], layers=3, width=48)
    monkeypatch.setitem(KNOWN_MODELS, "opt-125m", row)
    return str(tiny("opt"))


@pytest.mark.data
def test_the_paper_s_demonstrations_are_those_of_its_authors(data: Path) -> None:
    with (data / "paper_demonstrations.csv").open(encoding="utf-8", newline="") as file:
        facts = [(row["model"], row["sentence"], row["word"]) for row in csv.DictReader(file)]
    entries = named_by("paper")
    assert facts == [
        (entry.model, one.sentence, one.word)
        for entry in entries
        for one in entry.prompt.demonstrations
    ]
    assert {(entry.prompt.template.name, entry.prompt.layer) for entry in entries} == {
        ("prompteol", None)
    }


def test_the_table_is_valid() -> None:
    assert [entry.model for entry in named_by("paper")] == OPT
    for line in csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()):
        assert line["model"] in KNOWN_MODELS
        assert line["template"] in TEMPLATES
        assert line["sentence"] == prepare(line["sentence"])
        assert line["word"].strip()
        assert line["source"]
        assert (
            line["layer"] == "last" or 0 < int(line["layer"]) <= KNOWN_MODELS[line["model"]].layers
        )


@pytest.mark.parametrize("name", OPT)
def test_the_size_decides_by_name_hub_id_and_folder(name: str, tmp_path: Path) -> None:
    entry = known_demonstrations("paper", name)
    assert entry.model == name
    assert known_demonstrations("paper", f"facebook/{name}") is entry
    layers, width, projected = SIZES[name]
    OPTConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        word_embed_proj_dim=projected,
        num_attention_heads=width // 64,
    ).save_pretrained(tmp_path)
    assert known_demonstrations("paper", str(tmp_path)) is entry


def test_another_type_of_the_same_size_is_no_opt(tmp_path: Path) -> None:
    LlamaConfig(num_hidden_layers=32, hidden_size=2560).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="there are no demonstrations 'paper' for model"):
        known_demonstrations("paper", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        (
            "paper",
            "llama-7b",
            r"^there are no demonstrations 'paper' for model 'llama-7b'; 'paper' has demonstrations for"
            r" opt-125m, .*, opt-66b; search with this model, or use paper:opt-125m with --allow-other-model$",
        ),
        (
            "best",
            "opt-2.7b",
            r"^there are no .* 'best' has demonstrations for smollm2-135m; search",
        ),
        ("paper", None, r"^demonstrations 'paper' require --model; 'paper' has .* opt-125m, "),
        ("paper", "opt-2.7", r"^unknown model 'opt-2.7'; did you mean opt-2.7b"),
        (
            "paper:opt-3b",
            "opt-2.7b",
            r"^unknown demonstrations 'paper:opt-3b'; 'paper' has .*-66b$",
        ),
        ("paper:", None, r"^unknown demonstrations 'paper:'; 'paper' has "),
        (
            "paper:opt-2.7b",
            "opt-1.3b",
            r"^paper:opt-2.7b was chosen for model 'opt-2.7b' but got 'opt-1.3b'; search with this model,"
            r" or use --allow-other-model$",
        ),
    ],
)
def test_what_there_is_not_is_an_error_in_one_line(
    name: str, model: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        known_demonstrations(name, model, allow_other_model=False)
    assert "\n" not in str(error.value)


def test_the_entry_of_a_model_is_chosen_by_name() -> None:
    entry = known_demonstrations("paper:opt-2.7b", None)
    assert entry.prompt.demonstrations[0].word == "Equestrian"
    assert known_demonstrations("paper:opt-2.7b", "facebook/opt-2.7b") is entry
    assert known_demonstrations("paper:opt-2.7b", "llama-7b", allow_other_model=True) is entry
    best = known_demonstrations("best", "smollm2-135m")
    assert (best.prompt.layer, best.prompt.demonstrations) == (
        26,
        (Demonstration(sentence="A black dog is running in snow.", word="Bark", source=best.name),),
    )


def test_only_names_of_the_table_are_names() -> None:
    assert all(map(is_known, ("paper", "best", "paper:opt-2.7b", "best:x")))
    files = ("./paper", "paper.json", "paper/best.json", "Paper", "", Path("paper"), None)
    assert not any(map(is_known, files))


def last_states(folder: str, demonstration: str) -> np.ndarray:
    """The last state of each text's prompt, written out by hand, by plain transformers."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shown = ["A cat sleeps.", "Dogs bark at night.", "Is it raining.", ""]
    rows = []
    for text in shown:
        prompt = f'{demonstration}This sentence : "{text}" means in one word:"'
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.inference_mode():
            rows.append(model(input_ids=ids).last_hidden_state[0, -1].numpy())
    return np.stack(rows)


SMOKING = 'This sentence : "A man is smoking." means in one word:"Smoking".'
JOCKEY = 'This sentence : "A jockey riding a horse." means in one word:"Equestrian".'


def test_embeddings_are_those_of_the_paper_s_prompt(opt: str, tmp_path: Path) -> None:
    embedder = Embedder.load(model=opt, demonstrations="paper", precision="fp32", device="cpu")
    expected = last_states(opt, SMOKING)
    np.testing.assert_allclose(embedder.encode(TEXTS), expected, rtol=1e-4, atol=1e-4)
    transformer = EmbeddingTransformer("paper", model=opt, precision="fp32", device="cpu")
    np.testing.assert_allclose(transformer.fit_transform(TEXTS), expected, rtol=1e-4, atol=1e-4)
    inner = Embedder.load("paper", model=opt, layer=2, precision="fp32", device="cpu")
    assert inner.describe()["prompts"][0]["layer"] == 2


def test_another_model_must_be_allowed(tiny: Callable[[str], Path]) -> None:
    options = {"model": str(tiny("opt")), "precision": "fp32", "device": "cpu"}
    with pytest.raises(UserError, match="there are no demonstrations 'paper' for model"):
        Embedder.load("paper", **options)
    with pytest.raises(UserError, match="there are no demonstrations 'paper' for model"):
        Embedder.load("paper", allow_other_model=True, **options)
    with pytest.raises(UserError, match=r"was chosen for model 'opt-2.7b' but got"):
        Embedder.load("paper:opt-2.7b", **options)
    embedder = Embedder.load("paper:opt-2.7b", allow_other_model=True, **options)
    np.testing.assert_allclose(
        embedder.encode(TEXTS), last_states(options["model"], JOCKEY), rtol=1e-4, atol=1e-4
    )
    # The entry's layer is checked as any layer is.
    with pytest.raises(UserError, match="layer"):
        Embedder.load("best:smollm2-135m", allow_other_model=True, **options).encode(TEXTS)


def test_a_file_of_that_name_is_a_path(
    opt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    record = Embedder.load("paper", model=opt, precision="fp32", device="cpu").encoder.record
    demonstrations_file(record, layer=1).write(tmp_path / "paper")
    for file in ("./paper", Path("paper"), str(tmp_path / "paper")):
        assert Embedder.load(file, device="cpu").prompts[0].layer == 1
    assert Embedder.load("paper", model=opt, device="cpu").prompts[0].layer is None
    (tmp_path / "lines.txt").write_text("A cat sleeps.\n")
    words = {"./paper": [], "paper": ["--model", opt]}
    expected = {"./paper": Embedder.load("./paper", device="cpu"), "paper": None}
    expected["paper"] = Embedder.load("paper", model=opt, precision="fp32", device="cpu")
    for name, model in words.items():
        arguments = ["--demonstrations", name, *model, "--precision", "fp32", "--device", "cpu"]
        assert main(["embed", *arguments, "lines.txt", "--out", "out.npy"]) == 0
        np.testing.assert_allclose(
            np.load("out.npy"), expected[name].encode(["A cat sleeps."]), rtol=1e-4, atol=1e-4
        )
    assert "paper:opt-125m: 'A man is smoking.' -> Smoking (prompteol, layer last)" in "".join(
        capsys.readouterr().err.split("\n")
    )


def test_a_result_names_the_demonstration_and_overlaps(opt: str, tmp_path: Path) -> None:
    pairs, out = tmp_path / "own.csv", tmp_path / "result.json"
    own = fake_pairs(12)
    rows = [*zip(own.sentences1, own.sentences2, own.scores, strict=True)]
    rows.append(("A man is smoking", "It rains.", 2.0))
    pairs.write_text("sentence1,sentence2,score\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    options = ["--precision", "fp32", "--device", "cpu", "--no-cache", "--out", str(out)]
    arguments = ["--model", opt, "--demonstrations", "paper", "--tasks", str(pairs), *options]
    assert main(["evaluate", *arguments]) == 0
    result = json.loads(out.read_text())
    (prompt,) = result["system"]["prompts"]
    assert [one["word"] for one in prompt["demonstrations"]] == ["Smoking"]
    assert prompt["layer"] == 3
    assert result["overlaps"] == [f"{pairs}: contains the demonstration 'A man is smoking.'"]


def test_the_dev_pairs_of_known_demonstrations_are_recognized() -> None:
    (entry,) = named_by("paper:opt-13b")
    pairs = fake_pairs(12)
    data = {
        name: [replace(pairs, name=name)] for name in ("stsb-dev", "stsb-dev-senteval", "other")
    }
    assert find_overlaps(entry, data) == [
        "stsb-dev: the demonstrations were chosen on it (stsb-dev)",
        "stsb-dev-senteval: the demonstrations were chosen on it (stsb-dev)",
    ]


@pytest.mark.parametrize("command", ["evaluate --tasks dev.csv", "embed lines.txt --out x.npy"])
def test_offline_the_message_says_what_to_do(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_fake_pairs(tmp_path / "dev.csv", 12)
    (tmp_path / "lines.txt").write_text("A cat sleeps.\n")
    options = ["--model", "opt-2.7b", "--demonstrations", "paper", "--device", "cpu"]
    assert main([*command.split(), *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cannot load" in line]
    assert "'facebook/opt-2.7b' from the model hub (offline, gated or unknown?)" in line
    assert "a local folder also works: --model FOLDER" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("embed --demonstrations paper --model llama-7b l.txt --out x.npy", "for model 'llama-7b'"),
        ("evaluate --demonstrations best --model opt-2.7b --tasks dev.csv", "for smollm2-135m"),
        ("embed --demonstrations paper l.txt --out x.npy", "require --model"),
        (
            "embed --demonstrations paper --template echo --model opt-2.7b l.txt --out x.npy",
            "--templ",
        ),
        ("export best --model opt-2.7b --to vllm --out x", "no demonstrations 'best' for model"),
        ("export best --to vllm --out x", "'best' require --model"),
    ],
)
def test_commands_report_in_one_line(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_fake_pairs(tmp_path / "dev.csv", 12)
    (tmp_path / "l.txt").write_text("A cat sleeps.\n")
    assert main(words.split()) == 2
    shown = [
        line for line in capsys.readouterr().err.splitlines() if not line.startswith("demonst")
    ]
    assert len(shown) == 1
    assert message in shown[0]


def test_a_folder_with_known_demonstrations_is_exported(opt: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    exported = export_sentence_transformer("paper", tmp_path / "out", model=opt)
    assert exported.prompt.layer == 3
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, last_states(opt, SMOKING), rtol=1e-4, atol=1e-4)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- Demonstrations: A man is smoking. -> Smoking." in card
    assert "- Chosen for opt-125m on stsb-dev. Source: arXiv 2307.16645, " in card
    assert "weights in fp32" in card
    served = export_vllm("paper", tmp_path / "served", model=opt, precision="bf16")
    assert "--dtype bfloat16" in (served.folder / "SERVING.md").read_text()


def test_an_adapter_folder_called_paper_is_a_path(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    (tmp_path / "paper").mkdir(parents=True)
    with pytest.raises(UserError, match=r"must be a demonstrations file or a folder that finetune"):
        export_sentence_transformer(tmp_path / "paper", tmp_path / "out")


def test_training_takes_the_paper_s_prompt(opt: str, tiny: Callable[[str], Path]) -> None:
    prompt = _prompt(TrainedModel(model=opt, demonstrations="paper"))
    assert prompt.render("A cat.") == f'{SMOKING}This sentence : "A cat." means in one word:"'
    # The paper trains at the last layer.
    assert _prompt(TrainedModel(model="smollm2-135m", demonstrations="best")).layer is None
    with pytest.raises(UserError, match=r"search with this model$"):
        _prompt(TrainedModel(model=str(tiny("llama")), demonstrations="paper"))


def test_a_warm_start_scores_all_eight_first(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    dev = fake_pairs(60)
    settings = SearchSettings(warm_start=("paper", "best"))
    inputs = SearchInputs.read(settings, dev)
    words = [one.word for one in inputs.warm_start]
    assert words == [
        *("Smoking", "Music", "Swiss", "Equestrian", "Horseback-riding"),
        *("Venison", "Motorcycling", "Tutorial", "Bark"),
    ]
    encoder = Encoder.load(str(tiny("opt")), precision="fp32", device="cpu")
    own = [Demonstration(sentence="A car drives.", word="Driving")]
    result = search(encoder, own, dev, settings, folder=tmp_path)
    carried = {ranked.word: ranked.source for ranked in result.file.carried_over}
    assert carried.keys() == set(words)
    assert carried["Equestrian"] == "paper:opt-2.7b"
    scored = [trial.user_attrs.get("word") for trial in open_study(tmp_path).trials]
    # After the prompt without demonstrations.
    assert scored[1:11] == [*words, "Driving"]
    single = SearchInputs.read(SearchSettings(warm_start=("paper:opt-13b",)), dev)
    assert [one.word for one in single.warm_start] == ["Venison"]
