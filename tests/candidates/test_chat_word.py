"""Words in answers of every form. An answer that can be read in two ways has no word."""

from __future__ import annotations

import time

import pytest

from demosearch.candidates.chat_word import parse_answer
from demosearch.candidates.labeling import clean_word


@pytest.mark.parametrize(
    "text",
    [
        "Riding",
        '"Riding"',
        ' {"word":"Riding"} ',
        '{"Word": "Riding"}',
        '{"WORD": "Riding", "confidence": 1}',
        '{"word": " Riding "}',
        '[{"word": "Riding"}]',
        '["Riding"]',
        '[{"word": "Riding"}, {"word": "Riding"}]',
        '```json\n{"word": "Riding"}\n```',
        '```json\n{"word": "Riding"}',
        "```\nRiding\n```",
        "```Riding```",
        "Here it is:\n```text\nRiding\n```",
        'Sure! {"word": "Riding"} I hope this helps.',
        'The answer:\n```json\n[{"word": "Riding"}]\n```\nDone.',
        '{"word": "Riding"}\n{"word": "Riding"}',
        '"{\\"word\\": \\"Riding\\"}"',
        '<think>A {"word": "Horse"}?</think>{"word": "Riding"}',
        "<think>\nHorse\n</think>\n\nRiding",
        "So it is about a horse.\n</think>\n\nRiding",
        '{"word": "Horse"}, no. </think> {"word": "Riding"}',
        "<Think>a</Think> <thinking>b</thinking> Riding",
        "[THINK]Horse[/THINK]Riding",
        "<think>a <think> b </think> c</think>Riding",
        "Riding\n<think>It was right.</think>",
    ],
)
def test_the_word_is_read(text: str) -> None:
    assert clean_word(parse_answer(text)) == "Riding"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "{}",
        "[]",
        "[1]",
        "3",
        "null",
        "true",
        '{"word": null}',
        '{"word": 3}',
        '{"word": ""}',
        '{"word": ["Riding"]}',
        '{"word": ',
        '{"word": "Rid',
        '{"other": "Riding"}',
        '{"word": "Riding", "word": "Horse"}',
        '{"word": "Riding", "Word": "Horse"}',
        '{"word": "Riding"} or {"word": "Horse"}',
        '[{"word": "Riding"}, {"word": "Horse"}]',
        '["Riding", "Horse"]',
        '{"word": "Riding"} or {"label": "Horse"}',
        'I fill {braces}: {"word": "Riding"}',
        "```\nRiding\n```\n```\nHorse\n```",
        "<think>Riding",
        '<think>{"word": "Riding"}',
        "Riding <think>or not",
        "Rid<think>x</think>ing",
        "<think>Riding</think>",
        '{"refusal": "Sorry"}',
        '{"word": "\\ud800"}',
        "[" * 10_000,
        '{"a":' * 3_000,
        "9" * 5_000,
        "Riding " + " " * 30_000 + "x",
    ],
)
def test_other_answers_have_no_word(text: str) -> None:
    assert clean_word(parse_answer(text)) is None


@pytest.mark.parametrize(
    "text",
    ["<think>" * 150_000, "</think>" * 130_000, "```" * 300_000, "{" * 10**6, '{"a":' * 4_000],
)
def test_hostile_answers_are_read_quickly(text: str) -> None:
    start = time.monotonic()
    assert parse_answer(text) is None
    assert time.monotonic() - start < 2
