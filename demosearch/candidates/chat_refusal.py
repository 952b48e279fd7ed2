"""Errors of a chat server that every later request has too: no money, a wrong key, no such model."""

from __future__ import annotations

import re
from enum import Enum, auto

from demosearch.candidates.chat_answer import ServerError


class Refusal(Enum):
    """What the server refuses."""

    MONEY = auto()
    KEY = auto()
    MODEL = auto()


_CODES = {
    Refusal.MONEY: {
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "insufficient_balance",
        "insufficient_user_quota",
        "exceeded_current_quota_error",
        "arrearage",
    },
    Refusal.KEY: {"invalid_api_key", "account_deactivated", "api_key_invalid"},
    Refusal.MODEL: {"model_not_found", "deploymentnotfound"},
}
_STATUSES = {
    402: Refusal.MONEY,
    401: Refusal.KEY,
    403: Refusal.KEY,
    404: Refusal.MODEL,
    405: Refusal.MODEL,
}
# Some servers have no code and no status for these: xAI and Gemini answer 400 to a wrong key, and
# Anthropic answers 400 to an account without money.
_MESSAGES = {
    Refusal.KEY: re.compile(
        r"\b(?:invalid|incorrect|a valid) api[ _-]?key|\bapi[ _-]?key (?:is )?(?:not valid|invalid|expired)"
    ),
    Refusal.MONEY: re.compile(
        r"credit balance is too low|all available credits|have any credits|insufficient credits|spending limit"
    ),
}
_STATUSES_OF_MESSAGES = (200, 400, 403, 429)
# A server that refuses one text, e.g. OpenRouter, may do that with 403.
_MODERATION = re.compile(
    r"\bmoderation\b|\bflagged\b|content (?:policy|management|filter)|safety system"
)


def refusal_of(error: ServerError) -> Refusal | None:
    """Return what is refused to every later request too; None if the error may be one request's own."""
    for refusal, codes in _CODES.items():
        if error.codes & codes:
            return refusal
    message = error.message.lower()
    if error.status == 403 and _MODERATION.search(message):
        return None
    if error.status in _STATUSES_OF_MESSAGES:
        for refusal, pattern in _MESSAGES.items():
            if pattern.search(message):
                return refusal
    return _STATUSES.get(error.status)
