"""The conversation in which a chat model is asked for a word, and how its answer is parsed."""

from __future__ import annotations

import json
import re
from typing import Any

from demosearch.candidates.labeling import EXAMPLES

# Part of the key of every cached answer. Another wording is another question.
PROMPT_VERSION = "2"

INSTRUCTION = (
    "You are given a sentence. Answer with the one word, in the language of the sentence, that best"
    " sums up its meaning. Answer with that word only: no punctuation, no explanation."
)
RESPONSE_FORMAT: dict[str, Any] = {
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

_FENCE = re.compile(r"^```\w*\s*|\s*```$")


def messages_for(sentence: str) -> list[dict[str, str]]:
    """Return the messages that ask for the word of a sentence."""
    messages = [{"role": "system", "content": INSTRUCTION}]
    for example in EXAMPLES:
        messages.append({"role": "user", "content": example.sentence})
        messages.append({"role": "assistant", "content": json.dumps({"word": example.word})})
    messages.append({"role": "user", "content": sentence})
    return messages


def parse_answer(text: str) -> str | None:
    """Return the word in an answer, whether or not the server enforced the response format.

    The word may still be more than one word: `clean_word` checks that.

    >>> parse_answer('{"word": "Riding"}')
    'Riding'
    >>> parse_answer("Riding.")
    'Riding.'
    """
    bare = _FENCE.sub("", text.strip()).strip()
    if bare.startswith(("{", '"')):
        try:
            value = json.loads(bare)
        except (ValueError, RecursionError):
            return None if bare.startswith("{") else bare
        if isinstance(value, dict):
            value = value.get("word")
        return value if isinstance(value, str) else None
    return bare or None
