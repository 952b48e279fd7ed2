"""What races: prompts with a name for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from demosearch.demonstration import Demonstration
from demosearch.prompt import Prompt, Template

BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt in a study.

    Attributes:
        name: tells it from the others for good: the ids of its demonstrations with `+` between them,
            then `@` and the template if that is not the search's own; or `baseline`.
        number: counts the entries in the order in which they came.
        prompt: template and demonstrations; its layer is not looked at.
        tokens: that the prompt has more than the plain one.
    """

    name: str
    number: int
    prompt: Prompt
    tokens: int

    def describe(self) -> dict[str, str]:
        """Return its texts, source and template, as attributes and tables show them."""
        found = self.prompt.demonstrations
        sources = dict.fromkeys(one.source for one in found)
        return {
            "sentence": " | ".join(one.sentence for one in found),
            "word": " | ".join(one.word for one in found),
            "source": " | ".join(sources) or BASELINE,
            "template": self.prompt.template.name,
        }


class Entries:
    """Makes entries, each prompt once, and numbers them.

    Attributes:
        baseline: the prompt without demonstrations.
        most: tokens that a prompt may have more than the baseline.
        too_long: names of those that have more.

    Args:
        prompt: without demonstrations: the baseline.
        length: returns how many tokens a prompt has without a text.
        most: tokens that a prompt may have more than the baseline; None is no limit.
    """

    def __init__(
        self, prompt: Prompt, length: Callable[[Prompt], int], most: int | None = None
    ) -> None:
        self._own = prompt.template
        self._length = length
        self._plain = length(prompt)
        self.most = most
        self.baseline = Entry(BASELINE, 0, prompt, 0)
        self.too_long: set[str] = set()
        self._made = {BASELINE: self.baseline}

    def single(
        self, candidates: Sequence[Demonstration], templates: Iterable[Template]
    ) -> list[Entry]:
        """Return every candidate under every template, and further templates without any."""
        found = []
        for template in self._all(templates):
            if template != self._own:
                found.append(self._entry(Prompt(template)))
            if template.takes_demonstrations:
                found += [self._entry(Prompt(template, (one,))) for one in candidates]
        return self._short_enough(found)

    def wordings(self, templates: Iterable[Template]) -> int:
        """Return under how many templates a candidate is tried."""
        return sum(template.takes_demonstrations for template in self._all(templates))

    def _all(self, templates: Iterable[Template]) -> list[Template]:
        return list(dict.fromkeys((self._own, *templates)))

    def longer(self, beam: Sequence[Entry], candidates: Sequence[Entry]) -> list[Entry]:
        """Return the beam's prompts with one more demonstration, in front and behind.

        Args:
            beam: what is extended.
            candidates: entries of one demonstration each, under any template.
        """
        found = [
            self._entry(prompt.with_demonstrations(*order))
            for prompt in (entry.prompt for entry in beam)
            for (one,) in (entry.prompt.demonstrations for entry in candidates)
            if one not in prompt.demonstrations
            for order in ((one, *prompt.demonstrations), (*prompt.demonstrations, one))
            if prompt.template.takes_demonstrations
        ]
        # Two of the beam may be extended to the same prompt.
        return self._short_enough(list(dict.fromkeys(found)))

    def _short_enough(self, entries: Sequence[Entry]) -> list[Entry]:
        most = self.most
        if most is None:
            return list(entries)
        self.too_long |= {entry.name for entry in entries if entry.tokens > most}
        return [entry for entry in entries if entry.tokens <= most]

    def _entry(self, prompt: Prompt) -> Entry:
        name = "+".join(one.id for one in prompt.demonstrations) or "none"
        if prompt.template != self._own:
            name += f"@{prompt.template.name}"
        if name not in self._made:
            tokens = self._length(prompt) - self._plain
            self._made[name] = Entry(name, len(self._made), prompt, tokens)
        return self._made[name]
