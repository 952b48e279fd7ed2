"""The chat labeler: ChatGPT, or another chat model behind a server that speaks its protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from typing import Any

from demosearch._common.containers import as_texts
from demosearch.candidates.chat_error import ChatError
from demosearch.candidates.chat_http import StoppedError, check_connection
from demosearch.candidates.chat_outage import SENTENCES, OutageError
from demosearch.candidates.chat_prompt import (
    PROMPT_VERSION,
    RESPONSE_FORMAT,
    messages_for,
    parse_answer,
)
from demosearch.candidates.chat_server import ChatServer
from demosearch.candidates.labeling import Label, majority
from demosearch.candidates.responses import Response, ResponseCache, question_key
from demosearch.candidates.settings import (
    DEFAULT_CHAT_MODEL,
    KEY_VARIABLE,
    URL_VARIABLE,
    key_is_set,
)
from demosearch.candidates.spending import Spending
from demosearch.errors import UserError
from demosearch.models.packaged import cache_folder

logger = logging.getLogger(__name__)

CACHE_FILE = "answers.sqlite"
# Requests at the same time.
CONCURRENCY = 8
# Seconds in which requests that were sent may still be answered, after an error and after Ctrl-C.
GRACE_AFTER_ERROR = 10.0
GRACE_AFTER_INTERRUPTION = 0.5


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How a chat model is asked.

    Attributes:
        model: name of the model on the server.
        base_url: URL of the server; None means OPENAI_BASE_URL, or OpenAI's API.
        votes: answers per sentence; the majority decides.
        rate: maximum number of requests per minute; None means no limit but the server's own.
        max_cost: maximum cost in US dollars; requires a price.
        price: US dollars per million input and output tokens, e.g. `0.15,0.60`; None means the
            price list.
    """

    model: str = DEFAULT_CHAT_MODEL
    base_url: str | None = None
    votes: int = 1
    rate: int | None = None
    max_cost: float | None = None
    price: str | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    """One vote on one sentence.

    Attributes:
        key: identifies the question in the cache.
        sentence: the sentence to label.
    """

    key: str
    sentence: str


