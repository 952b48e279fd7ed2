"""The ChatGPT labeler, over the OpenAI protocol; other servers speak it too."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from demosearch.candidates.labeling import EXAMPLES
from demosearch.errors import UserError

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "gpt-4o-mini"
KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
CONCURRENCY = 8
RETRIES = 5

_INSTRUCTION = (
    "You are given a sentence. Answer with the one English word that best sums up its meaning."
    " Answer with that word only: no punctuation, no explanation."
)


class ChatLabeler:
    """Asks a chat model for the word, several sentences at a time.

    The key comes from OPENAI_API_KEY only; OPENAI_BASE_URL points to another server, which may need
    no key.

    Args:
        model: the chat model's name on the server.

    Raises:
        UserError: the openai package is missing, or there is neither key nor base URL.
    """

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        self.source = f"openai:{model}"
        self._model = model
        self._client = _client()

    def label(
        self, sentences: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> list[str | None]:
        """Return the model's answers in the order of the sentences; None where none came.

        Raises:
            UserError: the key is refused, or no sentence at all was answered.
        """
        from openai import OpenAIError

        answers: list[str | None] = [None] * len(sentences)
        problem = ""
        with ThreadPoolExecutor(max_workers=CONCURRENCY) as pool:
            asked = {pool.submit(self._ask, text): row for row, text in enumerate(sentences)}
            try:
                for future in as_completed(asked):
                    try:
                        answers[asked[future]] = future.result()
                    except OpenAIError as error:
                        problem = _reason(error)
                        logger.warning("a sentence was not labeled: %s", problem)
                    if advance:
                        advance(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if problem and not any(answers):
            raise UserError(f"the labeler answered no sentence: {problem}")
        return answers

    def _ask(self, sentence: str) -> str | None:
        from openai import AuthenticationError, NotFoundError, PermissionDeniedError

        messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": _INSTRUCTION}]
        for example in EXAMPLES:
            messages.append({"role": "user", "content": example.sentence})
            messages.append({"role": "assistant", "content": example.word})
        messages.append({"role": "user", "content": sentence})
        try:
            answer = self._client.chat.completions.create(model=self._model, messages=messages)
        except (AuthenticationError, PermissionDeniedError) as error:
            raise UserError(
                f"the labeling server refused the key in {KEY_VARIABLE} (status"
                f" {error.status_code}); check the key"
            ) from None
        except NotFoundError:
            raise UserError(
                f"the labeling server knows no model '{self._model}'; choose another by"
                " --labeler-model"
            ) from None
        return answer.choices[0].message.content if answer.choices else None


def key_is_set() -> bool:
    """Whether the environment says how to reach a chat model."""
    return bool(os.environ.get(KEY_VARIABLE) or os.environ.get(URL_VARIABLE))


def _client() -> OpenAI:
    try:
        from openai import OpenAI
    except ImportError:
        raise UserError(
            "the openai labeler needs its package; run: pip install 'demosearch[openai]'"
        ) from None
    if not key_is_set():
        raise UserError(
            f"the openai labeler needs a key: set {KEY_VARIABLE} (or {URL_VARIABLE} for a server"
            " of your own), or choose --labeler local"
        )
    # A server of one's own often wants no key, the client wants some string.
    return OpenAI(api_key=os.environ.get(KEY_VARIABLE) or "none", max_retries=RETRIES)


def _reason(error: Exception) -> str:
    """Return what went wrong without what was sent: a server may echo the key."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} (status {status})" if status else type(error).__name__
