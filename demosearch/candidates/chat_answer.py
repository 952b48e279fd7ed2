"""What a server answered: a completion, an error, or something else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from demosearch.candidates.chat_word import is_complete
from demosearch.candidates.prices import estimated_tokens_of
from demosearch.candidates.responses import Response

# Reasons to finish of an answer that is whole. The first one is OpenAI's; the others are those of other
# servers. With any other reason, e.g. `length` or `content_filter`, the answer may have been cut.
_WHOLE = {
    "",
    "stop",
    "stopped",
    "stop_sequence",
    "eos",
    "eos_token",
    "end",
    "end_turn",
    "complete",
    "completed",
    "done",
    "finished",
}
# An HTTP status of an error.
_STATUS = re.compile(r"[45][0-9]{2}")
# More tokens than any context has. A larger number is not a count.
_MOST_TOKENS = 10**8
# Bytes per token. Fewer tokens are not a count either.
_MOST_BYTES = 64


class AnswerError(Exception):
    """What a server sent is not an answer. The message contains nothing that the server sent.

    Args:
        message: why it is not an answer.
        usage: the tokens that were nevertheless paid for, if the server counted them.
    """

    def __init__(self, message: str, usage: Response | None = None) -> None:
        super().__init__(message)
        self.usage = usage


class NotJsonError(AnswerError):
    """What a server sent is not JSON; a proxy may have answered, and another try may succeed."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error that a server reports.

    Attributes:
        status: the HTTP status, or the status in an error body that came with status 200; 200 if there
            is none.
        message: the server's reason. It may contain the API key.
        codes: the code and the type of the error, in lower case, e.g. `insufficient_quota`.
    """

    status: int
    message: str = ""
    codes: frozenset[str] = frozenset()


def server_error(status: int, content: bytes) -> ServerError:
    """Return the error in a response whose status is an error."""
    value = _parsed(content)
    if value is None:
        text = content.decode(errors="replace").strip()
        # The HTML page of a proxy is too long for a reason in one line.
        return ServerError(status, "" if text.startswith("<") else text)
    return _error_in(value, status) or ServerError(status, _text(value))


def read_completion(content: bytes, question_bytes: int) -> Response | ServerError:
    """Return the text and the token counts of a completion, or the error that the server reports.

    A refusal of the model is an answer without a word: a JSON object with the refusal.

    Args:
        content: the body of a response with status 200.
        question_bytes: the size of the question, from which its tokens are estimated if the server does
            not count them.

    Raises:
        AnswerError: it is neither an answer nor an error: it has another shape, or was cut.
    """
    if not content.strip():
        raise NotJsonError("the answer is empty")
    value = _parsed(content)
    if value is None:
        raise NotJsonError("the answer is not JSON")
    if not isinstance(value, dict):
        raise AnswerError("the answer is not a JSON object")
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    is_error = bool(value.get("error")) or value.get("object") == "error"
    if is_error and not isinstance(choice, dict):
        return _error_in(value, 200) or ServerError(200)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise AnswerError("the answer has no choices with a message")
    if isinstance(choices, list) and len(choices) > 1:
        raise AnswerError("the answer has several choices, although one was asked for")
    text = _text_of(message)
    usage = _usage(value.get("usage"), question_bytes, text or "")
    if choice.get("error") or is_error:
        raise AnswerError("the answer is an error", usage)
    reason = choice.get("finish_reason")
    if reason is not None and not (isinstance(reason, str) and reason.lower() in _WHOLE):
        known = reason if reason in ("length", "content_filter") else "another one than stop"
        raise AnswerError(f"the answer was cut (finish_reason: {known})", usage)
    if not text:
        raise AnswerError("the answer has no text", usage)
    if not is_complete(text):
        raise AnswerError("the answer was cut", usage)
    return replace(usage, text=text)


def _text_of(message: dict[str, Any]) -> str | None:
    """Return the text of a message, or of its refusal; None if it has neither."""
    content, refusal = message.get("content"), message.get("refusal")
    if not content and isinstance(refusal, str) and refusal.strip():
        return json.dumps({"refusal": refusal})
    if not isinstance(content, str) or not content.strip():
        return None
    try:
        content.encode()
    except UnicodeEncodeError:
        # Lone surrogates cannot be written anywhere.
        return None
    return content


def _usage(usage: object, question_bytes: int, text: str) -> Response:
    """Return the token counts of a completion; an estimate for each one that is not a count."""
    counts = usage if isinstance(usage, dict) else {}
    sizes = {"prompt_tokens": question_bytes, "completion_tokens": len(text.encode())}
    known = [_count(counts.get(name), size) for name, size in sizes.items()]
    sent, received = (
        estimated_tokens_of(size) if count is None else count
        for count, size in zip(known, sizes.values(), strict=True)
    )
    return Response("", sent, received, estimated=None in known)


def _count(value: object, size: int) -> int | None:
    """Return a token count; None if it cannot be the count of a text of this size in bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        fewest = max(1, size // _MOST_BYTES)
        if fewest <= value <= _MOST_TOKENS:
            return value
    return None


def _error_in(value: object, status: int) -> ServerError | None:
    """Return the error in a body: `{"error": {...}}`, `{"error": "..."}`, or the error alone."""
    if isinstance(value, list) and len(value) == 1:
        # Gemini's server puts it into a list.
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error") or value
    if not isinstance(error, dict):
        return ServerError(status, _text(error))
    message = error.get("message") or error.get("detail") or error
    details = error.get("details")
    reasons = [
        detail.get("reason")
        for detail in (details if isinstance(details, list) else [])
        if isinstance(detail, dict)
    ]
    codes = [error.get("code"), error.get("type"), error.get("status"), *reasons]
    # Some servers write the number as a text.
    numbers = [
        int(code) for code in codes if isinstance(code, int | str) and _STATUS.fullmatch(str(code))
    ]
    names = frozenset(code.lower() for code in codes if isinstance(code, str))
    return ServerError(numbers[0] if status == 200 and numbers else status, _text(message), names)


def _parsed(content: bytes) -> Any:
    """Return the value of a JSON text; None if it is not JSON."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str:
    """Return a part of a body as a text."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return ""
