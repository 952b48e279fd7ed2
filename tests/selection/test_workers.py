"""Workers are processes here, as they are in use; a test kills some of them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest

from demosearch import search
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.selection import workers
from demosearch.selection.rungs import FIRST_RUNG
from demosearch.selection.workers import Claims
from tests.databases import EACH, opened
from tests.fakes import FakeEncoder, fake_candidates
from tests.killing import CONTEXT
from tests.selection.conftest import use_fewer_resamples
from tests.selection.searches import DEV, NOISES, search_in_memory


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(storage=optuna.storages.InMemoryStorage())


@pytest.fixture(scope="module", params=["sqlite:///{}/study.db", "{}/study.log", *EACH])
def storage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An open storage of each kind; each test has a study of its own in it."""
    with opened(request.param, tmp_path_factory.mktemp("storage")) as url:
        yield url


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeEncoder, DemonstrationsFile]:
    """The folder, the encoder and the result of a search with one worker."""
    folder, encoder = tmp_path_factory.mktemp("alone"), FakeEncoder()
    with pytest.MonkeyPatch.context() as patch:
        use_fewer_resamples(patch)
        return folder, encoder, search_in_memory(encoder, folder)


def ended_process() -> tuple[int, float]:
    """Return the id of a process that has ended, and a start time."""
    process = CONTEXT.Process(target=int)
    process.start()
    process.join()
    assert process.pid
    return process.pid, 1.0


def test_workers_do_not_claim_the_same(study: optuna.Study) -> None:
    first, second = Claims(study, 0), Claims(study, 1)
    assert first.claim(["a", "b", "c"], 2) == ["a", "b"]
    assert second.claim(["a", "b", "c"], 2) == ["c"]
    first.release()
    assert second.claim(["a", "b"], 5) == ["a", "b"]
    assert first.claim(["a", "b"], 5) == []
    second.close()
    assert first.claim(["a", "b"], 5) == ["a", "b"]
    first.close()


def test_a_new_claim_releases_the_claims_before_it(study: optuna.Study) -> None:
    first, second = Claims(study, 0), Claims(study, 1)
    assert first.claim(["a", "b"], 1) == ["a"]
    assert second.claim(["b"], 1) == ["b"]
    assert first.claim(["b"], 1) == []
    assert second.claim(["a"], 1) == ["a"]
    first.close()
    second.close()


def test_two_workers_that_claim_at_the_same_time_both_withdraw(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Claims(study, 0), Claims(study, 1)
    write = Claims._write

    def write_both(self: Claims, held: list[str]) -> None:
        write(self, held)
        if self is first and held == ["a"]:
            # The second worker writes after the first one has written and before it reads.
            write(second, ["a"])

    monkeypatch.setattr(Claims, "_write", write_both)
    assert first.claim(["a"], 1) == []
    first.close()
    second.close()


def test_the_claims_of_an_ended_process_are_void(study: optuna.Study) -> None:
    pid, started = ended_process()
    value = {"holds": ["a"], "beat": 1, "started": started}
    study.set_user_attr(f"{workers.PREFIX}{workers._host()}/{pid}/0", value)
    # The parent process has the id of an earlier process, but not its start time.
    study.set_user_attr(f"{workers.PREFIX}{workers._host()}/{os.getppid()}/0", value)
    claims = Claims(study, 0)
    assert claims.claim(["a"], 1) == ["a"]
    claims.close()


def test_the_claims_of_a_silent_host_end(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(workers.time, "monotonic", lambda: now)
    elsewhere = f"{workers.PREFIX}other/1/0"
    study.set_user_attr(elsewhere, {"holds": ["a"], "beat": 1, "started": 1.0})
    claims = Claims(study, 0)
    assert claims.claim(["a"], 1) == []
    now += workers.GRACE - 1
    study.set_user_attr(elsewhere, {"holds": ["a"], "beat": 2, "started": 1.0})
    assert claims.claim(["a"], 1) == []
    now += workers.GRACE - 1
    assert claims.claim(["a"], 1) == []
    now += 2
    assert claims.claim(["a"], 1) == ["a"]
    claims.close()


def test_a_worker_writes_heartbeats(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BEAT", 0.02)
    claims = Claims(study, 0)
    claims.claim(["a"], 1)
    (before,) = study.user_attrs.values()
    deadline = time.monotonic() + 10
    while next(iter(study.user_attrs.values()))["beat"] == before["beat"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    claims.close()


def worker(folder: Path, storage: str) -> None:
    """Search in a process of its own; write the result and the number of encoded sentences."""
    use_fewer_resamples(pytest.MonkeyPatch())
    encoder = FakeEncoder()
    file = search(
        encoder, fake_candidates(NOISES), DEV, folder=folder, storage=storage, study_name="shared"
    ).file
    file.write(folder / "demonstrations.json")
    (folder / "encoded.json").write_text(json.dumps(encoder.encoded))


class Stuck(FakeEncoder):
    """An encoder that never returns from its third candidate."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if len(self.encoded) == 2:
            (self._folder / "stuck").touch()
            time.sleep(600)
        return super().compare(*arguments, **options)


def stuck_worker(folder: Path, storage: str) -> None:
    """Search in a process of its own until it is killed."""
    search(
        Stuck(folder), fake_candidates(NOISES), DEV,
        folder=folder, storage=storage, study_name="killed",
    )  # fmt: skip


def test_three_processes_share_a_study_and_score_nothing_twice(
    tmp_path: Path, storage: str, alone: tuple[Path, FakeEncoder, DemonstrationsFile]
) -> None:
    folders = [tmp_path / name for name in "abc"]
    running = [CONTEXT.Process(target=worker, args=(folder, storage)) for folder in folders]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
        assert process.exitcode == 0
    expected_folder, encoder, file = alone
    counts = [json.loads((folder / "encoded.json").read_text()) for folder in folders]
    assert sum(sum(count.values()) for count in counts) == encoder.encoded.total()
    expected = json.loads(file.model_dump_json())
    expected_table = pd.read_csv(expected_folder / "trials.csv").drop(columns="seconds")
    for folder in folders:
        result = json.loads((folder / "demonstrations.json").read_text())
        result["search"]["seconds"] = expected["search"]["seconds"] = 0
        assert result == expected
        table = pd.read_csv(folder / "trials.csv").drop(columns="seconds")
        pd.testing.assert_frame_equal(table, expected_table)


@pytest.mark.usefixtures("fewer_resamples")
def test_the_work_of_a_killed_worker_is_taken_over(
    tmp_path: Path, storage: str, alone: tuple[Path, FakeEncoder, DemonstrationsFile]
) -> None:
    process = CONTEXT.Process(target=stuck_worker, args=(tmp_path, storage))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "stuck").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    encoder = FakeEncoder()
    file = search_in_memory(encoder, tmp_path, storage=storage, study_name="killed")
    _, whole, expected = alone
    assert file.ranking == expected.ranking
    # The finished trials, of the baseline and of one candidate on the first rung, are not repeated.
    assert encoder.encoded.total() == whole.encoded.total() - (480 + 2 * FIRST_RUNG)
