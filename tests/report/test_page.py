from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from demosearch import search
from demosearch.candidates import Candidate, write_candidates
from demosearch.errors import UserError
from demosearch.models.records import ModelRecord
from demosearch.report import FinishedRun, read_runs, write_report
from tests.fakes import FakeEncoder, fake_pairs

DEVANAGARI_DIGITS = str.maketrans("0123456789", "०१२३४५६७८९")
HOSTILE = '</td><script>alert("1")</script>'.replace('"', "'")


def make_run(
    folder: Path,
    model: str = "opt-125m",
    source: str = "tests",
    parameters: int | None = 125_000_000,
    language: str = "English",
    **options: object,
) -> Path:
    """Search with a fake encoder, as a run does."""
    candidates = [
        Candidate(
            sentence=f"{number}番目の文です。"
            if language == "Japanese"
            else f"{HOSTILE if number == 3 else 'Sentence'} number {number}.",
            word=f"W{noise}".translate(DEVANAGARI_DIGITS if language == "Japanese" else {}),
            source="wordnet" if number % 2 else "local:m",
            word_in_sentence=number % 3 == 0,
        )
        for number, noise in enumerate([90, 80, 70, 10, 75, 85, 65, 95, 62, 5, 99, 88])
    ]
    encoder = FakeEncoder()
    encoder.record = ModelRecord(
        name=model, source=source, revision="1", precision="fp32", parameters=parameters
    )
    folder.mkdir(parents=True)
    write_candidates(folder / "candidates.jsonl", candidates)
    result = search(encoder, candidates, fake_pairs(240), folder=folder, **options)  # type: ignore[arg-type]
    result.file.write(folder / "demonstrations.json")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "opt-125m", layer="auto", shots=2)


