"""Why a chat server did not answer a question."""

from __future__ import annotations

from enum import Enum, auto

from demosearch.candidates.responses import Response


class Failure(Enum):
    """What an unanswered question says about the server."""

    # It replied, and the reply is not an answer.
    REPLIED = auto()
    # A timeout, or a connection that ended early. The question may be the cause.
    NO_REPLY = auto()
    NO_CONNECTION = auto()


class ChatError(Exception):
    """The server did not answer a question.

    The API key is masked in the message, because a server may echo it.

    Args:
        message: the reason.
        usage: the tokens that were nevertheless paid for, if the server counted them.
        failure: what it says about the server.
    """

    def __init__(
        self,
        message: str,
        usage: Response | None = None,
        failure: Failure = Failure.REPLIED,
    ) -> None:
        super().__init__(message)
        self.usage, self.failure = usage, failure
