"""The chat labeler over real HTTP, with a small server that speaks the protocol."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from demosearch.candidates import CandidateSettings, chat, generate, spending
from demosearch.candidates.chat import ChatLabeler, ChatSettings
from demosearch.candidates.labeling import Label
from demosearch.candidates.responses import Response, ResponseCache
from demosearch.errors import UserError
from tests.candidates.conftest import KEY
from tests.chat_server import FakeChatServer

SENTENCES = [f"The {adjective} dog ran" for adjective in ("old", "young", "brown", "fast", "big")]
RAN = Label("Ran")


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_labels_are_in_the_order_of_the_sentences(server: FakeChatServer) -> None:
    server.answers = {text: [text.split()[1]] for text in SENTENCES}
    labeler = ChatLabeler(ChatSettings("some-model"))
    assert labeler.source == "openai:some-model"
    labels = labeler.label(SENTENCES)
    words = [label.answer for label in labels if label]
    assert words == ["Old", "Young", "Brown", "Fast", "Big"]
    assert {request["model"] for request in server.requests} == {"some-model"}
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("riding", "Riding"),
        ('"riding".', "Riding"),
        ('```json\n{"word": "riding"}\n```', "Riding"),
        ('{"word": "riding"}', "Riding"),
    ],
)
def test_answers_in_other_formats_are_accepted(
    server: FakeChatServer, answer: str, word: str
) -> None:
    server.enforces_format = False
    server.answers = {SENTENCES[0]: [answer]}
    assert ChatLabeler().label(SENTENCES[:1]) == [Label(word)]


@pytest.mark.parametrize(
    "answer", [None, "", "two words", "The word is riding.", '{"word": ', '{"other": "x"}', "[1]"]
)
def test_an_answer_that_is_not_a_word_gives_no_candidate(
    server: FakeChatServer, tmp_path: Path, answer: str | None
) -> None:
    server.enforces_format = False
    server.answers = {SENTENCES[0]: [answer]}
    (tmp_path / "s.txt").write_text("\n".join(SENTENCES))
    settings = CandidateSettings(
        labeler="openai", sentences=str(tmp_path / "s.txt"), n_sentences=5, dictionary="none"
    )
    generated = generate(settings)
    assert sorted(candidate.sentence for candidate in generated.candidates) == sorted(
        f"{text}." for text in SENTENCES[1:]
    )
    assert generated.sources == {"openai:gpt-4o-mini": 4}
    assert generated.rejected == {"not a single word": 1}


def test_the_majority_of_the_votes_decides(server: FakeChatServer) -> None:
    server.answers = {SENTENCES[0]: ["run", "dog", "Run.", "two words", "run"]}
    labeler = ChatLabeler(ChatSettings(votes=5))
    assert labeler.label(SENTENCES[:1]) == [Label("Run", 0.6)]
    assert all(request["temperature"] == 1.0 for request in server.requests)


def test_options_that_the_server_refuses_are_left_out(server: FakeChatServer) -> None:
    server.refused_options = {"response_format", "temperature"}
    labeler = ChatLabeler(ChatSettings(votes=3))
    assert labeler.label(SENTENCES) == [Label("Ran", 1.0)] * 5
    accepted = [body for body in server.requests if not server.refused_options & body.keys()]
    assert len(accepted) == 15


def test_cached_answers_are_not_requested_again(server: FakeChatServer, tmp_path: Path) -> None:
    assert ChatLabeler().label(SENTENCES[:3]) == [RAN] * 3
    assert ChatLabeler().label(SENTENCES) == [RAN] * 5
    assert len(server.requests) == 5
    # Another model and a second vote are other questions.
    ChatLabeler(ChatSettings("other")).label(SENTENCES[:1])
    ChatLabeler(ChatSettings(votes=2)).label(SENTENCES[:1])
    assert len(server.requests) == 7
    assert KEY.encode() not in content_of(tmp_path)


def test_answers_before_an_interruption_are_kept(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, written = ResponseCache.put, 0

    def interrupted(cache: ResponseCache, key: str, response: Response) -> None:
        nonlocal written
        original(cache, key, response)
        written += 1
        if written == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chat, "CONCURRENCY", 1)
    monkeypatch.setattr(ResponseCache, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ChatLabeler().label(SENTENCES)
    monkeypatch.setattr(ResponseCache, "put", original)
    before = len(server.requests)
    assert ChatLabeler().label(SENTENCES) == [RAN] * 5
    assert len(server.requests) - before == 5 - before


def test_a_sentence_that_fails_permanently_has_no_label(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = {SENTENCES[2]: [400]}
    with caplog.at_level(logging.WARNING):
        labels = ChatLabeler().label(SENTENCES)
    assert labels == [RAN, RAN, None, RAN, RAN]
    assert "status 400" in caplog.text
    assert KEY not in caplog.text


def test_no_label_at_all_is_an_error(server: FakeChatServer) -> None:
    server.failures = {text: [400] * 9 for text in SENTENCES}
    with pytest.raises(UserError, match=r"labeled no sentence: BadRequestError \(status 400\)"):
        ChatLabeler().label(SENTENCES)


def test_a_key_or_the_url_of_a_server_is_required() -> None:
    with pytest.raises(UserError, match=r"set OPENAI_API_KEY .* or use the local labeler"):
        ChatLabeler()


def test_a_url_with_a_password_is_rejected() -> None:
    with pytest.raises(UserError, match="base_url must be a URL without password") as error:
        ChatLabeler(ChatSettings(base_url="http://me:secret@host/v1"))
    assert "secret" not in str(error.value)


def test_another_server_requires_no_key(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert ChatLabeler(ChatSettings(base_url=server.url)).label(SENTENCES[:1]) == [RAN]
    assert server.keys == {"Bearer none"}


def test_cost_is_estimated_before_and_reported_after(
    server: FakeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        labeler = ChatLabeler(ChatSettings(price="1000,2000"))
        labeler.label(SENTENCES)
    # Five answers of 100 input tokens and 5 output tokens.
    assert labeler.cost == pytest.approx((500 * 1000 + 25 * 2000) / 1e6)
    assert "labeling: 5 requests, about $" in caplog.text
    assert "500 input tokens, 25 output tokens, $0.5500" in caplog.text
    assert "estimate" not in caplog.text


def test_labeling_that_would_exceed_the_limit_does_not_start(server: FakeChatServer) -> None:
    settings = ChatSettings(price="1000,2000", max_cost=0.01)
    with pytest.raises(UserError, match=r"maximum cost must be at least .* but got \$0\.01"):
        ChatLabeler(settings).label(SENTENCES)
    assert server.requests == []


def test_labeling_stops_when_the_limit_is_reached(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "CONCURRENCY", 1)
    monkeypatch.setattr(spending, "estimated_tokens", lambda *_: (0, 0))
    labeler = ChatLabeler(ChatSettings(price="1000,0", max_cost=0.15))
    assert labeler.label(SENTENCES) == [RAN, RAN, None, None, None]
    assert len(server.requests) == 2