class Page(HTMLParser):
    """Parses a page: its elements, the text of its cells, and whether all elements are closed."""

    VOID = frozenset({"meta", "input", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "td":
            self.cells.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def test_the_page_is_one_file_and_works_offline(folder: Path, tmp_path: Path) -> None:
    files = write_report([FinishedRun.read(folder)], tmp_path / "report.html")
    text = files[0].read_text()
    page = Page(text)
    assert page.open == []
    sources = [
        value for _, found in page.tags for name, value in found.items() if name in ("src", "href")
    ]
    assert not any("//" in (value or "") for value in sources)
    assert "@import" not in text
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(set(ids)) == len(ids)
    figures = [path.name for path in files[1:]]
    assert figures == [
        "gains.png",
        "race.png",
        "history.png",
        "steps.png",
        "layers.png",
        "kinds.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[1:])
    assert sum(tag == "svg" for tag, _ in page.tags) == len(figures)


def test_the_table_contains_every_candidate_and_marks_the_best(
    folder: Path, tmp_path: Path
) -> None:
    run = FinishedRun.read(folder)
    page = Page(write_report([run], tmp_path / "r.html")[0].read_text())
    assert set(run.trials["word"].dropna()) <= set(page.cells)
    kinds = [found.get("class") for tag, found in page.tags if tag == "tr"]
    assert kinds.count("chosen") == kinds.count("baseline") == 1
    assert run.file.ranking[0].word in page.cells
    assert f"{run.file.ranking[0].spearman:.2f}" in page.cells


def test_sentences_without_blanks_are_drawn_by_characters(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_run(tmp_path / "other", language="Japanese")
    for run, unit in ((folder, "words"), (other, "characters")):
        page, *_ = write_report(read_runs([run]), tmp_path / f"{unit}.html")
        assert f"{unit} in the sentence" in page.read_text()
    assert caplog.text.count("the PNG figures lack letters") == 1
    # The browser has them.
    assert "W५" in page.read_text()


def test_texts_are_escaped(folder: Path, tmp_path: Path) -> None:
    text = write_report([FinishedRun.read(folder)], tmp_path / "r.html")[0].read_text()
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert any(cell.startswith(HOSTILE) for cell in page.cells)


def test_the_same_run_gives_the_same_page(folder: Path, tmp_path: Path) -> None:
    pages = [
        write_report([FinishedRun.read(folder)], tmp_path / name)[0].read_bytes()
        for name in ("a.html", "b.html")
    ]
    assert pages[0] == pages[1]


def test_several_models_are_ordered_by_size(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "b")
    # A local model has a size too, and its name is the folder's name.
    make_run(tmp_path / "a", "models/ours", source="/home/a/models/ours", parameters=2_000_000_000)
    runs = read_runs([tmp_path])
    assert [run.name for run in runs] == ["opt-125m", "ours"]
    files = write_report(runs, tmp_path / "report.html")
    assert "sizes.png" in {path.name for path in files}
    page = Page(files[0].read_text())
    assert sum(tag == "section" for tag, _ in page.tags) == 2


@pytest.mark.parametrize(("model", "drawn"), [("opt-1.3b", True), ("someone/model", False)])
def test_models_of_unknown_size_are_not_in_the_figure_by_size(
    model: str, drawn: bool, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "b")
    # As in files of earlier versions.
    make_run(tmp_path / "a", model, parameters=None)
    files = write_report(read_runs([tmp_path]), tmp_path / "report.html")
    assert ("sizes.png" in {path.name for path in files}) == drawn


def test_the_result_of_search_can_be_reported(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "best.study")
    shutil.move(tmp_path / "best.study" / "demonstrations.json", tmp_path / "best.json")
    [run] = read_runs([tmp_path / "best.json"])
    assert run.folder == tmp_path / "best.study"
    assert run.rungs[-1] == 240


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("demonstrations.json", "must contain a finished run"),
        ("history.csv", "history.csv is missing; re-run the command"),
    ],
)
def test_a_folder_without_a_finished_run_is_refused(
    folder: Path, tmp_path: Path, missing: str, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(UserError, match=message):
        read_runs([tmp_path / "run"])
    with pytest.raises(UserError, match="requires existing run folders"):
        read_runs([tmp_path / "none"])


def test_the_marked_row_has_the_chosen_template(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", template="prompteol,knowledge")
    page = Page(write_report(read_runs([folder]), tmp_path / "r.html")[0].read_text())
    assert [found.get("class") for tag, found in page.tags if tag == "tr"].count("chosen") == 1
    # With several templates, the table has a column for them.
    assert {"prompteol", "knowledge"} <= set(page.cells)


def test_a_word_may_look_like_a_missing_value(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    table = (tmp_path / "run" / "trials.csv").read_text().replace(",W99,", ",None,")
    (tmp_path / "run" / "trials.csv").write_text(table)
    page = Page(write_report(read_runs([tmp_path / "run"]), tmp_path / "r.html")[0].read_text())
    assert "None" in page.cells
    assert "nan" not in page.cells


def test_fields_that_a_user_added_are_ignored(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "candidates.jsonl"
    path.write_text(path.read_text().replace("{", '{"pairs": 3, "spearman_note": "x", ', 1))
    [run] = read_runs([tmp_path / "run"])
    assert run.rungs[-1] == 240
    assert write_report([run], tmp_path / "r.html")


def test_runs_with_different_metrics_are_refused(folder: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "opt-1.3b", metric="pearson")
    with pytest.raises(UserError, match="must have the same dev pairs and the same metric"):
        read_runs([folder, other])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pipeline.yaml", "a: [", "is not YAML"),
        ("evaluation.json", "{", "is not JSON"),
        ("trials.csv", "", "must be a CSV table"),
    ],
)
def test_an_error_names_a_broken_file(
    folder: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_runs([tmp_path / "run"])
    assert name in str(error.value)


def test_a_demonstrations_file_means_its_run_folder(folder: Path) -> None:
    [run] = read_runs([folder / "demonstrations.json"])
    assert run.folder == folder
