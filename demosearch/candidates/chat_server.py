"""Requests to a server that speaks the OpenAI protocol: retries, request rate, refused options.

This module imports the openai package, which is an extra; `sources.open_labeler` imports it late.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from httpx2 import ConnectError
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AzureOpenAI,
    OpenAI,
    OpenAIError,
)
from pyrate_limiter import Limiter, Rate
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from demosearch.candidates.chat_answer import (
    AnswerError,
    NotJsonError,
    ServerError,
    read_completion,
    server_error,
)
from demosearch.candidates.chat_error import ChatError, Failure
from demosearch.candidates.chat_form import REFUSALS, Forms, Messages, Plan
from demosearch.candidates.chat_http import Calls, SlowAnswerError, StoppedError, open_client
from demosearch.candidates.chat_key import reason, without_key
from demosearch.candidates.chat_outage import Outage
from demosearch.candidates.chat_refusal import Refusal, refusal_of
from demosearch.candidates.responses import Response
from demosearch.candidates.settings import KEY_VARIABLE
from demosearch.errors import UserError, reason_of

logger = logging.getLogger(__name__)

ATTEMPTS = 8
# For answers that are not JSON: the URL is often wrong.
ATTEMPTS_WITHOUT_JSON = 3
# Seconds. The second one is the longest time without a byte from the server.
LONGEST_PAUSE = 60.0
TIMEOUT = 60.0
# Milliseconds, pyrate_limiter's unit.
MINUTE = 60_000
# Seconds between two looks at the rate.
_TURN = 0.05

# Statuses of a timeout, and of a proxy in front of a server that does not answer.
_NO_REPLY = (408, 502, 503, 504)


class _FailedError(Exception):
    """The server reported an error.

    Args:
        error: the error.
        name: name of its type.
        retry_after: the Retry-After header.
        hint: what the user can do.

    Attributes:
        has_other_form: whether the next attempt has another form, because of this error.
    """

    def __init__(
        self, error: ServerError, name: str, retry_after: str = "", hint: str = ""
    ) -> None:
        super().__init__(name)
        self.error, self.name, self.retry_after, self.hint = error, name, retry_after, hint
        self.has_other_form = False


class ChatServer:
    """A chat model on a server. Several threads may use it at once.

    It is a context manager: the connection is open inside the block. The API key comes from
    OPENAI_API_KEY only; many servers require none.

    Args:
        model: name of the model on the server.
        base_url: URL of the server; None means OPENAI_BASE_URL, or OpenAI's API.
        rate: maximum number of requests per minute; None means no limit but the server's own.
        options: optional parameters of a request. One that the server refuses is left out of all
            later requests, and so is the role `system`.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        rate: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = model
        self._base_url = base_url
        self._limiter = None if rate is None else Limiter(Rate(rate, MINUTE))
        self._options = dict(options or {})
        self._forms = Forms(self._options)
        self._client: OpenAI | None = None
        # The first question is asked alone, so that only one request has what the server refuses. The lock
        # is never released.
        self._first, self._first_is_over = threading.Lock(), threading.Event()
        self._stopped = threading.Event()
        self._calls, self._outage = Calls(), Outage()

    def __enter__(self) -> Self:
        self._client = open_client(self._base_url, TIMEOUT)
        self._stopped, self._calls, self._outage = threading.Event(), Calls(), Outage()
        return self

    def __exit__(self, *_: object) -> None:
        client, self._client = self._connected(), None
        # A call that was abandoned may still use the connection.
        with suppress(RuntimeError):
            client.close()

    @property
    def url(self) -> str:
        """The URL that requests go to."""
        return str(self._connected().base_url)

    def stop(self) -> None:
        """Send no more requests. Those that were sent may still be answered."""
        self._stopped.set()
        self._first_is_over.set()

    def abandon(self) -> None:
        """End all requests at once."""
        self.stop()
        self._calls.abandon()

    def ask(self, messages: Messages) -> Response:
        """Return the model's answer to a conversation.

        Raises:
            UserError: no later question will be answered: the server refuses the API key, it does not
                have the model, or the account has no money.
            ChatError: the server did not answer after all attempts, or what it sent is not an answer.
            OutageError: the server did not reply to several questions in a row.
            StoppedError: the labeling was stopped, also by a UserError in another thread.
        """
        if not self._first.acquire(blocking=False):
            self._first_is_over.wait()
            return self._ask_and_count(messages)
        try:
            return self._ask_and_count(messages)
        finally:
            self._first_is_over.set()

    def _ask_and_count(self, messages: Messages) -> Response:
        replies = self._outage.replies
        try:
            response = self._ask(messages)
        except ChatError as error:
            self._outage.failed(messages[-1]["content"], error, replies)
            raise
        self._outage.replied()
        return response

    def _ask(self, messages: Messages) -> Response:
        plan = Plan(self._forms)
        retrying = Retrying(
            retry=retry_if_exception(_is_temporary),
            wait=self._pause,
            stop=stop_after_attempt(ATTEMPTS),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    return self._attempt(messages, plan, attempt.retry_state.attempt_number)
        except _FailedError as error:
            raise self._final(error) from None
        except AnswerError as error:
            slow = isinstance(error, SlowAnswerError)
            failure = Failure.NO_REPLY if slow else Failure.REPLIED
            raise ChatError(str(error), error.usage, failure) from None
        except APIConnectionError as error:
            raise _without_connection(error) from None
        except (OpenAIError, ValueError) as error:
            # ValueError: the client could not encode the request.
            raise ChatError(type(error).__name__) from None
        raise RuntimeError("unreachable")

    def _attempt(self, messages: Messages, plan: Plan, attempt: int) -> Response:
        try:
            response = self._complete(messages, plan)
        except _FailedError as failure:
            error = failure.error
            # Some gateways answer 404 if no model supports an option.
            if not (error.status == 404 and plan.names_part(error.message)):
                self._raise_if_hopeless(error, messages[-1]["content"])
            failure.has_other_form = plan.refused(error.status, error.message, attempt)
            if not failure.has_other_form and error.status not in REFUSALS:
                self._first_is_over.set()
            raise
        except OpenAIError:
            # The server cannot be reached at the moment, which says nothing about the form.
            self._first_is_over.set()
            raise
        except NotJsonError as error:
            if attempt < ATTEMPTS_WITHOUT_JSON:
                raise
            raise AnswerError(f"{error}{self._hint()}") from None
        if left_out := self._forms.accept(plan.form):
            logger.info("the chat server does not support %s; continuing without", left_out)
        return response

    def _complete(self, messages: Messages, plan: Plan) -> Response:
        """Send one request and read its answer."""
        self._wait_for_turn()
        client = self._connected()
        body = {"model": self._model, **plan.form.body(messages, self._options)}
        size = sum(len(message["content"].encode(errors="replace")) for message in messages)
        try:
            raw = self._calls.call(
                lambda: client.chat.completions.with_raw_response.create(**body).content
            )
        except APIStatusError as error:
            failure = server_error(error.status_code, error.response.content)
            retry_after = error.response.headers.get("retry-after", "")
            raise _FailedError(failure, type(error).__name__, retry_after) from None
        try:
            answer = read_completion(raw, size)
        except NotJsonError:
            raise
        except AnswerError as error:
            # A chat model answered if there are tokens to pay.
            hint = "" if error.usage else self._hint()
            raise AnswerError(f"{error}{hint}", error.usage) from None
        if isinstance(answer, ServerError):
            raise _FailedError(answer, "an error body", hint=self._hint())
        return replace(answer, text=without_key(answer.text))

    def _wait_for_turn(self) -> None:
        while not self._stopped.is_set():
            if self._limiter is None or self._limiter.try_acquire("request", blocking=False):
                return
            self._stopped.wait(_TURN)
        raise StoppedError

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise StoppedError

    def _connected(self) -> OpenAI:
        if self._client is None:
            raise RuntimeError("the connection is open only inside the with block")
        return self._client

    def _raise_if_hopeless(self, error: ServerError, sentence: str) -> None:
        """Raise an error that ends the labeling, if every later request will fail too."""
        # The server may repeat the sentence, which may be about money or keys.
        refusal = refusal_of(replace(error, message=error.message.replace(sentence, "")))
        if refusal is Refusal.MONEY:
            problem, remedy = (
                "requires payment",
                "check the plan and the billing of the account, then re-run the command to resume",
            )
        elif refusal is Refusal.KEY:
            problem, remedy = f"refused the key in {KEY_VARIABLE}", "check the key"
        elif refusal is Refusal.MODEL:
            problem = f"does not have the model '{self._model}'"
            remedy = f"choose another labeler model{self._hint()}"
        else:
            return
        # The requests of other threads would fail too.
        self.stop()
        why = f": {text}" if (text := reason(error.message)) else ""
        raise UserError(f"the chat server {problem} (status {error.status}){why}; {remedy}")

    def _hint(self) -> str:
        """Return that the base URL may be wrong, or nothing."""
        client = self._connected()
        url = client.base_url
        if isinstance(client, AzureOpenAI) or re.search(r"/v\d|/deployments/", url.path):
            return ""
        return f"; the base URL has no /v1: try {str(url).rstrip('/')}/v1"

    def _final(self, failure: _FailedError) -> ChatError:
        status, why = failure.error.status, reason(failure.error.message)
        return ChatError(
            f"{failure.name} (status {status})" + (f": {why}" if why else "") + failure.hint,
            failure=Failure.NO_REPLY if status in _NO_REPLY else Failure.REPLIED,
        )

    def _pause(self, state: RetryCallState) -> float:
        """Return the seconds to wait: what the server asks for, otherwise exponential back-off."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _FailedError) and error.has_other_form:
            return 0.0
        retry_after = error.retry_after if isinstance(error, _FailedError) else ""
        if re.fullmatch(r"\d{1,99}(\.\d{1,99})?", retry_after):
            seconds = float(retry_after)
            if seconds > LONGEST_PAUSE:
                logger.warning(
                    "the chat server asks to wait %.0f s before the next try; waiting %g s",
                    seconds,
                    LONGEST_PAUSE,
                )
            return min(seconds, LONGEST_PAUSE)
        return wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE)(state)


def _without_connection(error: APIConnectionError) -> ChatError:
    """Return the error of a question to which the server did not reply."""
    cause = error.__cause__
    is_timeout = isinstance(error, APITimeoutError)
    why = f"no answer after {TIMEOUT:g} s" if is_timeout else reason(reason_of(cause or error))
    refused = isinstance(cause, ConnectError)
    failure = Failure.NO_CONNECTION if refused else Failure.NO_REPLY
    return ChatError(f"{type(error).__name__}: {why}", failure=failure)


def _is_temporary(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, _FailedError):
        status = error.error.status
        return error.has_other_form or status in (408, 409, 429) or status >= 500
    # A server, or a proxy in front of it, may answer with a page that is not JSON.
    return isinstance(error, APIConnectionError | NotJsonError)
