"""A chat model writes sentences in the manner of given ones, with the word for each."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from demosearch.candidates.chat import FENCE, ChatLabeler, reason_of
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

# Part of every key of the cache: another wording is another question.
VERSION = "1"
# Pairs a request: more, and they grow alike.
BATCH = 20
# Words that a written pair takes in an answer, for the estimate of the cost.
WORDS = 5
INSTRUCTION = (
    "You are given sentences, each with the one English word that best sums up its meaning. Write"
    f" {BATCH} further sentences in the same manner: the same kind of text, of the same length and"
    " style, about other things, no two alike. Give the one word for each. A word is not to stand in"
    " its sentence."
)
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "pairs",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "pairs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"sentence": {"type": "string"}, "word": {"type": "string"}},
                        "required": ["sentence", "word"],
                        "additionalProperties": False,
                    },
                }
            },
            "required": ["pairs"],
            "additionalProperties": False,
        },
    },
}


def write_pairs(
    labeler: ChatLabeler, models: Sequence[Demonstration], wanted: int
) -> Generator[tuple[str, str]]:
    """Yield sentences and words that a chat model writes after the models', as it wrote them.

    It is asked twice as often as should be needed, no more: the caller ends when it has enough.
    Answers are kept, as the labeler's are.

    Args:
        labeler: knows the server, the limits and the cache.
        models: are shown to it.
        wanted: pairs that the caller needs.

    Raises:
        UserError: the key is refused, nothing at all came, or it would cost more than allowed.
    """
    from openai import OpenAIError

    shown = "\n".join(
        json.dumps({"sentence": one.sentence, "word": one.word}, ensure_ascii=False)
        for one in models
    )
    needed = -(-wanted // BATCH)
    found = 0
    failure = ""
    with labeler.connected(), _said_at_the_end(labeler):
        labeler.check_cost(needed * (len(INSTRUCTION) + len(shown)), needed, wanted * WORDS)
        for number in range(1, 2 * needed + 1):
            if not labeler.may_spend():
                failure = "the cost has reached --max-cost"
                break
            # The number alone makes it another question; the model need not make anything of it.
            content = f"{shown}\n\nPart {number}."
            messages = [
                {"role": "system", "content": INSTRUCTION},
                {"role": "user", "content": content},
            ]
            body = partial(labeler.request, messages, response_format=RESPONSE_FORMAT)
            key = labeler.key("write", VERSION, content)
            try:
                response = labeler.cache.answer(key) or labeler.ask(key, body)
            except (OpenAIError, json.JSONDecodeError) as error:
                failure = reason_of(error)
                logger.warning("no sentences were written: %s", failure)
                continue
            for pair in parse_pairs(response.text):
                found += 1
                yield pair
    if not found:
        raise UserError(f"the chat model wrote no sentence{f': {failure}' if failure else ''}")


@contextmanager
def _said_at_the_end(labeler: ChatLabeler) -> Iterator[None]:
    """Say what was used, also when the caller has enough before the last answer."""
    try:
        yield
    finally:
        labeler.say_cost()


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs of an answer, whether or not the server enforced the format.

    >>> parse_pairs('[{"sentence": "A cat sleeps.", "word": "Rest"}, {"sentence": 1}]')
    [('A cat sleeps.', 'Rest')]
    """
    bare = FENCE.sub("", text.strip()).strip()
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        return []
    rows = value.get("pairs") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        return []
    pairs = [(row.get("sentence"), row.get("word")) for row in rows if isinstance(row, dict)]
    return [(one, two) for one, two in pairs if isinstance(one, str) and isinstance(two, str)]
