from __future__ import annotations

import pytest

from demosearch.candidates.prices import estimated_tokens
from demosearch.candidates.responses import Response
from demosearch.candidates.spending import Spending
from demosearch.errors import UserError


def test_a_limit_requires_a_price() -> None:
    with pytest.raises(UserError, match="a maximum cost requires the price of 'my-model'"):
        Spending("my-model", limit=1.0)
    with pytest.raises(UserError, match=r"price must be two numbers .* but got 'cheap'"):
        Spending("my-model", price="cheap")


def test_a_model_without_a_price_has_no_cost() -> None:
    spending = Spending("my-model")
    spending.check(10**9, 10**9)
    spending.add(Response("Riding", 100, 5))
    assert spending.cost is None
    assert not spending.limit_reached


def test_cost_is_that_of_all_tokens() -> None:
    spending = Spending("gpt-4o-mini", limit=0.00003)
    spending.add(Response("Riding", 100, 5))
    assert spending.cost == pytest.approx((100 * 0.15 + 5 * 0.60) / 1e6)
    assert not spending.limit_reached
    spending.add(Response("Riding", 100, 5))
    assert spending.limit_reached


def test_an_estimate_includes_what_was_spent() -> None:
    spending = Spending("m", price="1000000,0", limit=5.0)
    # 3.5 bytes per token, a dollar per token.
    spending.check(size=14, questions=1)
    spending.add(Response("Riding", 3, 0))
    with pytest.raises(
        UserError, match=r"at least the estimated cost of 1 requests, \$7.* but got \$5"
    ):
        spending.check(size=14, questions=1)


def test_the_estimate_counts_bytes_and_negative_counts_do_not_lower_the_cost() -> None:
    # About one token per Chinese character in the tokenizers of OpenAI.
    assert estimated_tokens(len("一个男人在骑马。".encode()), 1)[0] >= 7
    spending = Spending("gpt-4o-mini", limit=1.0)
    spending.add(Response("Riding", -(10**9), -5))
    assert spending.cost == 0.0
