"""The ChatGPT labeler, over the OpenAI protocol; other servers speak it too."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from demosearch.candidates.labeling import EXAMPLES, Label, majority
from demosearch.candidates.prices import PRICES, Price, estimated_tokens
from demosearch.candidates.responses import Response, ResponseCache, question_key
from demosearch.candidates.settings import (
    DEFAULT_CHAT_MODEL,
    KEY_VARIABLE,
    URL_VARIABLE,
    check_url,
)
from demosearch.errors import UserError
from demosearch.models.packaged import cache_folder

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

CACHE_FILE = "answers.sqlite"
CONCURRENCY = 8
ATTEMPTS = 8
LONGEST_PAUSE = 60.0
TIMEOUT = 60.0
MINUTE = 60_000  # milliseconds
# Part of every key of the cache: another wording is another question.
PROMPT_VERSION = "1"

INSTRUCTION = (
    "You are given a sentence. Answer with the one English word that best sums up its meaning."
    " Answer with that word only: no punctuation, no explanation."
)
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "label",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"word": {"type": "string"}},
            "required": ["word"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How a chat model is asked.

    Attributes:
        model: its name on the server.
        base_url: another server than OPENAI_BASE_URL or OpenAI's own.
        votes: answers a sentence; the majority's word is taken.
        rate: requests a minute at most; None leaves it to the server to say when it is too many.
        max_cost: dollars that may be spent; needs a known price.
        price: dollars for a million tokens sent and received, e.g. `0.15,0.60`; None is the list's.
    """

    model: str = DEFAULT_CHAT_MODEL
    base_url: str | None = None
    votes: int = 1
    rate: int | None = None
    max_cost: float | None = None
    price: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One vote on one sentence.

    Attributes:
        key: names it in the cache.
        sentence: what is asked about.
    """

    key: str
    sentence: str


class ChatLabeler:
    """Asks a chat model for the word, several sentences at a time.

    The key comes from OPENAI_API_KEY only; another server may need none. Answers are kept, so that a
    run that is killed and started again pays for nothing twice.

    Args:
        settings: how it is asked.
        cache: where answers are kept; None is the user's cache folder.

    Raises:
        UserError: the openai package is missing, there is neither key nor base URL, or a limit on
            the cost without a price.
    """

    def __init__(
        self, settings: ChatSettings | None = None, cache: ResponseCache | None = None
    ) -> None:
        self.settings = settings or ChatSettings()
        self.source = f"openai:{self.settings.model}"
        self._price = _price_of(self.settings)
        if self.settings.max_cost is not None and self._price is None:
            raise UserError(
                f"--max-cost: the price of '{self.settings.model}' is not known here; give it by"
                " --price SENT,RECEIVED in dollars for a million tokens"
            )
        _check_server(self.settings.base_url)
        self._connection: OpenAI | None = None
        self._cache = cache or ResponseCache(cache_folder() / CACHE_FILE)
        self._acquire = _limiter(self.settings.rate)
        self._lock = threading.Lock()
        # What not every server takes; left out once it is refused.
        self._options: dict[str, Any] = {"response_format": RESPONSE_FORMAT}
        if self.settings.votes > 1:
            # At another temperature than 1 the votes would hardly differ.
            self._options["temperature"] = 1.0
        self._sent = self._received = 0

    @property
    def cost(self) -> float | None:
        """Dollars spent by this labeler; None if the price is not known."""
        return self._cost(self._sent, self._received)

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[Label | None]:
        """Return the model's words in the order of the sentences; None where none came.

        Raises:
            UserError: the key is refused, no sentence at all was answered, or it would cost more
                than allowed.
        """
        with self.connected():
            return self._label(sentences, advance)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold a connection to the server while the block lasts."""
        with _client(self.settings.base_url) as self._connection:
            yield

    def _label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None
    ) -> list[Label | None]:
        asked = [
            [
                Question(self.key(PROMPT_VERSION, text, str(vote)), text)
                for vote in range(self.settings.votes)
            ]
            for text in sentences
        ]
        open_questions = [
            question
            for votes in asked
            for question in votes
            if self._cache.answer(question.key) is None
        ]
        if open_questions:
            self.check_cost(
                sum(_length(self.messages(each.sentence)) for each in open_questions),
                len(open_questions),
            )
        labels: list[Label | None] = [None] * len(sentences)
        failures: list[str] = []
        with ThreadPoolExecutor(max_workers=CONCURRENCY) as pool:
            futures = {pool.submit(self._votes, votes): row for row, votes in enumerate(asked)}
            try:
                for future in as_completed(futures):
                    votes, failure = future.result()
                    labels[futures[future]] = majority(votes)
                    if failure:
                        failures.append(failure)
                        logger.warning("a sentence was not labeled: %s", failure)
                    if advance:
                        advance(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self.say_cost()
        if failures and not any(labels):
            raise UserError(f"the labeler answered no sentence: {failures[-1]}")
        return labels

    def messages(self, sentence: str) -> list[dict[str, str]]:
        """Return the conversation that asks about a sentence."""
        messages = [{"role": "system", "content": INSTRUCTION}]
        for example in EXAMPLES:
            messages.append({"role": "user", "content": example.sentence})
            messages.append({"role": "assistant", "content": json.dumps({"word": example.word})})
        messages.append({"role": "user", "content": sentence})
        return messages

    def body(self, sentence: str) -> dict[str, Any]:
        """Return a whole request for a word."""
        return self.request(self.messages(sentence))

    def request(self, messages: list[dict[str, str]], **options: Any) -> dict[str, Any]:
        """Return a whole request; the server's options may be given other values."""
        taken = {name: value for name, value in options.items() if name in self._options}
        return {"model": self.settings.model, "messages": messages, **self._options, **taken}

    @property
    def client(self) -> OpenAI:
        """The client of the server while sentences are being labeled."""
        if self._connection is None:
            raise RuntimeError("there is no connection outside of label")
        return self._connection

    def take(self, key: str, answer: ChatCompletion) -> Response:
        """Keep and count an answer; a refusal is an answer without a word."""
        message = answer.choices[0].message if answer.choices else None
        usage = answer.usage
        response = Response(
            (message.content or "") if message else "",
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
        )
        self._cache.keep(key, response)
        with self._lock:
            self._sent += response.sent
            self._received += response.received
        return response

    def key(self, *parts: str) -> str:
        """Return what an answer is kept under; `parts` are all of the question that decides it."""
        return question_key(str(self.client.base_url), self.settings.model, *parts)

    def _votes(self, questions: Sequence[Question]) -> tuple[list[str | None], str]:
        """Return the answers to a sentence's questions, and what went wrong, if anything."""
        from openai import OpenAIError

        votes: list[str | None] = []
        failure = ""
        for question in questions:
            response = self._cache.answer(question.key)
            if response is None and not self.may_spend():
                failure = "the cost has reached --max-cost"
            elif response is None:
                try:
                    response = self.ask(question.key, partial(self.body, question.sentence))
                except (OpenAIError, json.JSONDecodeError) as error:
                    failure = reason_of(error)
            votes.append(parse_answer(response.text) if response else None)
        return votes, failure

    def ask(self, key: str, body: Callable[[], dict[str, Any]]) -> Response:
        """Return the server's answer, and keep it.

        Args:
            key: what it is kept under.
            body: makes the request; asked again when the server did not take an option.

        Raises:
            UserError: the key is refused, or the server has no such model.
            OpenAIError: it did not answer after all tries.
        """
        from openai import (
            AuthenticationError,
            BadRequestError,
            NotFoundError,
            PermissionDeniedError,
            UnprocessableEntityError,
        )
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        retrying = Retrying(
            retry=retry_if_exception(_passes),
            wait=_pause,
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
        )
        while True:
            asked = body()
            try:
                answer = retrying(self._request, asked)
            except (AuthenticationError, PermissionDeniedError) as error:
                raise UserError(
                    f"the labeling server refused the key in {KEY_VARIABLE} (status"
                    f" {error.status_code}); check the key"
                ) from None
            except NotFoundError:
                raise UserError(
                    f"the labeling server knows no model '{self.settings.model}'; choose another by"
                    " --labeler-model"
                ) from None
            except (BadRequestError, UnprocessableEntityError) as error:
                if not self._gave_up_an_option(asked, str(error)):
                    raise
                continue
            return self.take(key, answer)

    def _request(self, body: dict[str, Any]) -> ChatCompletion:
        self._acquire()
        completion: ChatCompletion = self.client.chat.completions.create(**body)
        return completion

    def _gave_up_an_option(self, body: dict[str, Any], complaint: str) -> bool:
        """Leave out the option that a server complains about; the answer is read leniently anyway."""
        with self._lock:
            named = [option for option in body if option in self._options and option in complaint]
            if not named:
                # Another thread may have left it out in the meantime.
                return any(option in body and option not in self._options for option in OPTIONS)
            for option in named:
                del self._options[option]
                logger.info("the server does not take '%s': going on without", option)
        return True

    def check_cost(self, characters: int, questions: int, words: int | None = None) -> None:
        """Say what questions will cost, before the first is asked.

        Args:
            characters: in all questions together.
            questions: how many.
            words: expected in all answers; None is one a question.

        Raises:
            UserError: it is more than allowed.
        """
        if self._price is None:
            return
        sent, received = estimated_tokens(characters, questions if words is None else words)
        cost = self._cost(self._sent + sent, self._received + received) or 0.0
        limit = self.settings.max_cost
        if limit is not None and cost > limit:
            raise UserError(
                f"labeling {questions} questions would cost about ${cost:.4f}, more than"
                f" --max-cost {limit:g}"
            )
        logger.info("labeling: %d questions, about $%.4f", questions, cost)

    def may_spend(self) -> bool:
        """Whether what was spent is less than may be."""
        limit = self.settings.max_cost
        return limit is None or (self.cost or 0.0) < limit

    def _cost(self, sent: int, received: int) -> float | None:
        return None if self._price is None else self._price.of(sent, received)

    def say_cost(self) -> None:
        """Say what this labeler has used so far."""
        if self._sent:
            cost = "" if self.cost is None else f", ${self.cost:.4f}"
            logger.info("labeling: %d tokens sent, %d received%s", self._sent, self._received, cost)


def _price_of(settings: ChatSettings) -> Price | None:
    if settings.price is None:
        return PRICES.get(settings.model)
    try:
        return Price.parse(settings.price)
    except ValueError as error:
        raise UserError(f"--price: {error}") from None


def _length(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"]) for message in messages)


OPTIONS = ("response_format", "temperature")
FENCE = re.compile(r"^```\w*\s*|\s*```$")


def parse_answer(text: str) -> str | None:
    """Return what an answer says the word is, whether or not the server enforced the format.

    >>> parse_answer('{"word": "Riding"}')
    'Riding'
    >>> parse_answer("Riding.")
    'Riding.'
    """
    bare = FENCE.sub("", text.strip()).strip()
    if bare.startswith(("{", '"')):
        try:
            value = json.loads(bare)
        except (ValueError, RecursionError):
            return None if bare.startswith("{") else bare
        if isinstance(value, dict):
            value = value.get("word")
        return value if isinstance(value, str) else None
    return bare or None


def key_is_set() -> bool:
    """Whether the environment says how to reach a chat model."""
    return bool(os.environ.get(KEY_VARIABLE) or os.environ.get(URL_VARIABLE))


def _check_server(base_url: str | None) -> None:
    if importlib.util.find_spec("openai") is None:
        raise UserError(
            "the openai labeler needs its package; run: pip install 'demosearch[openai]'"
        )
    try:
        check_url(base_url)
    except ValueError as error:
        raise UserError(f"--base-url: {error}") from None
    if not (base_url or key_is_set()):
        raise UserError(
            f"the openai labeler needs a key: set {KEY_VARIABLE} (or give a server of your own by"
            f" --base-url or {URL_VARIABLE}), or choose --labeler local"
        )


def _client(base_url: str | None) -> OpenAI:
    from openai import OpenAI

    # A server of one's own often wants no key, the client wants some string. The client's own
    # retries do not obey a long Retry-After, so there are none.
    key = os.environ.get(KEY_VARIABLE) or "none"
    return OpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=TIMEOUT)


def _limiter(rate: int | None) -> Callable[[], object]:
    if rate is None:
        return lambda: None
    from pyrate_limiter import Limiter, Rate

    limiter = Limiter(Rate(rate, MINUTE))
    return lambda: limiter.try_acquire("request")


def _passes(error: BaseException) -> bool:
    """Whether trying again may help."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    # A server, or what stands in front of it, may answer with a page that is no JSON.
    return isinstance(error, APIConnectionError | json.JSONDecodeError)


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: what the server asks for, however long, or ever longer."""
    from openai import APIStatusError
    from tenacity import wait_random_exponential

    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, APIStatusError):
        asked = error.response.headers.get("retry-after", "")
        if re.fullmatch(r"\d+(\.\d+)?", asked):
            seconds = float(asked)
            if seconds > LONGEST_PAUSE:
                logger.warning("the labeling server asks to wait for %.0f s", seconds)
            return seconds
    return wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE)(state)


def reason_of(error: Exception) -> str:
    """Return what went wrong without what was sent: a server may echo the key."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} (status {status})" if status else type(error).__name__
