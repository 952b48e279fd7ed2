from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from demosearch.datasets import Pairs
from demosearch.errors import UserError
from demosearch.evaluation import Evaluation, compare
from demosearch.evaluation.rendering import TableFormat
from demosearch.evaluation.result import Details, Result, SystemRecord, TaskResult
from demosearch.evaluation.rows import read_published
from demosearch.metrics.correlation import spearman
from demosearch.selection.objective import Objective

PAIRS = 300


def evaluation(name: str, noise: float, *, seed: int = 0, task: str = "stsb") -> Evaluation:
    """Return a system whose similarities are the gold scores with noise."""
    gold = np.random.default_rng(1).uniform(0, 5, PAIRS).astype(np.float32)
    error = np.random.default_rng(seed).normal(size=PAIRS)
    values = (gold + noise * error).astype(np.float32)
    model = {"name": name, "source": "", "revision": "", "precision": "fp32"}
    result = TaskResult(
        metric="spearman",
        score=spearman(values, gold.tolist()),
        pairs=PAIRS,
        sha256="same",
        subsets={},
        other={},
    )
    return Evaluation(
        Result(
            system=SystemRecord(model=model, prompts=[], adapter=None, method="mean"),
            tasks={task: result},
            average={},
            missing=[],
            overlaps=[],
            sentences_encoded=0,
            seconds=0,
            versions={},
        ),
        {task: Details(values, gold)},
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("poor.json", "good.json")]
    evaluation("poor", 4).write(paths[0])
    evaluation("good", 1).write(paths[1])
    return paths


def test_a_result_that_is_read_equals_the_one_written(tmp_path: Path) -> None:
    one = evaluation("x", 1)
    one.write(tmp_path / "r.json")
    again = Evaluation.read(tmp_path / "r.json")
    assert again.result == one.result
    assert np.array_equal(again.details["stsb"].values, one.details["stsb"].values)


def test_the_interval_equals_that_of_the_search_s_paired_bootstrap(files: list[Path]) -> None:
    comparison = compare(files, resamples=2000)
    [difference] = comparison.differences
    poor, good = (each.details["stsb"] for each in comparison.evaluations)
    names = ("",) * len(good.gold)
    objective = Objective(Pairs("stsb", names, names, tuple(good.gold.tolist())), seed=1)
    expected = objective.interval(good.values, poor.values)
    scores = [each.result.tasks["stsb"].score for each in comparison.evaluations]
    assert difference.difference == pytest.approx(scores[1] - scores[0])
    assert difference.ci95 == pytest.approx(expected, abs=0.5)
    assert difference.significant
    assert (difference.system, difference.base) == ("good, mean", "poor, mean")


