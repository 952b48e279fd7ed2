"""Workers are processes here, as they are in use; one of them may be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest

from demosearch import search
from demosearch.selection import workers
from demosearch.selection.workers import Claims
from tests.databases import EACH, opened
from tests.fakes import FakeEncoder, fake_candidates, fake_pairs

DEV = fake_pairs(240)
NOISES = [90, 80, 70, 10, 75, 85, 65, 95, 62, 5, 99, 88]


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=f"sqlite:///{tmp_path / 'claims.db'}")


@pytest.fixture(params=["sqlite:///{}/study.db", "{}/study.log", *EACH])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Every kind of storage in turn."""
    with opened(request.param, tmp_path) as url:
        yield url


def dead_process() -> tuple[int, float]:
    """Return the number of a process that is no more."""
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    assert process.pid
    return process.pid, 1.0


def test_what_one_claims_another_does_not_get(study: optuna.Study) -> None:
    first, second = Claims(study, 0), Claims(study, 1)
    assert first.claim(["a", "b", "c"], 2) == ["a", "b"]
    assert second.claim(["a", "b", "c"], 2) == ["c"]
    first.release()
    assert second.claim(["a", "b"], 5) == ["a", "b"]
    assert first.claim(["a", "b"], 5) == []
    second.close()
    assert first.claim(["a", "b"], 5) == ["a", "b"]
    first.close()


def test_two_who_claim_at_once_both_step_back(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Claims(study, 0), Claims(study, 1)
    write = Claims._write

    def at_once(self: Claims, held: list[str]) -> None:
        write(self, held)
        if self is first and held == ["a"]:
            # Between the first one's writing and its looking, the second one writes.
            write(second, ["a"])

    monkeypatch.setattr(Claims, "_write", at_once)
    assert first.claim(["a"], 1) == []
    first.close()
    second.close()


def test_a_dead_process_holds_nothing(study: optuna.Study) -> None:
    pid, started = dead_process()
    value = {"holds": ["a"], "beat": 1, "started": started}
    study.set_user_attr(f"{workers.PREFIX}{workers._host()}/{pid}/0", value)
    # Nor does an earlier process that had the number of one that lives.
    study.set_user_attr(f"{workers.PREFIX}{workers._host()}/{os.getppid()}/0", value)
    claims = Claims(study, 0)
    assert claims.claim(["a"], 1) == ["a"]
    claims.close()


def test_a_silent_host_is_given_up(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_worker_shows_signs_of_life(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
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
    encoder = FakeEncoder()
    file = search(encoder, fake_candidates(NOISES), DEV, folder=folder, storage=storage).file
    file.write(folder / "demonstrations.json")
    (folder / "encoded.json").write_text(json.dumps(encoder.encoded))


class Stuck(FakeEncoder):
    """Never comes back from its third candidate."""

    def compare(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if len(self.encoded) == 2:
            (self.folder / "stuck").touch()  # type: ignore[attr-defined]
            time.sleep(600)
        return super().compare(*arguments, **options)


def stuck_worker(folder: Path, storage: str) -> None:
    encoder = Stuck()
    encoder.folder = folder  # type: ignore[attr-defined]
    search(encoder, fake_candidates(NOISES), DEV, folder=folder, storage=storage)


def test_three_processes_share_a_study_and_score_nothing_twice(
    tmp_path: Path, storage: str
) -> None:
    context = multiprocessing.get_context("spawn")
    folders = [tmp_path / name for name in "abc"]
    running = [context.Process(target=worker, args=(folder, storage)) for folder in folders]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
        assert process.exitcode == 0
    alone = FakeEncoder()
    whole = search(alone, fake_candidates(NOISES), DEV, folder=tmp_path / "alone").file
    counts = [json.loads((folder / "encoded.json").read_text()) for folder in folders]
    assert sum(sum(count.values()) for count in counts) == alone.encoded.total()
    for folder in folders:
        found = json.loads((folder / "demonstrations.json").read_text())
        expected = json.loads(whole.model_dump_json())
        found["search"]["seconds"] = expected["search"]["seconds"] = 0
        assert found == expected
        table = pd.read_csv(folder / "trials.csv").drop(columns="seconds")
        other = pd.read_csv(tmp_path / "alone" / "trials.csv").drop(columns="seconds")
        pd.testing.assert_frame_equal(table, other)


def test_what_a_killed_worker_held_is_taken_over(tmp_path: Path, storage: str) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=stuck_worker, args=(tmp_path, storage)
    )
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "stuck").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    encoder, alone = FakeEncoder(), FakeEncoder()
    arguments = {"candidates": fake_candidates(NOISES), "dev": DEV}
    taken = search(encoder, **arguments, folder=tmp_path, storage=storage).file
    whole = search(alone, **arguments, folder=tmp_path / "alone").file
    assert taken.ranking == whole.ranking
    # What it had finished, the baseline and one candidate's first rung, was not computed again.
    assert encoder.encoded.total() == alone.encoded.total() - (480 + 100)
