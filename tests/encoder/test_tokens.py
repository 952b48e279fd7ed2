"""Spliced tokens compared with tokenizing every prompt whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from demosearch.demonstration import Demonstration
from demosearch.encoder.tokens import PromptTokenizer, control_tokens, prompt_ids
from demosearch.errors import UserError
from demosearch.prompt import Prompt, Template
from demosearch.templates import TEMPLATES
from tests.tiny import appending, with_slow_tokenizer

ONE = Demonstration(sentence="A jockey riding a horse.", word="Equestrian")
TEXTS = ["A cat sleeps.", "'quoted'", "...", "", "\U0001f642", "  blanks", "<s> </s>", "2 dogs"]
KINDS = ("llama", "llama-sentencepiece", "qwen3")


@pytest.fixture(params=KINDS)
def tokenizer(
    request: pytest.FixtureRequest, tiny: Callable[[str], Path]
) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny(request.param))


def whole(tokenizer: PreTrainedTokenizerBase, texts: list[str], prompt: Prompt) -> list[list[int]]:
    bare = [text.replace("<s>", "< s>").replace("</s>", "< /s>") for text in texts]
    return [tokenizer(text.join(prompt.parts)).input_ids for text in bare]


@pytest.mark.parametrize(
    "name", [name for name, template in TEMPLATES.items() if template.takes_demonstrations]
)
def test_tokens_equal_those_of_the_whole_prompt(
    tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    prompt = Prompt(TEMPLATES[name])
    tokenize = PromptTokenizer(tokenizer, 1 << 30)
    for shown in (prompt, prompt.with_demonstrations(ONE), prompt.with_demonstrations(ONE, ONE)):
        found = [tokens.ids for tokens in tokenize(TEXTS, shown)]
        assert found == whole(tokenizer, TEXTS, shown)


SENTENCE = st.text(min_size=1, max_size=20).filter(
    lambda text: text.strip() and '"' not in text and all(ord(letter) > 31 for letter in text)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text(max_size=30), min_size=1, max_size=6),
    sentence=SENTENCE,
    word=SENTENCE,
    kind=st.sampled_from(KINDS),
)
def test_tokens_equal_those_of_the_whole_prompt_for_any_demonstration(
    tiny: Callable[[str], Path], texts: list[str], sentence: str, word: str, kind: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny(kind))
    prompt = Prompt().with_demonstrations(Demonstration(sentence=sentence, word=word))
    found = [tokens.ids for tokens in PromptTokenizer(tokenizer, 1 << 30)(texts, prompt)]
    assert found == whole(tokenizer, texts, prompt)


def test_sentences_are_tokenized_once_for_all_demonstrations(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenize = PromptTokenizer(tokenizer, 1 << 30)
    texts = [f"Number {number} of many." for number in range(50)]
    asked: list[str] = []
    original = PromptTokenizer._ids

    def count(self: PromptTokenizer, prompts: list[str]) -> list[list[int]]:
        asked.extend(prompts)
        return original(self, prompts)

    monkeypatch.setattr(PromptTokenizer, "_ids", count)
    for word in ("Horse", "Race", "Sport"):
        prompt = Prompt().with_demonstrations(Demonstration(sentence="A jockey.", word=word))
        found = [tokens.ids for tokens in tokenize(texts, prompt)]
        assert found == whole(tokenizer, texts, prompt)
    assert len(asked) < len(texts) + 3 * 6


def test_a_template_without_words_before_the_text_is_tokenized_whole(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    prompt = Prompt(Template("short", "{text} =", "{text} = {word}, ")).with_demonstrations(ONE)
    found = [tokens.ids for tokens in PromptTokenizer(tokenizer, 1 << 30)(TEXTS, prompt)]
    assert found == whole(tokenizer, TEXTS, prompt)


def test_the_cache_has_a_maximum_size(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demosearch.encoder.tokens.CACHE_SIZE", 5)
    tokenize = PromptTokenizer(tokenizer, 1 << 30)
    for texts in (TEXTS[:3], TEXTS[2:6], TEXTS, TEXTS[:5]):
        assert [tokens.ids for tokens in tokenize(texts, Prompt())] == whole(
            tokenizer, texts, Prompt()
        )
        assert len(tokenize._cache) <= 5


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_an_empty_prompt_has_one_token(tiny: Callable[[str], Path], family: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny(family))
    [tokens] = PromptTokenizer(tokenizer, 100)([""], Prompt(TEMPLATES["mean"]))
    # LLaMA's beginning token, or the end-of-text token of a model without a beginning token.
    assert tokens.ids == [1 if family == "llama" else 2]
    assert (tokens.pooled, tokens.behind) == (1, 0)


def test_control_tokens_in_a_text_are_plain_text(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    controls = control_tokens(tokenizer)
    assert controls
    # Control tokens outside the vocabulary are unknown tokens.
    reading = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    [beginning] = {row[0] for row in whole(tokenizer, ["a", "b"], Prompt())}
    for text in (*controls, " ".join(controls), "a" + controls[0] * 3 + "b"):
        [tokens] = PromptTokenizer(tokenizer, 1 << 30)([text], Prompt())
        special = [index for index, token in enumerate(tokens.ids) if token in reading]
        assert special == ([0] if beginning in reading else []), text


@pytest.mark.parametrize("beginning", ["", "<s> "])
def test_prompts_have_a_beginning_token_but_no_end_token(
    tiny: Callable[[str], Path], tmp_path: Path, beginning: str
) -> None:
    folder = appending(tiny("llama"), tmp_path / "model", beginning)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [Prompt().render(text) for text in ("A cat", "Two dogs run")]
    found = prompt_ids(tokenizer, prompts)
    assert found == [tokenizer(prompt).input_ids[:-1] for prompt in prompts]
    prepared = [Prompt().prepare(text) for text in ("A cat", "Two dogs run")]
    assert [row.ids for row in PromptTokenizer(tokenizer, 10_000)(prepared, Prompt())] == found
    assert prompt_ids(tokenizer, []) == []


def test_a_slow_tokenizer_shortens_a_long_text(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = with_slow_tokenizer(tiny("llama"), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not tokenizer.is_fast
    prompt, text = Prompt(), "many words and more " * 20
    [row] = PromptTokenizer(tokenizer, 100)([text], prompt)
    ends = range(len(text) + 1)
    rows = [prompt_ids(tokenizer, [text[:end].join(prompt.parts)])[0] for end in ends]
    assert row.ids == max((ids for ids in rows if len(ids) <= 100), key=len)
    with pytest.raises(UserError, match="requires a fast tokenizer"):
        PromptTokenizer(tokenizer, 100)(["A cat"], Prompt(TEMPLATES["echo"]))
