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
from demosearch.templates import TEMPLATES
from tests.fakes import FakeEncoder, fake_pairs

HOSTILE = '</td><script>alert("1")</script>'.replace('"', "'")


def make_run(
    folder: Path,
    model: str = "opt-125m",
    source: str = "tests",
    parameters: int | None = 125_000_000,
    **options: object,
) -> Path:
    """Search with a fake encoder, as a run does."""
    candidates = [
        Candidate(
            sentence=f"{HOSTILE if number == 3 else 'Sentence'} number {number}.",
            word=f"W{noise}",
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
    return make_run(tmp_path_factory.mktemp("run") / "opt-125m", layer="auto", shots=2, pareto=True)


class Page(HTMLParser):
    """Reads a page: its elements, the text of its cells, and whether what is opened is closed."""

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


def test_one_file_holds_everything_and_needs_no_network(folder: Path, tmp_path: Path) -> None:
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
    pictures = [path.name for path in files[1:]]
    assert pictures == ["gains.png", "race.png", "history.png", "layers.png", "kinds.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[1:])
    assert sum(tag == "svg" for tag, _ in page.tags) == len(pictures)


def test_the_table_holds_every_candidate_and_the_best_one_is_marked(
    folder: Path, tmp_path: Path
) -> None:
    run = FinishedRun.read(folder)
    page = Page(write_report([run], tmp_path / "r.html")[0].read_text())
    assert set(run.trials["word"].dropna()) <= set(page.cells)
    kinds = [found.get("class") for tag, found in page.tags if tag == "tr"]
    assert kinds.count("chosen") == kinds.count("baseline") == 1
    assert run.file.ranking[0].word in page.cells
    assert f"{run.file.ranking[0].spearman:.2f}" in page.cells


def test_texts_are_text_whatever_they_hold(folder: Path, tmp_path: Path) -> None:
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


def test_several_models_are_shown_by_size(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "b")
    # A model of one's own has a size too, and is called by its folder's name.
    make_run(tmp_path / "a", "models/ours", source="/home/a/models/ours", parameters=2_000_000_000)
    runs = read_runs([tmp_path])
    assert [run.name for run in runs] == ["opt-125m", "ours"]
    files = write_report(runs, tmp_path / "report.html")
    assert "sizes.png" in {path.name for path in files}
    page = Page(files[0].read_text())
    assert sum(tag == "section" for tag, _ in page.tags) == 2


@pytest.mark.parametrize(("model", "drawn"), [("opt-1.3b", True), ("someone/model", False)])
def test_models_of_unknown_size_are_not_drawn_by_size(
    model: str, drawn: bool, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "b")
    # As earlier versions wrote it.
    make_run(tmp_path / "a", model, parameters=None)
    files = write_report(read_runs([tmp_path]), tmp_path / "report.html")
    assert ("sizes.png" in {path.name for path in files}) == drawn


def test_what_search_wrote_can_be_shown_too(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "best.study")
    shutil.move(tmp_path / "best.study" / "demonstrations.json", tmp_path / "best.json")
    [run] = read_runs([tmp_path / "best.json"])
    assert run.folder == tmp_path / "best.study"
    assert run.rungs[-1] == 240


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("demonstrations.json", "holds no finished run"),
        ("history.csv", "history.csv is missing; give the run's command again"),
    ],
)
def test_a_folder_that_is_no_run_is_an_error(
    folder: Path, tmp_path: Path, gone: str, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / gone).unlink()
    with pytest.raises(UserError, match=message):
        read_runs([tmp_path / "run"])
    with pytest.raises(UserError, match="no such folder"):
        read_runs([tmp_path / "none"])


def test_the_chosen_row_is_that_of_the_chosen_template(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", templates=[TEMPLATES["knowledge"]])
    page = Page(write_report(read_runs([folder]), tmp_path / "r.html")[0].read_text())
    assert [found.get("class") for tag, found in page.tags if tag == "tr"].count("chosen") == 1
    # Where templates race, the table says which.
    assert {"prompteol", "knowledge"} <= set(page.cells)


def test_words_that_look_like_nothing_are_words(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    table = (tmp_path / "run" / "trials.csv").read_text().replace(",W99,", ",None,")
    (tmp_path / "run" / "trials.csv").write_text(table)
    page = Page(write_report(read_runs([tmp_path / "run"]), tmp_path / "r.html")[0].read_text())
    assert "None" in page.cells
    assert "nan" not in page.cells


def test_columns_that_a_person_added_do_not_matter(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "candidates.jsonl"
    path.write_text(path.read_text().replace("{", '{"pairs": 3, "spearman_note": "x", ', 1))
    [run] = read_runs([tmp_path / "run"])
    assert run.rungs[-1] == 240
    assert write_report([run], tmp_path / "r.html")


def test_runs_that_do_not_compare_are_not_shown_together(folder: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "opt-1.3b", metric="pearson")
    with pytest.raises(UserError, match="on other pairs or by another metric"):
        read_runs([folder, other])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pipeline.yaml", "a: [", "is not YAML"),
        ("evaluation.json", "{", "is not JSON"),
        ("trials.csv", "", "is no table"),
    ],
)
def test_a_broken_file_is_named(
    folder: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_runs([tmp_path / "run"])
    assert name in str(error.value)


def test_a_demonstrations_file_stands_for_the_run_around_it(folder: Path) -> None:
    [run] = read_runs([folder / "demonstrations.json"])
    assert run.folder == folder
