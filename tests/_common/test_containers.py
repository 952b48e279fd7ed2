"""Every function that takes texts from a caller, with containers whose items are not their texts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from demosearch import Embedder, Prompt, search
from demosearch._common.containers import as_rows
from demosearch.bulk import embed_file
from demosearch.candidates import generate
from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.local import LocalLabeler
from demosearch.candidates.responses import ResponseCache
from demosearch.candidates.settings import CandidateSettings
from demosearch.datasets.classification import Examples
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError
from demosearch.evaluation.baselines import Method, open_baseline
from demosearch.evaluation.scoring import evaluate
from demosearch.finetune import finetune
from demosearch.integrations.mteb_model import MtebModel
from demosearch.integrations.sklearn_transformer import EmbeddingTransformer
from demosearch.selection import Unlabeled
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs
from tests.finetune.small import SETTINGS, TRIPLETS
from tests.tiny import save_tiny_encoder

TEXTS = ["A cat sleeps.", "Dogs bark at night", "Is it raining?"]
TABLE = pd.DataFrame({"text": TEXTS, "label": [0, 1, 0]})

# The value, and the message.
CONTAINERS: dict[str, tuple[Any, str]] = {
    "dict": (dict.fromkeys(TEXTS, 1), "but got a value of type dict; its keys would be taken"),
    "table": (TABLE, "but got a value of type DataFrame; pass one column"),
    "arrow table": (pa.table({"text": TEXTS}), "but got a value of type Table; pass one column"),
    "matrix": (np.array([TEXTS, TEXTS]), "but got a value of type ndarray; pass one column"),
    "array without dimension": (np.array("A cat."), "but got a value of type ndarray; pass a list"),
    "bytes": (b"A cat sleeps.", "but got a value of type bytes; decode it"),
    "set": (set(TEXTS), "but got a value of type set; it has no order"),
    "file": (io.StringIO("A cat sleeps.\n"), "but got a value of type StringIO; read it first"),
    "None": (None, "but got a value of type NoneType; pass a list"),
    "number": (7, "but got a value of type int; pass a list"),
}
ITEMS: dict[str, tuple[Any, str]] = {
    "None": (["A cat.", None], "row 2 of the .* must be a text but got None"),
    "nan": (
        pd.Series(["A cat.", float("nan")], dtype=object),
        r"row 2 of the .* must be a text but got nan \(float\)",
    ),
    "NA": (pd.Series(["A cat.", None], dtype="string"), r"row 2 of the .* but got .*"),
    "number": (["A cat.", 7], r"row 2 of the .* must be a text but got 7 \(int\)"),
    "numbers": (np.zeros(2), r"row 1 of the .* must be a text but got .*\(float64\)"),
    "nested list": ([["A cat."]], r"row 1 of the .* must be a text but got \['A cat.'\] \(list\)"),
    "bytes": ([b"A cat."], r"row 1 of the .* must be a text but got b'A cat.' \(bytes\)"),
    "surrogate": (["A cat.", "a\ud800"], r"row 2 of the .* valid Unicode .* at character 2"),
}
LONE = (
    "A cat sleeps.",
    "but got a value of type str; its letters would be taken; pass a list with this text",
)
REFUSED = {**CONTAINERS, **{f"item: {name}": value for name, value in ITEMS.items()}}

TAKEN: dict[str, Callable[[], Any]] = {
    "list": lambda: TEXTS,
    "tuple": lambda: tuple(TEXTS),
    "series": lambda: TABLE["text"],
    "series with odd labels": lambda: pd.Series(TEXTS, index=["columns", "ndim", "to_pylist"]),
    "index": lambda: pd.Index(TEXTS),
    "array": lambda: np.array(TEXTS),
    "array of objects": lambda: np.array(TEXTS, dtype=object),
    "arrow array": lambda: pa.array(TEXTS),
    "generator": lambda: (text for text in TEXTS),
    "keys": lambda: dict.fromkeys(TEXTS).keys(),
}


@pytest.fixture(scope="module")
def embedder(tiny: Callable[[str], Path]) -> Embedder:
    return Embedder.without_demonstrations(str(tiny("llama")), precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def step(tiny: Callable[[str], Path]) -> EmbeddingTransformer:
    step = EmbeddingTransformer(model=str(tiny("llama")), precision="fp32", device="cpu")
    return step.fit(TEXTS)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bert")
    save_tiny_encoder("bert", folder)
    return open_baseline(str(folder), method=Method.MEAN, device="cpu")


def encode_in_mteb(embedder: Embedder, batches: Any) -> Any:
    task: Any = None
    return MtebModel(embedder).encode(
        batches, task_metadata=task, hf_split="test", hf_subset="default"
    )


@pytest.fixture(scope="module")
def entries(
    embedder: Embedder, step: EmbeddingTransformer, baseline: Any
) -> dict[str, Callable[[Any], Any]]:
    """Functions that take a list of texts, and return their embeddings if they compute them."""
    encoder = embedder.encoder

    def written(texts: Any) -> Any:
        with TemporaryDirectory() as folder:
            embed_file(embedder, texts, Path(folder) / "x.npy")
            return np.load(Path(folder) / "x.npy")

    return {
        "embedder": embedder.encode,
        "encoder": lambda texts: encoder.encode(texts, Prompt()),
        "layers": lambda texts: encoder.encode_layers(texts, Prompt())[-1],
        "bulk": written,
        "scikit-learn": step.transform,
        "mteb": lambda texts: encode_in_mteb(embedder, [{"text": texts}]),
        "baseline": baseline.encode,
        "unlabeled": lambda texts: Unlabeled("file", texts).texts,
        "pairs": lambda texts: Pairs("x", texts, TEXTS, (1.0, 2.0, 3.0)).sentences1,
        "examples": lambda texts: Examples(texts, (0, 1, 0)).texts,
    }


@pytest.mark.parametrize("entry", ["embedder", "baseline"])
def test_only_encode_takes_one_text(entries: dict[str, Callable[[Any], Any]], entry: str) -> None:
    np.testing.assert_allclose(
        entries[entry](TEXTS[0]), entries[entry]([TEXTS[0]])[0], rtol=1e-4, atol=1e-5
    )


def test_other_containers_and_items_are_refused_everywhere(
    entries: dict[str, Callable[[Any], Any]],
) -> None:
    for entry, function in entries.items():
        for name, (value, message) in REFUSED.items():
            with pytest.raises(UserError, match=message) as caught:
                pytest.fail(f"{entry} took {name}: {function(value)!r}")
            assert "\n" not in str(caught.value)
        if entry not in ("embedder", "baseline"):
            with pytest.raises(UserError, match=LONE[1]):
                function(LONE[0])


def test_sequences_of_texts_have_the_same_result_everywhere(
    entries: dict[str, Callable[[Any], Any]],
) -> None:
    for function in entries.values():
        expected = function(TEXTS)
        for make in TAKEN.values():
            np.testing.assert_array_equal(function(make()), expected)


def test_fit_refuses_what_transform_refuses_and_leaves_iterators(
    tiny: Callable[[str], Path],
) -> None:
    step = EmbeddingTransformer(model=str(tiny("llama")), precision="fp32", device="cpu")
    for value, message in (*CONTAINERS.values(), LONE):
        with pytest.raises(UserError, match=message):
            step.fit(value)
    texts = (text for text in TEXTS)
    assert step.fit(texts).transform(texts).shape == (3, 48)


def test_a_stream_is_embedded_chunk_by_chunk(embedder: Embedder, tmp_path: Path) -> None:
    def texts() -> Iterator[Any]:
        yield "A cat sleeps."
        yield {"text": "Dogs bark."}

    with pytest.raises(UserError, match=r"row 2 of the texts must be a text but got .* \(dict\)"):
        embed_file(embedder, texts(), tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()


def test_inputs_of_mteb_without_texts_are_refused(embedder: Embedder) -> None:
    wrong: Any = [{"image": [1]}]
    with pytest.raises(UserError, match="must be texts but got image"):
        encode_in_mteb(embedder, wrong)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_labelers_and_forbidden_sentences(name: str, tmp_path: Path) -> None:
    value, message = REFUSED[name]
    labeler = ChatLabeler(
        ChatSettings("m", base_url="http://127.0.0.1:1/v1"), ResponseCache(tmp_path / "c")
    )
    # Refused before a server is asked or a model is loaded.
    with pytest.raises(UserError, match=message):
        labeler.label(value)
    with pytest.raises(UserError, match=message):
        LocalLabeler("smollm2-135m").label(value)
    # Their order does not matter.
    if name != "set":
        with pytest.raises(UserError, match=message):
            generate(CandidateSettings(labeler="none", dictionary="starter"), forbidden=value)


def test_pairs_have_one_score_for_each_pair_of_sentences() -> None:
    for scores, message in (
        ((1.0, None, 2.0), "row 2 of the scores of 'x' must be a number but got None"),
        ((1.0, "2", 3.0), r"row 2 of the scores of 'x' must be a number but got '2' \(str\)"),
        ((True, 2.0, 3.0), "row 1 of the scores"),
        ({1.0, 2.0, 3.0}, "must be a list of numbers but got a value of type set"),
        ("123", "must be a list of numbers but got a value of type str"),
        ((1.0, 2.0), "as many first and second sentences as scores but got 3, 3 and 2"),
    ):
        wrong: Any = scores
        with pytest.raises(UserError, match=message):
            Pairs("x", tuple(TEXTS), tuple(TEXTS), wrong)


def test_columns_of_a_table_are_the_same_pairs_as_tuples() -> None:
    columns: Any = pd.Series(TEXTS), np.array(TEXTS), pd.Series([1.0, 2.5, 3.0])
    pairs = Pairs("x", *columns)
    plain = Pairs("x", tuple(TEXTS), tuple(TEXTS), (1.0, 2.5, 3.0))
    assert pairs == plain
    assert pairs.sha256 == plain.sha256


@pytest.mark.parametrize("wrong", [TABLE, "dev.csv", [("a", "b", 1.0)], None])
def test_pairs_are_required_where_pairs_are_scored(
    wrong: Any, embedder: Embedder, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="dev must be Pairs but got a value of type"):
        search(FakeEncoder(), fake_candidates([1]), wrong, folder=tmp_path)
    with pytest.raises(UserError, match="task 'x' must be"):
        evaluate(embedder, {"x": wrong}, tasks=())
    with pytest.raises(UserError, match="task 'x' must be"):
        evaluate(embedder, {"x": [wrong]}, tasks=())
    with pytest.raises(UserError, match="data must be a dict"):
        evaluate(embedder, wrong, tasks=())
    if wrong is not None:
        with pytest.raises(UserError, match="dev must be Pairs"):
            finetune("m", TRIPLETS, tmp_path / "f", dev=wrong, settings=SETTINGS)


def test_candidates_and_excluded_sentences_of_a_search(tmp_path: Path) -> None:
    for candidates, message in (
        (["A cat."], r"row 1 of the candidates must be a Demonstration but got 'A cat.' \(str\)"),
        (TABLE, "row 1 of the candidates"),
        (fake_candidates([1])[0], "must be a list of demonstrations"),
        (frozenset([1]), "but got a set"),
    ):
        wrong: Any = candidates
        with pytest.raises(UserError, match=message):
            search(FakeEncoder(), wrong, fake_pairs(20), folder=tmp_path)
    for exclude, message in (LONE, CONTAINERS["dict"], ITEMS["None"]):
        with pytest.raises(UserError, match=message):
            search(
                FakeEncoder(),
                fake_candidates([1]),
                fake_pairs(20),
                folder=tmp_path,
                exclude=exclude,
            )


def test_demonstrations_of_a_prompt() -> None:
    for wrong in ("A cat.", ["A cat."], [{"sentence": "A cat.", "word": "Cat"}], None, 7):
        demonstrations: Any = wrong
        with pytest.raises(UserError, match="demonstrations must be"):
            Prompt(demonstrations=demonstrations)


def test_rows_of_a_training(tmp_path: Path) -> None:
    for rows, message in (
        (
            TABLE,
            "must be a list of tuples of texts but got a value of type DataFrame; pass a list of its rows",
        ),
        (np.array([["a", "b"]]), "but got a value of type ndarray; pass a list of its rows"),
        (dict.fromkeys(TEXTS), "must be a list of tuples of texts but got a value of type dict"),
        (TEXTS, "row 1 of the training rows must be a tuple of texts but got 'A cat sleeps.'"),
        ([("a", "b"), ("a", None)], "row 2 of the row 2|row 2 of the .* must be a text"),
        ([("a", "b"), ("a",)], "row 2 of the training rows must have as many texts"),
        ([("a", " ")], "row 1 of the training rows must be one to three texts"),
        ([("a",) * 4], "row 1 of the training rows must be one to three texts"),
    ):
        wrong: Any = rows
        with pytest.raises(UserError, match=message):
            finetune("m", wrong, tmp_path / "f", settings=SETTINGS)
    assert as_rows(pd.DataFrame(TRIPLETS).itertuples(index=False)) == TRIPLETS