def test_equal_systems_are_not_significantly_different(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for seed, path in enumerate(paths):
        evaluation("same", 2, seed=seed).write(path)
    comparison = compare(paths)
    [difference] = comparison.differences
    assert difference.ci95[0] < 0 < difference.ci95[1]
    assert not difference.significant
    assert comparison.names == ("same, mean (a)", "same, mean (b)")


def test_tables_contain_the_scores_and_mark_the_best(files: list[Path]) -> None:
    comparison = compare(files, published="OPT-6.7B*ICL")
    good = comparison.evaluations[1].result.tasks["stsb"].score
    markdown = comparison.text(TableFormat.MARKDOWN)
    assert f"**{good:.2f}**" in markdown
    assert "| good, mean | STS-B | +" in markdown
    assert "OPT-6.7B PromptEOL+ICL (published, no training)" in markdown
    assert "**79.08**" in markdown
    latex = comparison.text(TableFormat.LATEX)
    assert rf"\textbf{{{good:.2f}}}" in latex
    assert r"\toprule" in latex
    (files[0].parent / "t.csv").write_text(comparison.text(TableFormat.CSV))
    table = pd.read_csv(files[0].parent / "t.csv").set_index("system")
    assert table.loc["good, mean", "STS-B"] == pytest.approx(good, abs=0.01)
    value = json.loads(comparison.text(TableFormat.JSON))
    assert value["rows"][1]["scores"]["stsb"] == good
    assert value["differences"][0]["significant"] is True
    assert value["rows"][2]["source"].startswith("arXiv 2307.16645")


def of_tasks(name: str, noise: float, *tasks: str) -> Evaluation:
    """Return a system with several tasks, each with its own noise."""
    several = [
        evaluation(name, noise, seed=seed, task=task) for seed, task in enumerate(tasks, start=5)
    ]
    first = several[0]
    results = {task: one for each in several for task, one in each.result.tasks.items()}
    details = {task: one for each in several for task, one in each.details.items()}
    return Evaluation(first.result.model_copy(update={"tasks": results}), details)


def test_the_mean_is_over_the_tasks_that_all_systems_share(tmp_path: Path) -> None:
    tasks = ("sickr", "stsb-dev", "sts12", "stsb")
    of_tasks("poor", 4, *tasks).write(tmp_path / "poor.json")
    of_tasks("good", 1, "sts13", *tasks).write(tmp_path / "good.json")
    comparison = compare([tmp_path / "poor.json", tmp_path / "good.json"], published="OPT-66B*ICL")
    shared = ("sts12", "stsb", "sickr")
    poor, good = (
        np.mean([each.result.tasks[task].score for task in shared])
        for each in comparison.evaluations
    )
    table = comparison.text(TableFormat.MARKDOWN).splitlines()
    assert table[0] == (
        "| system | STS12 | STS13 | STS14 | STS15 | STS16 | STS-B | SICK-R | STS-B dev"
        " | STS avg. | STS mean of 3 |"
    )
    assert table[2].endswith(f" | {poor:.2f} |")
    assert table[3].endswith(f"{good:.2f}** |")
    published = comparison.rows[2].scores
    assert table[4].endswith(f" | {np.mean([published[task] for task in shared]):.2f} |")
    # In the order of the tables, not of the file.
    assert [one.task for one in comparison.differences] == [
        "sts12", "stsb", "sickr", "stsb-dev", "sts mean of 3",
    ]  # fmt: skip
    mean = comparison.differences[-1]
    assert mean.difference == pytest.approx(good - poor)
    assert mean.ci95[0] < mean.difference < mean.ci95[1]
    widths = [one.ci95[1] - one.ci95[0] for one in comparison.differences]
    assert widths[-1] < min(widths[:-1])
    assert f"| good, mean | STS mean of 3 | {mean.difference:+.2f}* |" in "\n".join(table)


def test_a_file_of_pairs_is_one_task_under_any_path(tmp_path: Path) -> None:
    here, there = "pairs.csv", "/data/pairs.csv"
    of_tasks("poor", 4, here).write(tmp_path / "poor.json")
    of_tasks("good", 1, there).write(tmp_path / "good.json")
    # The same pairs twice: one of the two tasks is compared.
    of_tasks("twice", 1, there, "copy.csv").write(tmp_path / "twice.json")
    comparison = compare([tmp_path / f"{name}.json" for name in ("poor", "good", "twice")])
    assert [one.task for one in comparison.differences] == [here, here]
    assert [list(row.scores) for row in comparison.rows] == [[here], [here], [there, here]]


def test_different_pairs_with_the_same_name_remain_two_tasks(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.json" for name in ("first", "second", "both")]
    of_tasks("first", 4, "pairs.csv").write(paths[0])
    of_tasks("second", 4, "pairs.csv").write(paths[1])
    of_tasks("both", 1, "a.csv", "b.csv").write(paths[2])
    for path, hashes in ((paths[1], ["other"]), (paths[2], ["same", "other"])):
        value = json.loads(path.read_text())
        for one, data in zip(value["tasks"].values(), hashes, strict=True):
            one["sha256"] = data
        path.write_text(json.dumps(value))
    assert len(compare(paths).rows[2].scores) == 2


def test_a_single_shared_task_has_no_mean(files: list[Path]) -> None:
    assert "mean of" not in compare(files).text(TableFormat.MARKDOWN)


@pytest.mark.parametrize(
    ("field", "other", "reason"),
    [
        ("sha256", "other", "the data differ"),
        ("classifier", "logistic", "the classifier is logistic, not None"),
    ],
)
def test_scores_on_different_data_or_classifiers_are_not_compared(
    files: list[Path], field: str, other: str, reason: str
) -> None:
    value = json.loads(files[1].read_text())
    value["tasks"]["stsb"][field] = other
    files[1].write_text(json.dumps(value))
    comparison = compare(files)
    assert comparison.differences == []
    assert comparison.notes == [f"good, mean: STS-B is not compared: {reason}"]
    assert f"- {comparison.notes[0]}\n" in comparison.text(TableFormat.MARKDOWN)
    assert f"% {comparison.notes[0]}\n" in comparison.text(TableFormat.LATEX)
    assert comparison.as_json()["notes"] == comparison.notes


def test_without_details_nothing_is_compared(files: list[Path]) -> None:
    files[1].with_suffix(".npz").unlink()
    comparison = compare(files)
    assert len(comparison.rows) == 2
    assert comparison.notes == [
        "good, mean: STS-B is not compared: the .npz file beside a result is missing"
    ]


def test_overlaps_are_noted(files: list[Path]) -> None:
    value = json.loads(files[1].read_text())
    value["overlaps"] = ["stsb: the demonstrations were chosen on it (mine)"]
    files[1].write_text(json.dumps(value))
    assert compare(files).notes == [f"good, mean: {value['overlaps'][0]}"]


def test_every_format_contains_the_differences(files: list[Path], tmp_path: Path) -> None:
    comparison = compare(files)
    [one] = comparison.differences
    low, high = one.ci95
    latex = comparison.text(TableFormat.LATEX)
    assert f"good, mean & STS-B & {one.difference:+.2f}* & [{low:+.2f}, {high:+.2f}]" in latex
    (tmp_path / "t.csv").write_text(comparison.text(TableFormat.CSV))
    row = pd.read_csv(tmp_path / "t.csv").set_index("system").loc["good, mean"]
    assert row["STS-B difference"] == pytest.approx(one.difference, abs=0.005)
    assert (row["STS-B low"], row["STS-B high"]) == pytest.approx((low, high), abs=0.005)
    assert row["STS-B significant"]


def test_special_characters_in_names_are_escaped(tmp_path: Path) -> None:
    for name in ("a|b", "c"):
        evaluation(name, 2, task="my_pairs.csv").write(tmp_path / f"{name[0]}.json")
    comparison = compare([tmp_path / "a.json", tmp_path / "c.json"])
    markdown = comparison.text(TableFormat.MARKDOWN).splitlines()
    assert markdown[2].startswith(r"| a\|b, mean | ")
    latex = comparison.text(TableFormat.LATEX)
    assert r"& my\_pairs.csv" in latex
    assert "my_pairs" not in latex


def test_a_published_mean_without_scores_of_the_tasks_is_shown(files: list[Path]) -> None:
    comparison = compare(files, published="Qwen3-8B DySem")
    assert comparison.rows[2].scores == {}
    header, _, *rows = comparison.text(TableFormat.MARKDOWN).splitlines()[:5]
    assert header.endswith("| STS avg. |")
    assert rows[2].startswith("| Qwen3-8B DySem (published, no training) |")
    assert rows[2].endswith("80.54** |")
    (bert,) = read_published("unsup. SimCSE*")
    # The mean of the seven tasks as the authors print it.
    assert bert.average == {"sts": 76.25}


def test_published_averages_equal_those_of_the_authors() -> None:
    averages = {row.system.split()[0]: row.average["sts"] for row in read_published("*+ICL")}
    # As printed by the authors.
    assert averages == {
        "OPT-125M": 67.46, "OPT-350M": 69.02, "OPT-1.3B": 77.52, "OPT-2.7B": 78.18,
        "OPT-6.7B": 79.08, "OPT-13B": 79.04, "OPT-30B": 78.94, "OPT-66B": 78.19,
    }  # fmt: skip
    with pytest.raises(
        UserError, match=r"--published must match .* but got 'nobody'; known: BERT prompt"
    ):
        read_published("nobody")


def test_an_error_names_a_file_that_is_not_a_result(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"result .*x.json: system is missing"):
        compare([tmp_path / "x.json"])
    (tmp_path / "x.json").write_text("no")
    with pytest.raises(UserError, match=r"x.json is not JSON"):
        compare([tmp_path / "x.json"])


@pytest.mark.parametrize("content", [b"no", b"", b"PK\x03\x04"], ids=["text", "empty", "cut"])
def test_an_error_names_broken_details(files: list[Path], content: bytes) -> None:
    files[0].with_suffix(".npz").write_bytes(content)
    with pytest.raises(UserError, match=r"poor.npz does not belong to"):
        compare(files)


def test_details_of_another_evaluation_are_refused(files: list[Path]) -> None:
    files[0].with_suffix(".npz").write_bytes(files[1].with_suffix(".npz").read_bytes())
    with pytest.raises(UserError, match=r"poor.npz does not belong to"):
        compare(files)


def test_equal_seeds_give_equal_intervals(files: list[Path]) -> None:
    first, second = (compare(files).differences for _ in range(2))
    assert first == second


def test_the_difference_of_accuracies_is_resampled_over_examples(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    correct = [(generator.uniform(size=400) < share).astype(np.float32) for share in (0.6, 0.8)]
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, values in zip(paths, correct, strict=True):
        plain = evaluation(path.stem, 1, task="mr")
        task = plain.result.tasks["mr"].model_copy(
            update={"metric": "accuracy", "score": 100 * float(values.mean()), "pairs": None,
                    "examples": 400, "classifier": "senteval"}
        )  # fmt: skip
        result = plain.result.model_copy(update={"tasks": {"mr": task}})
        Evaluation(result, {"mr": Details(values, np.zeros(0, np.float32))}).write(path)
    [difference] = compare(paths).differences
    # The standard error of a mean of paired differences, which the bootstrap estimates.
    error = 100 * (correct[1] - correct[0]).std(ddof=1) / 20
    low, high = difference.ci95
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < difference.difference < high


def test_a_task_with_a_single_example_is_not_compared(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        plain = evaluation(path.stem, 1, task="mr")
        task = plain.result.tasks["mr"].model_copy(
            update={"metric": "accuracy", "score": 100.0, "pairs": None, "examples": 1}
        )
        result = plain.result.model_copy(update={"tasks": {"mr": task}})
        details = Details(np.ones(1, np.float32), np.zeros(0, np.float32))
        Evaluation(result, {"mr": details}).write(path)
    comparison = compare(paths)
    assert comparison.differences == []
    assert comparison.notes == ["b, mean: MR is not compared: it has only one example"]
