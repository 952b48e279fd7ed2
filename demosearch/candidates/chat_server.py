"""Requests to a server that speaks the OpenAI protocol: retries, request rate, refused options.

This module imports the openai package, which is an extra; `sources.open_labeler` imports it late.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from openai import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OpenAI,
    OpenAIError,
    PermissionDeniedError,
    UnprocessableEntityError,
)
from openai.types.chat import ChatCompletion
from pyrate_limiter import Limiter, Rate
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from demosearch.candidates.responses import Response
from demosearch.candidates.settings import KEY_VARIABLE
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

ATTEMPTS = 8
# Seconds.
LONGEST_PAUSE = 60.0
TIMEOUT = 60.0
# Milliseconds, pyrate_limiter's unit.
MINUTE = 60_000


class ChatError(Exception):
    """The server did not answer a question.

    The message contains nothing that the server sent, because a server may echo the API key.
    """


class ChatServer:
    """A chat model on a server. Several threads may use it at once.

    It is a context manager: the connection is open inside the block. The API key comes from
    OPENAI_API_KEY only; many servers require none.

    Args:
        model: name of the model on the server.
        base_url: URL of the server; None means OPENAI_BASE_URL, or OpenAI's API.
        rate: maximum number of requests per minute; None means no limit but the server's own.
        options: optional parameters of a request. One that the server refuses is left out of all
            later requests.
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
        self._wait_for_turn = _limiter(rate)
        self._all_options = frozenset(options or ())
        self._options = dict(options or {})
        self._lock = threading.Lock()
        self._client: OpenAI | None = None

    def __enter__(self) -> Self:
        # A local server often requires no key, but the client requires some string. The client's
        # own retries do not obey a long Retry-After, so they are switched off.
        self._client = OpenAI(
            api_key=os.environ.get(KEY_VARIABLE) or "none",
            base_url=self._base_url,
            max_retries=0,
            timeout=TIMEOUT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        client, self._client = self._connected(), None
        client.close()

    @property
    def url(self) -> str:
        """The URL that requests go to."""
        return str(self._connected().base_url)

    def ask(self, messages: list[dict[str, str]]) -> Response:
        """Return the model's answer to a conversation.

        Raises:
            UserError: the server refuses the API key, or does not have the model.
            ChatError: the server did not answer after all attempts.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_temporary),
            wait=_pause,
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
        )
        while True:
            body = {"model": self._model, "messages": messages, **self._options}
            try:
                return _response(retrying(self._complete, body))
            except (AuthenticationError, PermissionDeniedError) as error:
                raise UserError(
                    f"the chat server refused the key in {KEY_VARIABLE} (status"
                    f" {error.status_code}); check the key"
                ) from None
            except NotFoundError:
                raise UserError(
                    f"the chat server does not have the model '{self._model}'; choose another"
                    " labeler model"
                ) from None
            except (OpenAIError, json.JSONDecodeError) as error:
                if not self._leave_out_refused_option(body, error):
                    raise ChatError(_failure(error)) from None

    def _complete(self, body: dict[str, Any]) -> ChatCompletion:
        self._wait_for_turn()
        completion: ChatCompletion = self._connected().chat.completions.create(**body)
        return completion

    def _connected(self) -> OpenAI:
        if self._client is None:
            raise RuntimeError("the connection is open only inside the with block")
        return self._client

    def _leave_out_refused_option(self, body: dict[str, Any], error: Exception) -> bool:
        """Return whether a request failed because of an option that is now left out."""
        if not isinstance(error, BadRequestError | UnprocessableEntityError):
            return False
        with self._lock:
            refused = [name for name in self._options if name in body and name in str(error)]
            for name in refused:
                del self._options[name]
                logger.info("the chat server does not support '%s'; continuing without it", name)
            # Another thread may have left the option out in the meantime.
            sent = self._all_options.intersection(body)
            return bool(refused) or not sent.issubset(self._options)


def _response(completion: ChatCompletion) -> Response:
    """Return the text and the token counts of a completion. A refusal has an empty text."""
    message = completion.choices[0].message if completion.choices else None
    usage = completion.usage
    return Response(
        (message.content or "") if message else "",
        usage.prompt_tokens if usage else 0,
        usage.completion_tokens if usage else 0,
    )


def _limiter(rate: int | None) -> Callable[[], object]:
    if rate is None:
        return lambda: None
    limiter = Limiter(Rate(rate, MINUTE))
    return lambda: limiter.try_acquire("request")


def _is_temporary(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    # A server, or a proxy in front of it, may answer with a page that is not JSON.
    return isinstance(error, APIConnectionError | json.JSONDecodeError)


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: what the server asks for, otherwise exponential back-off."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, APIStatusError):
        retry_after = error.response.headers.get("retry-after", "")
        if re.fullmatch(r"\d+(\.\d+)?", retry_after):
            seconds = float(retry_after)
            if seconds > LONGEST_PAUSE:
                logger.warning("the chat server asks to wait %.0f s before the next try", seconds)
            return seconds
    return wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE)(state)


def _failure(error: Exception) -> str:
    """Return the type and the status of an error, without its message."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} (status {status})" if status else type(error).__name__