class ChatLabeler:
    """Asks a chat model for the word of each sentence, several sentences at a time.

    Every answer is cached, so that a run that is killed and started again pays for no answer twice. Only
    answers are: after an error, or an answer that was cut, the question is asked again by the next run.

    Args:
        settings: how the model is asked.
        cache: the cache of answers; None means the one in the user's cache folder.

    Raises:
        UserError: there is neither a key nor a URL of a server, or there is a limit on the cost
            without a price.
    """

    def __init__(
        self, settings: ChatSettings | None = None, cache: ResponseCache | None = None
    ) -> None:
        self.settings = settings = settings or ChatSettings()
        self.source = f"openai:{settings.model}"
        self._spending = Spending(settings.model, settings.price, settings.max_cost)
        _check_server(settings.base_url)
        options: dict[str, Any] = {"response_format": RESPONSE_FORMAT}
        if settings.votes > 1:
            # At a lower temperature the votes would hardly differ.
            options["temperature"] = 1.0
        self._server = ChatServer(settings.model, settings.base_url, settings.rate, options)
        self._cache = cache or ResponseCache(cache_folder() / CACHE_FILE)
        self._labeled = 0

    @property
    def cost(self) -> float | None:
        """The cost so far in US dollars; None if the price is unknown."""
        return self._spending.cost

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[Label | None]:
        """Return the label of each sentence; None where the model gave none.

        Args:
            sentences: the sentences to label.
            advance: called with the number of sentences that were labeled since the last call.

        Raises:
            UserError: the server refuses the key or every request, it does not reply to several
                sentences in a row, no sentence was labeled, or the estimated cost exceeds the limit.
        """
        sentences = as_texts(sentences, "sentences")
        with self._server:
            questions = [self._questions(sentence) for sentence in sentences]
            self._check_cost(questions)
            labels, failures = self._ask_all(questions, advance)
        self._spending.log()
        if failures and not any(labels):
            raise UserError(f"the chat server labeled no sentence: {failures[-1]}")
        return labels

    def _questions(self, sentence: str) -> list[_Question]:
        server, model = self._server.url, self.settings.model
        return [
            _Question(question_key(server, model, PROMPT_VERSION, sentence, str(vote)), sentence)
            for vote in range(self.settings.votes)
        ]

    def _check_cost(self, questions: Sequence[Sequence[_Question]]) -> None:
        by_key = {vote.key: vote for votes in questions for vote in votes}
        cached = self._cache.get_many(by_key)
        sizes = [
            sum(
                len(message["content"].encode(errors="replace"))
                for message in messages_for(question.sentence)
            )
            for key, question in by_key.items()
            if key not in cached
        ]
        if sizes:
            self._spending.check(sum(sizes), len(sizes))

    def _ask_all(
        self, questions: Sequence[Sequence[_Question]], advance: Callable[[int], None] | None
    ) -> tuple[list[Label | None], list[str]]:
        """Return the labels in the order of the sentences, and the reasons of failures."""
        labels: list[Label | None] = [None] * len(questions)
        failures: list[str] = []
        with ThreadPoolExecutor(max_workers=CONCURRENCY) as pool:
            futures = {pool.submit(self._votes, votes): row for row, votes in enumerate(questions)}
            try:
                for future in as_completed(futures):
                    votes, failure = future.result()
                    label = majority(votes, questions[futures[future]][0].sentence)
                    labels[futures[future]] = label
                    self._labeled += label is not None
                    if failure:
                        failures.append(failure)
                        logger.warning("a sentence was not labeled: %s", failure)
                    if advance:
                        advance(1)
            except BaseException as error:
                is_error = isinstance(error, Exception)
                self._end(futures, GRACE_AFTER_ERROR if is_error else GRACE_AFTER_INTERRUPTION)
                if isinstance(error, OutageError):
                    raise UserError(
                        f"the labeling stopped because the chat server did not reply to {SENTENCES}"
                        f" sentences in a row ({error}); sentences labeled so far: {self._labeled};"
                        " check the server and re-run the command to resume"
                    ) from None
                raise
        return labels, failures

    def _end(self, futures: Iterable[Future[Any]], grace: float) -> None:
        """Send no more requests, and keep the answers that arrive within some seconds."""
        try:
            self._server.stop()
            wait([future for future in futures if not future.cancel()], timeout=grace)
        finally:
            self._server.abandon()

    def _votes(self, questions: Sequence[_Question]) -> tuple[list[str | None], str]:
        """Return the answers to the questions on a sentence, and the reason of a failure, if any."""
        votes: list[str | None] = []
        failure = ""
        for question in questions:
            try:
                votes.append(parse_answer(self._answer(question).text))
            except StoppedError:
                # The reason is the error of another sentence.
                break
            except ChatError as error:
                failure = str(error)
                votes.append(None)
        return votes, failure

    def _answer(self, question: _Question) -> Response:
        """Return the answer to a question, from the cache or from the server.

        Raises:
            ChatError: there is none.
            OutageError: the server has stopped answering.
        """
        if (cached := self._cache.get(question.key)) is not None:
            return cached
        if self._spending.limit_reached:
            raise ChatError("the maximum cost is reached")
        try:
            response = self._server.ask(messages_for(question.sentence))
        except ChatError as error:
            if error.usage:
                self._spending.add(error.usage)
            raise
        self._cache.put(question.key, response)
        self._spending.add(response)
        return response


def _check_server(base_url: str | None) -> None:
    check_connection(base_url)
    if not (base_url or key_is_set()):
        raise UserError(
            f"the openai labeler requires a key; set {KEY_VARIABLE} (or {URL_VARIABLE} for another"
            " server), or use the local labeler"
        )
