"""The connection to a chat server: what is checked before the first request, and the limits of an answer.

This module imports the openai package, which is an extra; `sources.open_labeler` imports it late.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx2
from openai import AzureOpenAI, DefaultHttpx2Client, OpenAI, OpenAIError

from demosearch.candidates.chat_answer import AnswerError
from demosearch.candidates.chat_key import api_key
from demosearch.candidates.settings import URL_VARIABLE, check_url
from demosearch.errors import UserError, reason_of

T = TypeVar("T")

# In bytes. An answer is one word, perhaps after some reasoning.
LARGEST_ANSWER = 1 << 20
# In bytes, of a compressed answer, which can become a thousand times larger.
LARGEST_COMPRESSED_ANSWER = 1 << 16
# In seconds: of a complete answer, however slowly it arrives.
LONGEST_ANSWER = 120.0
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


class StoppedError(Exception):
    """The labeling was stopped."""


class SlowAnswerError(AnswerError):
    """The answer was not complete in time."""


def open_client(base_url: str | None, timeout: float) -> OpenAI:
    """Return a client of a server.

    The client's own retries do not obey the Retry-After of a server, so they are switched off.

    Args:
        base_url: URL of the server, perhaps with Azure's `?api-version=`; None means OPENAI_BASE_URL, or
            OpenAI's API.
        timeout: longest time without a byte from the server, in seconds.

    Raises:
        UserError: the URL, the key or the proxy is malformed.
    """
    url = base_url or os.environ.get(URL_VARIABLE) or None
    try:
        check_url(url)
    except ValueError as error:
        name = "base_url" if base_url else f"the base URL in {URL_VARIABLE}"
        raise UserError(f"{name} {error}") from None
    key = api_key()
    http_client = _http_client(timeout)
    options: dict[str, Any] = {
        "api_key": key,
        "max_retries": 0,
        "timeout": timeout,
        "http_client": http_client,
    }
    try:
        client = _client(url, {"Accept-Encoding": "identity"}, options)
    except (OpenAIError, httpx2.InvalidURL, ValueError) as error:
        http_client.close()
        raise UserError(f"the chat server cannot be reached: {reason_of(error)}") from None
    host = client.base_url.host
    http_client.event_hooks = {
        "request": [lambda request: _keep_key_from_others(request, host)],
        "response": [_limit],
    }
    return client


def _client(url: str | None, headers: dict[str, Any], options: dict[str, Any]) -> OpenAI:
    """Return the client of a URL, which is Azure's if it has a version in the query."""
    if url is None:
        return OpenAI(default_headers=headers, **options)
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(query=""))
    if not parts.query:
        return OpenAI(base_url=bare, default_headers=headers, **options)
    query = dict(parse_qsl(parts.query))
    if parts.path.strip("/") in ("", "openai"):
        # The endpoint of a resource: the client adds the deployment, which has the name of the model.
        endpoint = urlunsplit(parts._replace(path="", query=""))
        version = query["api-version"]
        return AzureOpenAI(
            azure_endpoint=endpoint, api_version=version, default_headers=headers, **options
        )
    # Azure has the key in a header of its own.
    headers = {**headers, "api-key": options["api_key"]}
    return OpenAI(base_url=bare, default_query=query, default_headers=headers, **options)


def check_connection(base_url: str | None) -> None:
    """Check all that can be checked before the first request.

    Raises:
        UserError: the URL, the key or the proxy is malformed.
    """
    open_client(base_url, LONGEST_ANSWER).close()


def _http_client(timeout: float) -> httpx2.Client:
    # The values are not shown, because they may contain a password.
    proxies = {
        name: value
        for name, value in sorted(os.environ.items())
        if value and name.lower() in _PROXY_VARIABLES
    }
    try:
        for value in proxies.values():
            # These would be another error in every request. An invalid port is a ValueError.
            parts = urlsplit(value if "://" in value else f"http://{value}")
            if parts.port == 0 or not parts.hostname or " " in value:
                raise ValueError
        return DefaultHttpx2Client(timeout=timeout)
    except (ImportError, ValueError, httpx2.InvalidURL):
        raise UserError(
            f"the proxy in {' or '.join(proxies) or 'the environment'} must be an http:// or https://"
            " URL (socks5:// requires the package socksio); correct or unset it"
        ) from None
    except OSError as error:
        raise UserError(f"the chat server cannot be reached: {reason_of(error)}") from None


def _keep_key_from_others(request: httpx2.Request, host: str) -> None:
    """Remove Azure's key from a request that is redirected to another host."""
    # The HTTP client itself removes the other header with the key.
    if request.url.host != host:
        request.headers.pop("api-key", None)


def _limit(response: httpx2.Response) -> None:
    """Limit the size and the time of a response before its body is read."""
    compressed = response.headers.get("content-encoding", "identity") != "identity"
    largest = LARGEST_COMPRESSED_ANSWER if compressed else LARGEST_ANSWER
    response.stream = _LimitedStream(response.stream, largest)
    # A charset such as `base64` would make the client fail when it reads an error.
    response.headers["content-type"] = "application/json"


class _LimitedStream(httpx2.SyncByteStream):
    """The bytes of a response.

    Raises:
        AnswerError: when read, there are too many, or they take too long.
    """

    def __init__(self, stream: Any, largest: int) -> None:
        self._stream, self._largest = stream, largest
        self._end = time.monotonic() + LONGEST_ANSWER

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > self._largest:
                raise AnswerError(f"the answer has more than {self._largest} bytes")
            if time.monotonic() > self._end:
                raise _too_slow()
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _too_slow() -> SlowAnswerError:
    return SlowAnswerError(f"the answer was not complete after {LONGEST_ANSWER:g} s")


class Calls:
    """Calls of functions that can be abandoned, because no other thread can end a blocked one.

    Each function runs in a daemon thread, which does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._pending: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._abandoned = False

    def call(self, function: Callable[[], T]) -> T:
        """Return the result of a function, or raise its error.

        Raises:
            AnswerError: it takes longer than an answer may.
            StoppedError: the calls were abandoned.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._abandoned:
                raise StoppedError
            self._pending.add(future)
        threading.Thread(target=_run, args=(function, future), daemon=True).start()
        try:
            return future.result(timeout=LONGEST_ANSWER)
        except TimeoutError:
            raise _too_slow() from None
        finally:
            with self._lock:
                self._pending.discard(future)

    def abandon(self) -> None:
        """End all calls at once, those that are waited for and later ones."""
        with self._lock:
            self._abandoned = True
            for future in self._pending:
                with suppress(InvalidStateError):
                    future.set_exception(StoppedError())


def _run(function: Callable[[], T], future: Future[T]) -> None:
    # The caller may have abandoned the call in the meantime.
    with suppress(InvalidStateError):
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
