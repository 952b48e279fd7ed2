"""What races: prompts with a name for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """

    name: str
    number: int
    prompt: Prompt

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

    Args:
        prompt: without demonstrations: the baseline.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._own = prompt.template
        self.baseline = Entry(BASELINE, 0, prompt)
        self._made = {BASELINE: self.baseline}

    def single(
        self, candidates: Sequence[Demonstration], templates: Iterable[Template]
    ) -> list[Entry]:
        """Return every candidate under every template, and further templates without any."""
        found = []
        for template in dict.fromkeys((self._own, *templates)):
            if template != self._own:
                found.append(self._entry(Prompt(template)))
            if template.takes_demonstrations:
                found += [self._entry(Prompt(template, (one,))) for one in candidates]
        return found

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
        return list(dict.fromkeys(found))

    def _entry(self, prompt: Prompt) -> Entry:
        name = "+".join(one.id for one in prompt.demonstrations) or "none"
        if prompt.template != self._own:
            name += f"@{prompt.template.name}"
        entry = self._made.get(name) or Entry(name, len(self._made), prompt)
        self._made[name] = entry
        return entry
