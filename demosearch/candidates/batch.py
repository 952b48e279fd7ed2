"""The Batch API: many questions in one file, at half the price, answered within a day.

A batch fills the cache of answers; whatever it leaves open is asked in the ordinary way. Its id is
kept as soon as it is submitted, so that a run that is killed comes back to it.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from demosearch.candidates.responses import question_key
from demosearch.errors import UserError

if TYPE_CHECKING:
    from openai.types import Batch

    from demosearch.candidates.chat import ChatLabeler, Question

logger = logging.getLogger(__name__)

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
# A batch that ended badly is not worth more than one more try.
ROUNDS = 2
ENDED = ("completed", "failed", "expired", "cancelled")


def run_batch(labeler: ChatLabeler, questions: Sequence[Question]) -> None:
    """Submit questions, or come back to a batch of theirs, and keep the answers as they are.

    Raises:
        UserError: the server has no Batch API, or refuses the batch.
    """
    from openai import OpenAIError

    from demosearch.candidates.chat import reason_of

    key = question_key("batch", *(question.key for question in questions))
    left = list(questions)
    try:
        for _ in range(ROUNDS):
            if not left:
                break
            batch = _submitted(labeler, left, key)
            batch = _waited_for(labeler, batch)
            labeler.cache.keep_batch(key, None)
            _collect(labeler, batch, {question.key: question for question in left})
            left = [each for each in left if labeler.cache.answer(each.key) is None]
            if left:
                logger.warning(
                    "batch %s (%s) left %d of %d questions open",
                    batch.id, batch.status, len(left), len(questions),
                )  # fmt: skip
    except OpenAIError as error:
        raise UserError(
            f"the labeling server did not take the batch: {reason_of(error)}; try without --batch"
        ) from None


def _submitted(labeler: ChatLabeler, questions: Sequence[Question], key: str) -> Batch:
    known = labeler.cache.batch(key)
    if known is not None:
        logger.info("going on with batch %s", known)
        return labeler.client.batches.retrieve(known)
    lines = [
        {
            "custom_id": question.key,
            "method": "POST",
            "url": ENDPOINT,
            "body": labeler.body(question.sentence),
        }
        for question in questions
    ]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    file = labeler.client.files.create(
        file=("questions.jsonl", io.BytesIO(content.encode())), purpose="batch"
    )
    batch = labeler.client.batches.create(
        endpoint=ENDPOINT, input_file_id=file.id, completion_window="24h"
    )
    labeler.cache.keep_batch(key, batch.id)
    logger.info("batch %s: %d questions", batch.id, len(questions))
    return batch


def _waited_for(labeler: ChatLabeler, batch: Batch) -> Batch:
    while batch.status not in ENDED:
        time.sleep(labeler.settings.poll)
        batch = labeler.client.batches.retrieve(batch.id)
    return batch


def _collect(labeler: ChatLabeler, batch: Batch, questions: dict[str, Question]) -> None:
    """Keep the answers of a batch's file, which come in any order; errors stay open."""
    from openai.types.chat import ChatCompletion
    from pydantic import ValidationError

    for row in _rows(labeler, batch):
        question = questions.get(str(row.get("custom_id")))
        response = row.get("response") or {}
        if question is None or response.get("status_code") != 200:
            continue
        try:
            labeler.take(question.key, ChatCompletion.model_validate(response.get("body")))
        except ValidationError:
            logger.warning("batch %s: an answer is no chat completion", batch.id)


def _rows(labeler: ChatLabeler, batch: Batch) -> Iterator[dict[str, Any]]:
    if batch.output_file_id is None:
        return
    text = labeler.client.files.content(batch.output_file_id).text
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
