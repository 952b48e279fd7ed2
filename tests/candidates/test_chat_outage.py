"""A chat server that stops answering ends the labeling, over real HTTP."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from demosearch.candidates import chat_http, chat_server
from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.chat_error import ChatError, Failure
from demosearch.candidates.chat_outage import SENTENCES as IN_A_ROW
from demosearch.candidates.chat_outage import Outage, OutageError
from demosearch.candidates.labeling import Label
from demosearch.errors import UserError
from tests.chat_server import TIMED_OUT, FakeChatServer, running_server

SENTENCES = [f"The dog number {number} ran" for number in range(24)]
RAN = Label("Ran")


def without_reply(failure: Failure) -> ChatError:
    return ChatError("no reply", failure=failure)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two attempts, with a short timeout."""
    monkeypatch.setattr(chat_server, "TIMEOUT", 0.5)
    monkeypatch.setattr(chat_server, "ATTEMPTS", 2)


def test_a_refused_connection_ends_the_labeling(
    monkeypatch: pytest.MonkeyPatch, server: FakeChatServer
) -> None:
    with running_server() as closed:
        monkeypatch.setenv("OPENAI_BASE_URL", closed.url)
        assert ChatLabeler().label(SENTENCES[:5]) == [RAN] * 5
    labeler = ChatLabeler()
    with pytest.raises(UserError) as raised:
        labeler.label(SENTENCES)
    message = str(raised.value)
    assert message.startswith("the labeling stopped because the chat server did not reply to 3")
    assert "Connection refused" in message
    assert "sentences labeled so far: 5; check the server and re-run the command" in message
    assert "\n" not in message


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_ends_the_labeling_and_the_next_run_resumes(
    server: FakeChatServer,
) -> None:
    assert ChatLabeler().label(SENTENCES[:4]) == [RAN] * 4
    server.hangs_after = 4
    with pytest.raises(
        UserError, match=r"3 sentences in a row \(APITimeoutError: no answer after 0.5 s\); .*: 4;"
    ):
        ChatLabeler().label(SENTENCES)
    # Fewer than two attempts for each of the other sentences.
    assert len(server.requests) < 4 + 2 * 20
    before = len(server.requests)
    server.hangs_after = None
    assert ChatLabeler().label(SENTENCES) == [RAN] * 24
    assert len(server.requests) - before == 20


@pytest.mark.usefixtures("impatient")
def test_sentences_that_time_out_while_others_are_answered_do_not_end_the_labeling(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = {text: [TIMED_OUT] * 9 for text in SENTENCES[1:6]}
    with caplog.at_level(logging.WARNING):
        labels = ChatLabeler().label(SENTENCES)
    assert labels == [RAN] + [None] * 5 + [RAN] * 18
    assert caplog.text.count("a sentence was not labeled: APITimeoutError: no answer after") == 5


def test_answers_that_are_not_complete_in_time_end_the_labeling(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_http, "LONGEST_ANSWER", 0.5)
    server.hangs_after = 0
    with pytest.raises(UserError, match=r"in a row \(the answer was not complete after 0.5 s\)"):
        ChatLabeler().label(SENTENCES)
    assert len(server.requests) < 24


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_a_server_is_asked_again_in_the_same_form_and_ends_the_labeling(
    server: FakeChatServer, status: int
) -> None:
    # The server is asked with a response format, which is not the cause.
    server.refuses = lambda body: (status, "bad gateway") if "response_format" in body else None
    expected = rf"3 sentences in a row \(InternalServerError \(status {status}\): bad gateway\); "
    with pytest.raises(UserError, match=expected):
        ChatLabeler().label(SENTENCES)
    assert all("response_format" in body for body in server.requests)
    with pytest.raises(UserError, match=rf"labeled no sentence: .*\(status {status}\): bad gate"):
        ChatLabeler().label(SENTENCES[:1])


def test_a_bad_gateway_that_is_temporary_is_no_reason_to_change_the_form(
    server: FakeChatServer,
) -> None:
    server.failures = {SENTENCES[0]: [502] * 3}
    assert ChatLabeler().label(SENTENCES) == [RAN] * 24
    assert all("response_format" in body for body in server.requests)
    assert len(server.requests) == 24 + 3


def test_the_votes_of_a_sentence_count_once(
    monkeypatch: pytest.MonkeyPatch, server: FakeChatServer
) -> None:
    with running_server() as closed:
        monkeypatch.setenv("OPENAI_BASE_URL", closed.url)
    with pytest.raises(UserError, match=r"no sentence: APIConnectionError: .*Connection refused"):
        ChatLabeler(ChatSettings(votes=4)).label(SENTENCES[:2])


@pytest.mark.parametrize("failure", [Failure.NO_REPLY, Failure.NO_CONNECTION])
def test_only_sentences_in_a_row_are_an_outage(failure: Failure) -> None:
    outage = Outage()
    for reply in (outage.replied, lambda: outage.failed("x", ChatError("status 400"), 0)):
        for sentence in SENTENCES[: IN_A_ROW - 1]:
            outage.failed(sentence, without_reply(failure), outage.replies)
        reply()
    for sentence in SENTENCES[: IN_A_ROW - 1] * 2:
        outage.failed(sentence, without_reply(failure), outage.replies)
    with pytest.raises(OutageError, match=r"^no reply$"):
        outage.failed(SENTENCES[-1], without_reply(failure), outage.replies)


def test_a_timeout_counts_only_if_no_other_question_was_answered_in_the_meantime() -> None:
    outage = Outage()
    outage.replied()
    for sentence in SENTENCES:
        outage.failed(sentence, without_reply(Failure.NO_REPLY), 0)
    # A connection that is refused does not depend on the sentence.
    for sentence in SENTENCES[: IN_A_ROW - 1]:
        outage.failed(sentence, without_reply(Failure.NO_CONNECTION), 0)
    with pytest.raises(OutageError):
        outage.failed(SENTENCES[-1], without_reply(Failure.NO_CONNECTION), 0)


@pytest.mark.parametrize("url", ["http://%zz", "http://host/%zz"])
def test_a_malformed_url_ends_the_command_with_status_2(tmp_path: Any, url: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "demosearch", "candidates", "--labeler", "openai"),
            *("--base-url", url, "--out", str(tmp_path / "out.jsonl")),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "base-url must be a URL whose host has only letters" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
