"""The pool of a search: its candidates, and the configurations that they make."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from demosearch._common.files import sha256
from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Template, comparison_key
from demosearch.selection.configurations import Configuration, ConfigurationFactory

logger = logging.getLogger(__name__)


class CandidatePool:
    """Candidates and configurations in the order in which they were added.

    Attributes:
        candidates: the distinct candidates whose sentences are not in the dev or test set.
        configurations: each candidate under each template, and the other templates without candidates.
        skipped: number of candidates that were left out because they were repeated or their sentence
            is in the dev or test set.

    Args:
        factory: makes the configurations.
        templates: templates in addition to the search's own.
        dev: the development pairs.
        exclude: sentences that must not become demonstrations, in addition to those of `dev`.
    """

    def __init__(
        self,
        factory: ConfigurationFactory,
        templates: Sequence[Template],
        dev: Pairs,
        exclude: Collection[str],
    ) -> None:
        self._factory = factory
        self._templates = templates
        self._excluded = {comparison_key(text) for text in (*dev.sentences(), *exclude)}
        self._candidates: dict[str, Demonstration] = {}
        self.configurations: list[Configuration] = []
        self.skipped = 0

    @property
    def candidates(self) -> list[Demonstration]:
        """The distinct candidates, in order."""
        return list(self._candidates.values())

    @property
    def sha256(self) -> str:
        """Hash of the candidates' ids in order."""
        return sha256(self._candidates)

    def add(self, candidates: Sequence[Demonstration]) -> list[Configuration]:
        """Add candidates and return their configurations."""
        added = {
            candidate.id: Demonstration(
                sentence=candidate.sentence, word=candidate.word, source=candidate.source
            )
            for candidate in candidates
            if candidate.id not in self._candidates
            and comparison_key(candidate.sentence) not in self._excluded
        }
        if skipped := len(candidates) - len(added):
            logger.warning(
                "%d of %d candidates are skipped: repeated, or their sentence is in the dev or test"
                " set",
                skipped,
                len(candidates),
            )
            self.skipped += skipped
        self._candidates |= added
        configurations = self._factory.single(list(added.values()), self._templates)
        self.configurations += configurations
        return configurations

    def check(self) -> None:
        """Check that there are candidates to choose among.

        Raises:
            UserError: there are no candidates, or all are in the dev or test set or too long.
        """
        if not self._candidates:
            raise UserError(
                "refused because every candidate's sentence is in the dev or test set; provide other candidates"
                if self.skipped
                else "at least one candidate is required but got none"
            )
        if not any(configuration.prompt.demonstrations for configuration in self.configurations):
            raise UserError(
                f"refused because every candidate has more than {self._factory.max_extra_tokens} extra tokens; raise"
                " max_extra_tokens"
            )
        if self._factory.too_long:
            logger.info(
                "%d prompts are left out because they have more than %s extra tokens",
                len(self._factory.too_long),
                self._factory.max_extra_tokens,
            )
