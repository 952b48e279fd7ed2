"""Configurations: the prompts that take part in a search, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from demosearch.demonstration import Demonstration
from demosearch.prompt import Prompt, Template

BASELINE = "baseline"
# The text of a configuration of another template without demonstrations begins with this.
_NONE = "none"


@dataclass(frozen=True, slots=True)
class ConfigurationKey:
    """Identifies a configuration in a study.

    The baseline has no demonstrations and the search's own template.

    Attributes:
        demonstrations: ids of the candidates, in the order of the prompt.
        template: name of the template.
    """

    demonstrations: tuple[str, ...]
    template: str

    def text(self, own_template: str) -> str:
        """Return the key as tables and files show it.

        The ids are joined by `+`; the template follows after `@` unless it is the search's own.

        >>> ConfigurationKey(("12ab", "34cd"), "echo").text(own_template="prompteol")
        '12ab+34cd@echo'
        >>> ConfigurationKey((), "prompteol").text(own_template="prompteol")
        'baseline'
        """
        ids = "+".join(self.demonstrations)
        if self.template != own_template:
            return f"{ids or _NONE}@{self.template}"
        return ids or BASELINE

    @classmethod
    def parse(cls, text: str, template: str) -> ConfigurationKey:
        """Return the key that a table, or a study of an earlier version, holds as text.

        >>> ConfigurationKey.parse("none@echo", "echo")
        ConfigurationKey(demonstrations=(), template='echo')

        Args:
            text: as `text` writes it.
            template: name of the template, which tables and studies hold beside the text.
        """
        ids = text.removesuffix(f"@{template}")
        return cls(() if ids in (BASELINE, _NONE) else tuple(ids.split("+")), template)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A template with its demonstrations.

    Attributes:
        key: identifies the configuration.
        text: the key as tables and files show it.
        number: index in the order in which configurations were made.
        prompt: template and demonstrations; its layer is ignored.
        tokens: number of tokens that the prompt has in addition to the baseline.
    """

    key: ConfigurationKey
    text: str
    number: int
    prompt: Prompt
    tokens: int

    def describe(self) -> dict[str, str]:
        """Return the texts, source and template, as trial attributes and tables show them."""
        demonstrations = self.prompt.demonstrations
        sources = dict.fromkeys(demonstration.source for demonstration in demonstrations)
        return {
            "sentence": " | ".join(demonstration.sentence for demonstration in demonstrations),
            "word": " | ".join(demonstration.word for demonstration in demonstrations),
            "source": " | ".join(sources) or BASELINE,
            "template": self.prompt.template.name,
        }


class ConfigurationFactory:
    """Makes configurations, one for each prompt, and numbers them.

    Attributes:
        baseline: the prompt without demonstrations.
        max_extra_tokens: maximum number of tokens that a prompt may have in addition to the
            baseline; None means no limit.
        too_long: keys of the configurations that exceed it.

    Args:
        prompt: the baseline's prompt.
        length: returns the number of tokens of a prompt without a text.
        max_extra_tokens: as the attribute.
    """

    def __init__(
        self,
        prompt: Prompt,
        length: Callable[[Prompt], int],
        max_extra_tokens: int | None = None,
    ) -> None:
        self._own = prompt.template
        self._length = length
        self._baseline_length = length(prompt)
        self.max_extra_tokens = max_extra_tokens
        self._configurations: dict[ConfigurationKey, Configuration] = {}
        self.baseline = self._configuration(prompt)
        self.too_long: set[ConfigurationKey] = set()

    def single(
        self, candidates: Sequence[Demonstration], templates: Iterable[Template]
    ) -> list[Configuration]:
        """Return every candidate under every template, and the other templates without candidates."""
        configurations = []
        for template in dict.fromkeys((self._own, *templates)):
            if template != self._own:
                configurations.append(self._configuration(Prompt(template)))
            if template.takes_demonstrations:
                configurations += [
                    self._configuration(Prompt(template, (candidate,))) for candidate in candidates
                ]
        return self._short_enough(configurations)

    def longer(
        self, beam: Sequence[Configuration], candidates: Sequence[Configuration]
    ) -> list[Configuration]:
        """Return the beam's prompts with one more demonstration, at the front and at the end.

        Args:
            beam: the configurations to extend.
            candidates: configurations of one demonstration each, under any template.
        """
        configurations = [
            self._configuration(prompt.with_demonstrations(*order))
            for prompt in (configuration.prompt for configuration in beam)
            for (candidate,) in (
                configuration.prompt.demonstrations for configuration in candidates
            )
            if candidate not in prompt.demonstrations
            for order in (
                (candidate, *prompt.demonstrations),
                (*prompt.demonstrations, candidate),
            )
            if prompt.template.takes_demonstrations
        ]
        # Two prompts of the beam may be extended to the same prompt.
        return self._short_enough(list(dict.fromkeys(configurations)))

    def _short_enough(self, configurations: Sequence[Configuration]) -> list[Configuration]:
        limit = self.max_extra_tokens
        if limit is None:
            return list(configurations)
        self.too_long |= {
            configuration.key for configuration in configurations if configuration.tokens > limit
        }
        return [configuration for configuration in configurations if configuration.tokens <= limit]

    def _configuration(self, prompt: Prompt) -> Configuration:
        ids = tuple(demonstration.id for demonstration in prompt.demonstrations)
        key = ConfigurationKey(ids, prompt.template.name)
        if key not in self._configurations:
            self._configurations[key] = Configuration(
                key,
                key.text(self._own.name),
                len(self._configurations),
                prompt,
                self._length(prompt) - self._baseline_length,
            )
        return self._configurations[key]
