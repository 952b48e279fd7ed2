"""The form of a request: options and roles that some servers refuse are left out."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

# Statuses with which servers refuse an option or a role. Some end in an internal error.
REFUSALS = (400, 406, 415, 422, 500, 501)
RESPONSE_FORMAT = "response_format"
# How a message names the response format, or the role of the instruction.
_FORMAT_NAMES = ("response_format", "json_schema", "guided decoding", "structured output")
_ROLE = re.compile(r"\b(?:system (?:role|message|prompt)|roles?|developer)\b", re.IGNORECASE)
# Questions with which simpler forms are tried. If the server refuses all forms of them, it refuses the
# questions for another reason.
_TRIALS = 3

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Form:
    """How a question is sent.

    Attributes:
        options: names of the optional parameters that are sent.
        system: whether the instruction is a message of the role `system`; otherwise it is the beginning of
            the first message of the user.
    """

    options: frozenset[str]
    system: bool = True

    def body(self, messages: Messages, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the messages and the options of a request."""
        if not self.system and len(messages) > 1 and messages[0]["role"] == "system":
            instruction, first, *others = messages
            content = f"{instruction['content']}\n\n{first['content']}"
            messages = [{**first, "content": content}, *others]
        return {"messages": messages} | {
            name: value for name, value in options.items() if name in self.options
        }

    def without(self, names: Collection[str]) -> Form:
        """Return the form without some options."""
        return replace(self, options=self.options.difference(names))

    def simpler(self) -> list[Form]:
        """Return the forms that a server may accept that refuses this one."""
        plain = replace(self, system=False)
        formless = self.without([RESPONSE_FORMAT])
        forms = [
            formless,
            plain,
            replace(formless, system=False),
            replace(plain, options=frozenset()),
        ]
        return [form for form in dict.fromkeys(forms) if form != self]

    def refused_part(self, message: str) -> Form | None:
        """Return the form without what the message of an error names; None if it names nothing."""
        text = message.lower()
        names = {name for name in self.options if name.lower() in text}
        if RESPONSE_FORMAT in self.options and any(name in text for name in _FORMAT_NAMES):
            names.add(RESPONSE_FORMAT)
        if names:
            return self.without(names)
        return replace(self, system=False) if self.system and _ROLE.search(text) else None

    def difference(self, other: Form) -> str:
        """Return what another form leaves out, in words."""
        parts = [f"'{name}'" for name in sorted(self.options - other.options)]
        if self.system and not other.system:
            parts.append("the role 'system'")
        return " and ".join(parts)


class Forms:
    """The form that a server accepts, found by its answers. Several threads may use it at once.

    Attributes:
        current: the form of the next request.
        proven: whether the server has answered a request of this form.
    """

    def __init__(self, options: Collection[str]) -> None:
        self.current = Form(frozenset(options))
        self.proven = False
        self._trials = _TRIALS
        self._lock = threading.Lock()

    def accept(self, form: Form) -> str:
        """Use a form that the server answered from now on.

        Returns:
            What it leaves out for the first time, in words; empty if nothing.
        """
        with self._lock:
            if self.proven:
                return ""
            self.proven = True
            left_out = self.current.difference(form)
            self.current = form
            return left_out

    def may_try(self) -> bool:
        """Whether simpler forms may be tried with a question that the server refused."""
        with self._lock:
            self._trials -= 1
            return not self.proven and self._trials >= 0


class Plan:
    """The forms in which one question is sent, one after another.

    Args:
        forms: the form that the server accepts, as far as it is known.
    """

    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self.form = forms.current
        self._others: list[Form] | None = None
        self._first = self.form

    def names_part(self, message: str) -> bool:
        """Whether the message of an error names a part of the request."""
        return self.form.refused_part(message) is not None

    def refused(self, status: int, message: str, attempts: int) -> bool:
        """Choose the form of the next attempt after an error.

        Args:
            status: the status of the error.
            message: the message of the server.
            attempts: number of attempts so far.

        Returns:
            Whether the next attempt has another form.
        """
        named = status == 404 and self.names_part(message)
        # An error body that came with status 200 has no status of its own.
        if status not in (*REFUSALS, 200) and not named:
            return False
        if self._forms.proven:
            # The question was sent before another thread learned the form.
            changed = self.form != self._forms.current
            self.form = self._forms.current
            return changed
        if (form := self.form.refused_part(message)) is not None:
            self.form = form
            self._others = None
            return True
        if status >= 500 and attempts < 2 and self._others is None:
            # It is more often a temporary failure than a refused option.
            return False
        if self._others is None:
            self._first = self.form
            self._others = self.form.simpler() if self._forms.may_try() else []
        if self._others:
            self.form = self._others.pop(0)
            return True
        self.form = self._first
        return False
