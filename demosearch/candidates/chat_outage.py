"""Whether a chat server has stopped answering, so that the labeling ends early."""

from __future__ import annotations

import threading

from demosearch.candidates.chat_error import ChatError, Failure

# Sentences in a row without a reply after which the labeling ends.
SENTENCES = 3


class OutageError(Exception):
    """Several sentences in a row got no reply. The message is the reason of the last one."""


class Outage:
    """The sentences that got no reply since the last reply. Several threads may use it at once.

    Attributes:
        replies: number of replies of the server.
    """

    def __init__(self) -> None:
        self.replies = 0
        self._without_reply: set[str] = set()
        self._lock = threading.Lock()

    def replied(self) -> None:
        """Count a reply of the server."""
        with self._lock:
            self.replies += 1
            self._without_reply.clear()

    def failed(self, sentence: str, error: ChatError, replies: int) -> None:
        """Count a question that got no answer after all attempts.

        Args:
            sentence: the sentence of the question. It counts once, even if it has several votes.
            error: the reason.
            replies: number of replies when the question was first sent. A timeout does not count if
                the server replied to other questions after that, because the sentence may be the cause.

        Raises:
            OutageError: several sentences in a row got no reply.
        """
        if error.failure is Failure.REPLIED:
            self.replied()
            return
        with self._lock:
            if error.failure is Failure.NO_REPLY and replies != self.replies:
                return
            self._without_reply.add(sentence)
            if len(self._without_reply) >= SENTENCES:
                raise OutageError(str(error))
