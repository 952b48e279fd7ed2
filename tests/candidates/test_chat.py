"""The chat labeler over real HTTP, against a small server that speaks the protocol."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demosearch.candidates import CandidateSettings, chat, generate
from demosearch.candidates.chat import ChatLabeler, ChatSettings, parse_answer
from demosearch.candidates.labeling import Label
from demosearch.candidates.responses import Response, ResponseCache
from demosearch.errors import UserError
from tests.chat_server import CUT, NO_JSON, SLOW, ChatServer, running_server

KEY = "sk-test-not-a-real-key"
SENTENCES = [f"The {adjective} dog ran" for adjective in ("old", "young", "brown", "fast", "big")]
RAN = Label("Ran")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ChatServer]:
    with running_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("DEMOSEARCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(chat, "LONGEST_PAUSE", 0.05)
        yield server


def files_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_answers_come_in_the_order_of_the_sentences(server: ChatServer) -> None:
    server.answers = {text: [text.split()[1]] for text in SENTENCES}
    labeler = ChatLabeler(ChatSettings("some-model"))
    assert labeler.source == "openai:some-model"
    found = labeler.label(SENTENCES)
    assert [one and one.answer for one in found] == ["Old", "Young", "Brown", "Fast", "Big"]
    assert {request["model"] for request in server.requests} == {"some-model"}
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("failure", [408, 409, 429, 500, 503, CUT, NO_JSON, SLOW], ids=str)
def test_failures_that_pass_are_tried_again(
    server: ChatServer, failure: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "TIMEOUT", 0.5)
    server.failures = {SENTENCES[0]: [failure, failure], SENTENCES[3]: [failure]}
    assert ChatLabeler().label(SENTENCES) == [RAN] * 5
    assert len(server.requests) == 5 + 3


def test_the_server_says_how_long_to_wait(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    server.retry_after = "3600"
    server.failures = {SENTENCES[0]: [429]}
    with caplog.at_level(logging.WARNING):
        assert ChatLabeler().label(SENTENCES[:1]) == [RAN]
    assert slept == [3600]
    assert "asks to wait for 3600 s" in caplog.text


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("riding", "Riding"),
        ('"riding".', "Riding"),
        ('```json\n{"word": "riding"}\n```', "Riding"),
        ('{"word": "riding"}', "Riding"),
        ("горы", "Горы"),
    ],
)
def test_answers_are_read_leniently(server: ChatServer, answer: str, word: str) -> None:
    server.enforces = False
    server.answers = {SENTENCES[0]: [answer]}
    assert ChatLabeler().label(SENTENCES[:1]) == [Label(word)]


@pytest.mark.parametrize(
    "answer", [None, "", "two words", "The word is riding.", '{"word": ', '{"other": "x"}', "[1]"]
)
def test_what_is_no_word_becomes_no_candidate(
    server: ChatServer, tmp_path: Path, answer: str | None
) -> None:
    server.enforces = False
    server.answers = {SENTENCES[0]: [answer]}
    (tmp_path / "s.txt").write_text("\n".join(SENTENCES))
    settings = CandidateSettings(
        labeler="openai", sentences=str(tmp_path / "s.txt"), n_sentences=5, dictionary="none"
    )
    generated = generate(settings)
    assert sorted(one.sentence for one in generated.candidates) == sorted(
        f"{text}." for text in SENTENCES[1:]
    )
    assert generated.sources == {"openai:gpt-4o-mini": 4}
    assert generated.rejected == {"no single word": 1}


def test_an_option_the_server_does_not_take_is_left_out(server: ChatServer) -> None:
    server.refuses = {"response_format", "temperature"}
    labeler = ChatLabeler(ChatSettings(votes=3))
    assert labeler.label(SENTENCES) == [Label("Ran", 1.0)] * 5
    taken = [each for each in server.requests if not server.refuses.intersection(each)]
    assert len(taken) == 15


def test_the_majority_of_the_votes_is_the_word(server: ChatServer) -> None:
    server.answers = {SENTENCES[0]: ["run", "dog", "Run.", "two words", "run"]}
    labeler = ChatLabeler(ChatSettings(votes=5))
    assert labeler.label(SENTENCES[:1]) == [Label("Run", 0.6)]
    assert all(request["temperature"] == 1.0 for request in server.requests)


def test_nothing_is_paid_for_twice(server: ChatServer, tmp_path: Path) -> None:
    assert ChatLabeler().label(SENTENCES[:3]) == [RAN] * 3
    assert ChatLabeler().label(SENTENCES) == [RAN] * 5
    assert len(server.requests) == 5
    # Another model, and a further vote, are other questions.
    ChatLabeler(ChatSettings("other")).label(SENTENCES[:1])
    ChatLabeler(ChatSettings(votes=2)).label(SENTENCES[:1])
    assert len(server.requests) == 7
    assert KEY.encode() not in files_below(tmp_path)


def test_a_kill_in_the_middle_keeps_what_was_answered(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, answered = ChatLabeler.take, 0

    def dying(*arguments: object) -> object:
        nonlocal answered
        result = original(*arguments)  # type: ignore[arg-type]
        answered += 1
        if answered == 3:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(chat, "CONCURRENCY", 1)
    monkeypatch.setattr(ChatLabeler, "take", dying)
    with pytest.raises(KeyboardInterrupt):
        ChatLabeler().label(SENTENCES)
    monkeypatch.setattr(ChatLabeler, "take", original)
    before = len(server.requests)
    assert ChatLabeler().label(SENTENCES) == [RAN] * 5
    assert len(server.requests) - before == 5 - before


def test_a_sentence_that_keeps_failing_is_left_out(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = {SENTENCES[2]: [400]}
    with caplog.at_level(logging.WARNING):
        answers = ChatLabeler().label(SENTENCES)
    assert answers == [RAN, RAN, None, RAN, RAN]
    assert "status 400" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refused the key in OPENAI_API_KEY"),
        (403, "refused the key"),
        (404, "knows no model 'gpt-4o-mini'"),
    ],
)
def test_what_no_retry_mends_ends_at_once(server: ChatServer, status: int, message: str) -> None:
    server.failures = {text: [status] * 9 for text in SENTENCES}
    with pytest.raises(UserError, match=message) as error:
        ChatLabeler().label(SENTENCES)
    assert KEY not in str(error.value)


def test_no_answer_at_all_is_an_error(server: ChatServer) -> None:
    server.failures = {text: [400] * 9 for text in SENTENCES}
    with pytest.raises(UserError, match=r"answered no sentence: BadRequestError \(status 400\)"):
        ChatLabeler().label(SENTENCES)


def test_neither_key_nor_server_is_an_error() -> None:
    with pytest.raises(UserError, match=r"set OPENAI_API_KEY .* or choose --labeler local"):
        ChatLabeler()


def test_a_server_of_ones_own_needs_no_key(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert ChatLabeler(ChatSettings(base_url=server.url)).label(SENTENCES[:1]) == [RAN]
    assert server.keys == {"Bearer none"}


def test_the_cost_is_estimated_before_and_counted_after(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        labeler = ChatLabeler(ChatSettings(price="1000,2000"))
        labeler.label(SENTENCES)
    # Five answers of 100 tokens sent and 5 received.
    assert labeler.cost == pytest.approx((500 * 1000 + 25 * 2000) / 1e6)
    assert "labeling: 5 questions, about $" in caplog.text
    assert "500 tokens sent, 25 received, $0.5500" in caplog.text


def test_a_run_that_would_cost_too_much_does_not_begin(server: ChatServer) -> None:
    with pytest.raises(UserError, match=r"would cost about \$.* more than --max-cost 0\.01"):
        ChatLabeler(ChatSettings(price="1000,2000", max_cost=0.01)).label(SENTENCES)
    assert server.requests == []


def test_a_limit_needs_a_price(server: ChatServer) -> None:
    with pytest.raises(UserError, match="the price of 'my-model' is not known here"):
        ChatLabeler(ChatSettings("my-model", max_cost=1.0))
    with pytest.raises(UserError, match=r"--price: must be two numbers .* but got 'cheap'"):
        ChatLabeler(ChatSettings(price="cheap"))


def test_spending_stops_at_the_limit(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "CONCURRENCY", 1)
    monkeypatch.setattr(chat, "estimated_tokens", lambda *_: (0, 0))
    labeler = ChatLabeler(ChatSettings(price="1000,0", max_cost=0.15))
    found = labeler.label(SENTENCES)
    assert found == [RAN, RAN, None, None, None]
    assert len(server.requests) == 2


def test_requests_keep_to_the_rate(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "MINUTE", 300)
    started = time.monotonic()
    ChatLabeler(ChatSettings(rate=2)).label(SENTENCES)
    # Five requests, two every 0.3 seconds.
    assert time.monotonic() - started > 0.55


@pytest.mark.parametrize("text", ['"Riding"', "Riding", ' {"word":"Riding"} '])
def test_parsed_answers(text: str) -> None:
    assert parse_answer(text) == "Riding"


def test_a_cache_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database")
    with pytest.raises(UserError, match="cannot open the cache of answers"):
        ResponseCache(tmp_path / "file" / "answers.sqlite")
    with pytest.raises(UserError, match="cannot open the cache of answers"):
        ResponseCache(tmp_path / "file")


def test_a_cache_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, sent INTEGER NOT NULL,"
            " received INTEGER NOT NULL);"
            "CREATE TABLE batches (key TEXT PRIMARY KEY, id TEXT NOT NULL);"
            "INSERT INTO answers VALUES ('k', 'Riding', 100, 5);"
            "INSERT INTO batches VALUES ('b', 'batch-1');"
        )
    cache = ResponseCache(path)
    assert cache.answer("k") == Response("Riding", 100, 5)
    cache.keep("l", Response("Rest"))
    assert cache.answer("l") == Response("Rest", 0, 0)
    cache.close()
