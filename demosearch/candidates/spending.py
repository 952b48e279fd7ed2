"""What a chat model costs: an estimate before the first request, the tokens used, and a limit."""

from __future__ import annotations

import logging
import threading

from demosearch.candidates.prices import PRICES, Price, estimated_tokens
from demosearch.candidates.responses import Response
from demosearch.errors import UserError

logger = logging.getLogger(__name__)


class Spending:
    """The tokens that a labeler has used, and their cost.

    Args:
        model: name of the chat model.
        price: US dollars per million input and output tokens, e.g. `0.15,0.60`; None means the
            price list.
        limit: maximum cost in US dollars; None means no limit.

    Raises:
        UserError: the price is malformed, or there is a limit and the price is unknown.
    """

    def __init__(self, model: str, price: str | None = None, limit: float | None = None) -> None:
        self._price = _price_of(model, price)
        self._limit = limit
        self._sent = self._received = self._estimated = 0
        self._lock = threading.Lock()
        if limit is not None and self._price is None:
            raise UserError(
                f"a maximum cost requires the price of '{model}', which is unknown; set the price"
                " too, in US dollars per million input and output tokens, e.g. 0.15,0.60"
            )

    @property
    def cost(self) -> float | None:
        """The cost so far in US dollars; None if the price is unknown."""
        return self._cost_of(self._sent, self._received)

    @property
    def limit_reached(self) -> bool:
        """Whether the cost has reached the limit, so that no more requests may be sent."""
        return self._limit is not None and (self.cost or 0.0) >= self._limit

    def add(self, response: Response) -> None:
        """Count the tokens of an answer."""
        with self._lock:
            # A server, or a damaged cache, must not lower the cost.
            self._sent += max(response.sent, 0)
            self._received += max(response.received, 0)
            self._estimated += response.estimated

    def check(self, size: int, questions: int) -> None:
        """Log the estimated cost of questions before the first one is sent.

        Args:
            size: total size of the questions in UTF-8 bytes.
            questions: number of questions.

        Raises:
            UserError: the estimate exceeds the limit.
        """
        sent, received = estimated_tokens(size, questions)
        cost = self._cost_of(self._sent + sent, self._received + received)
        if cost is None:
            return
        if self._limit is not None and cost > self._limit:
            raise UserError(
                f"the maximum cost must be at least the estimated cost of {questions} requests,"
                f" ${cost:.4f}, but got ${self._limit:g}"
            )
        logger.info("labeling: %d requests, about $%.4f", questions, cost)

    def log(self) -> None:
        """Log the number of tokens used so far, their cost, and the number of estimates."""
        if self._sent:
            cost = "" if self.cost is None else f", ${self.cost:.4f}"
            if self._estimated:
                cost += f"; estimated for answers without valid token counts: {self._estimated}"
            logger.info(
                "labeling: %d input tokens, %d output tokens%s", self._sent, self._received, cost
            )

    def _cost_of(self, sent: int, received: int) -> float | None:
        return None if self._price is None else self._price.of(sent, received)


def _price_of(model: str, price: str | None) -> Price | None:
    if price is None:
        return PRICES.get(model)
    try:
        return Price.parse(price)
    except ValueError as error:
        raise UserError(f"price {error}") from None
