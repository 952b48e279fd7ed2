"""What races: prompts with a name for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from demosearch.demonstration import Demonstration
from demosearch.prompt import Prompt, Template

BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A prompt in a study.

    Attributes:
        name: tells it from the others for good: the ids of its demonstrations with `+` between them,
            then `@` and the template if that is not the search's own; or `baseline`.
        number: counts the configurations in the order in which they came.
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


class ConfigurationFactory:
    """Makes configurations, each prompt once, and numbers them.

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
        self.baseline = Configuration(BASELINE, 0, prompt, 0)
        self.too_long: set[str] = set()
        self._made = {BASELINE: self.baseline}

    def single(
        self, candidates: Sequence[Demonstration], templates: Iterable[Template]
    ) -> list[Configuration]:
        """Return every candidate under every template, and further templates without any."""
        found = []
        for template in self._all(templates):
            if template != self._own:
                found.append(self._configuration(Prompt(template)))
            if template.takes_demonstrations:
                found += [self._configuration(Prompt(template, (one,))) for one in candidates]
        return self._short_enough(found)

    def _all(self, templates: Iterable[Template]) -> list[Template]:
        return list(dict.fromkeys((self._own, *templates)))

    def longer(
        self, beam: Sequence[Configuration], candidates: Sequence[Configuration]
    ) -> list[Configuration]:
        """Return the beam's prompts with one more demonstration, in front and behind.

        Args:
            beam: what is extended.
            candidates: configurations of one demonstration each, under any template.
        """
        found = [
            self._configuration(prompt.with_demonstrations(*order))
            for prompt in (configuration.prompt for configuration in beam)
            for (one,) in (configuration.prompt.demonstrations for configuration in candidates)
            if one not in prompt.demonstrations
            for order in ((one, *prompt.demonstrations), (*prompt.demonstrations, one))
            if prompt.template.takes_demonstrations
        ]
        # Two of the beam may be extended to the same prompt.
        return self._short_enough(list(dict.fromkeys(found)))

    def _short_enough(self, configurations: Sequence[Configuration]) -> list[Configuration]:
        most = self.most
        if most is None:
            return list(configurations)
        self.too_long |= {
            configuration.name for configuration in configurations if configuration.tokens > most
        }
        return [configuration for configuration in configurations if configuration.tokens <= most]

    def _configuration(self, prompt: Prompt) -> Configuration:
        name = "+".join(one.id for one in prompt.demonstrations) or "none"
        if prompt.template != self._own:
            name += f"@{prompt.template.name}"
        if name not in self._made:
            tokens = self._length(prompt) - self._plain
            self._made[name] = Configuration(name, len(self._made), prompt, tokens)
        return self._made[name]
