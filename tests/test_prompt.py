from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Pooling, Preparation, Prompt, Template, prepare

JOCKEY = Demonstration(sentence="A jockey riding a horse.", word="Equestrian")
SWISS = Demonstration(sentence="relating to switzerland or its people.", word="Swiss")


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("A cat sleeps", "A cat sleeps."),
        ("A cat sleeps.", "A cat sleeps."),
        ("Does a cat sleep?", "Does a cat sleep."),
        ('He said "no"', "He said 'no'"),
        ('"Yes", he said', "'Yes', he said."),
        ("It's 'fine'", "It's 'fine'"),
        ("Stop!", "Stop!."),
        ("", ""),
        ("   ", ""),
        ("  padded  ", "padded."),
    ],
)
def test_prepare_follows_the_paper(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@given(st.text())
def test_preparing_twice_gives_the_same_text(text: str) -> None:
    assert prepare(prepare(text)) == prepare(text)


def test_prompteol_is_byte_exact() -> None:
    assert Prompt().render("A cat sleeps") == 'This sentence : "A cat sleeps." means in one word:"'
    assert Prompt(demonstrations=(JOCKEY, SWISS)).render("Why?") == (
        'This sentence : "A jockey riding a horse." means in one word:"Equestrian".'
        'This sentence : "relating to switzerland or its people." means in one word:"Swiss".'
        'This sentence : "Why." means in one word:"'
    )


@given(st.text())
def test_a_text_cannot_end_its_quotes(text: str) -> None:
    prompt = Prompt(demonstrations=(JOCKEY,))
    rendered = prompt.render(text)
    assert rendered.count('"') == Prompt(demonstrations=(JOCKEY,)).render("").count('"')
    assert rendered == prompt.head + prompt.prepare(text) + prompt.tail


def test_placeholders_in_a_sentence_are_not_replaced() -> None:
    odd = Demonstration(sentence="Write {word} and {text}.", word="Code")
    assert Prompt(demonstrations=(odd,)).head == (
        'This sentence : "Write {word} and {text}." means in one word:"Code".This sentence : "'
    )


def test_the_word_may_come_before_the_text() -> None:
    template = Template("reversed", "{text} =", "{word} = {text}", joiner="; ")
    prompt = Prompt(template, (SWISS,))
    assert prompt.render("x") == "Swiss = relating to switzerland or its people.; x. ="


@pytest.mark.parametrize(
    ("query", "demonstration", "message"),
    [
        (
            "no text",
            "{text}{word}",
            "'query' must contain {text} exactly once but contains it 0 times",
        ),
        (
            "{text}",
            "{text}",
            "'demonstration' must contain {word} exactly once but contains it 0 times",
        ),
        (
            "{text} {text}",
            "{text}{word}",
            "'query' must contain {text} exactly once but contains it 2 times",
        ),
        ("{text}{demonstrations}", "{text}{word}", "{demonstrations} must come before {text}"),
        (
            "{demonstrations}{demonstrations}{text}",
            "{text}{word}",
            "'query' must contain {demonstrations} at most once but contains it 2 times",
        ),
    ],
)
def test_an_error_of_a_template_names_the_placeholder(
    query: str, demonstration: str, message: str
) -> None:
    with pytest.raises(UserError) as error:
        Template("mine", query, demonstration)
    assert message in str(error.value)


def test_without_preparation_the_text_is_unchanged() -> None:
    template = Template("raw", "{text}", "{text}{word}", preparation=Preparation.NONE)
    assert Prompt(template).render('as "is"?') == 'as "is"?'


def test_demonstrations_replace_their_placeholder() -> None:
    template = Template(
        "mine", "Task. {demonstrations}Now: {text} =", "{text} = {word}", joiner="; "
    )
    prompt = Prompt(template, (SWISS, JOCKEY))
    assert prompt.render("x") == (
        "Task. relating to switzerland or its people. = Swiss; A jockey riding a horse. ="
        " Equestrian; Now: x. ="
    )
    assert prompt.with_demonstrations().render("x") == "Task. Now: x. ="


def test_a_template_with_mean_pooling_may_contain_the_text_twice() -> None:
    template = Template("twice", "{text} again: {text}!", "", pooling=Pooling.MEAN)
    prompt = Prompt(template)
    assert prompt.render("a {text} b") == "a {text} b. again: a {text} b.!"
    assert prompt.parts == ["", " again: ", "!"]


def test_a_template_without_a_demonstration_form_refuses_demonstrations() -> None:
    with pytest.raises(UserError, match="template 'bare' takes no demonstrations"):
        Prompt(Template("bare", "{text}", ""), (SWISS,))


def test_a_prompt_from_its_record_is_the_same_prompt() -> None:
    prompt = Prompt(demonstrations=(JOCKEY, SWISS), layer=3)
    assert Prompt.of(prompt.record(3)) == prompt
