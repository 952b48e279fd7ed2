"""The conversation in which a chat model is asked for a word."""

from __future__ import annotations

import json
from typing import Any

from demosearch.candidates.chat_word import parse_answer
from demosearch.candidates.labeling import EXAMPLES

__all__ = ["PROMPT_VERSION", "RESPONSE_FORMAT", "messages_for", "parse_answer"]

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


def messages_for(sentence: str) -> list[dict[str, str]]:
    """Return the messages that ask for the word of a sentence."""
    messages = [{"role": "system", "content": INSTRUCTION}]
    for example in EXAMPLES:
        messages.append({"role": "user", "content": example.sentence})
        messages.append({"role": "assistant", "content": json.dumps({"word": example.word})})
    messages.append({"role": "user", "content": sentence})
    return messages
