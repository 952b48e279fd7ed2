"""A prompt as a tokenizer's chat template: the one place where other libraries add text after the input.

sentence-transformers inserts a text into a tokenizer's chat template as a user message, and so do
embedding servers that receive messages. The template below adds the demonstrations before the text and
the end of the prompt after it, and prepares the text as `demosearch.prompt.prepare` does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from demosearch.encoder.tokens import PromptTokenizer, beginning_tokens, control_tokens
from demosearch.errors import UserError
from demosearch.prompt import Pooling, Preparation, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The rules of `demosearch.prompt.prepare`.
_PREPARE = """\
{%- set text = text | trim %}
{%- if text and text[-1] not in ".?\\"'" %}{% set text = text ~ "." %}{% endif %}
{%- set text = text | replace('"', "'") %}
{%- if text and text[-1] == "?" %}{% set text = text[:-1] ~ "." %}{% endif %}
"""
# Of `demosearch.encoder.tokens.without_control_tokens`.
_BREAK_UP = "{{%- set text = text | replace({token}, {broken}) %}}\n"
# `prompt=` of sentence-transformers arrives as a system message. As in models without a chat template, it
# is put before the text. Other messages would be dropped.
_TEMPLATE = """\
{{%- set before = namespace(text="", users=0) %}}
{{%- for message in messages %}}
{{%- if message["content"] is not string %}}{{{{ raise_exception({not_text}) }}}}{{% endif %}}
{{%- if message["role"] == "system" and not before.users %}}
{{%- set before.text = before.text ~ message["content"] %}}
{{%- elif message["role"] == "user" and not before.users %}}
{{%- set before.users = 1 %}}
{{%- set text = before.text ~ message["content"] %}}
{prepare}{break_up}{{{{- {head} ~ text ~ {tail} -}}}}
{{%- else %}}{{{{ raise_exception({not_one}) }}}}
{{%- endif %}}
{{%- endfor %}}
{{%- if not before.users %}}{{{{- raise_exception({not_one}) }}}}{{%- endif %}}
"""
_NOT_TEXT = "the content of a message must be a text for this model"
_NOT_ONE = (
    "the messages must be one user message with the text, and before it at most system messages that are"
    " put before the text"
)
# Texts that chat templates often handle incorrectly.
EDGE_CASES = (
    "A cat sleeps",
    "",
    '"Is it?"',
    "Is it raining?",
    "  blanks around  ",
    "'quote' first",
    "It's 3.5%, isn't it",
    "caf\xe9 \U0001f600",
    "two  blanks {{ x }} {% y %}",
    "ends with a quote'",
)


def chat_template(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the chat template that inserts a user message, and a system message before it, into a prompt.

    Args:
        prompt: a prompt with last-token pooling.
        tokenizer: its beginning token is added, because a chat template adds none.

    Raises:
        UserError: the prompt cannot be expressed as a chat template.
    """
    if prompt.template.pooling is not Pooling.LAST:
        raise UserError(
            f"template '{prompt.template.name}' uses the mean over the text's tokens, which"
            " sentence-transformers' modules cannot express; choose a template with last-token"
            " pooling"
        )
    prepare = _PREPARE if prompt.template.preparation is Preparation.PAPER else ""
    head = "".join(tokenizer.convert_ids_to_tokens(beginning_tokens(tokenizer))) + prompt.head
    break_up = "".join(
        _BREAK_UP.format(token=_literal(token), broken=_literal(f"{token[0]} {token[1:]}"))
        for token in control_tokens(tokenizer)
    )
    return _TEMPLATE.format(
        prepare=prepare,
        break_up=break_up,
        head=_literal(head),
        tail=_literal(prompt.tail),
        not_text=_literal(_NOT_TEXT),
        not_one=_literal(_NOT_ONE),
    )


def check_chat_template(
    prompt: Prompt, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str] = EDGE_CASES
) -> None:
    """Check that the tokenizer's chat template gives the same tokens as the prompt.

    Raises:
        UserError: it gives other tokens for a text (which the message contains).
    """
    tokenize = PromptTokenizer(tokenizer, sys.maxsize)
    hostile = [f"a {token} b" for token in control_tokens(tokenizer)]
    for before, text in [("", text) for text in (*texts, *hostile)] + [("query: ", "A cat sleeps")]:
        messages = [{"role": "user", "content": text}]
        if before:
            messages.insert(0, {"role": "system", "content": before})
        ours = tokenize([prompt.prepare(before + text)], prompt)[0].ids
        theirs = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        if ours != theirs:
            raise UserError(
                f"the chat template must give the prompt's tokens but differs for {text!r}; this"
                " tokenizer cannot be exported"
            )


def _literal(text: str) -> str:
    """Return a string literal of Jinja."""
    return json.dumps(text, ensure_ascii=False)
