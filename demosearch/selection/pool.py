"""The pool of a race: candidates that may take part, and the prompts that they make."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from demosearch._common.files import sha256
from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Template, prepare
from demosearch.selection.configurations import Configuration, ConfigurationFactory

logger = logging.getLogger(__name__)


class CandidatePool:
    """Candidates and prompts in the order in which they came.

    Attributes:
        candidates: the distinct ones whose sentence is none of the sets in use.
        configurations: every candidate by itself under every template, and further templates without any.
        skipped: how many candidates were left out because of their sentence, or came twice.

    Args:
        factory: makes the prompts.
        templates: besides the search's own.
        dev: the pairs that choose.
        exclude: sentences that must not be demonstrations besides those of `dev`.
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
        self._taken = {prepare(text).casefold() for text in (*dev.sentences(), *exclude)}
        self._known: dict[str, Demonstration] = {}
        self.configurations: list[Configuration] = []
        self.skipped = 0

    @property
    def candidates(self) -> list[Demonstration]:
        """The candidates."""
        return list(self._known.values())

    @property
    def sha256(self) -> str:
        """Hash of the candidates' ids in their order."""
        return sha256(self._known)

    def add(self, candidates: Sequence[Demonstration]) -> list[Configuration]:
        """Return the prompts that candidates add to the pool."""
        fresh = {
            one.id: Demonstration(sentence=one.sentence, word=one.word, source=one.source)
            for one in candidates
            if one.id not in self._known and prepare(one.sentence).casefold() not in self._taken
        }
        if skipped := len(candidates) - len(fresh):
            logger.warning(
                "%d of %d candidates are skipped: repeated, or their sentence is in the dev or test"
                " set",
                skipped,
                len(candidates),
            )
            self.skipped += skipped
        self._known |= fresh
        added = self._factory.single(list(fresh.values()), self._templates)
        self.configurations += added
        return added

    def check(self) -> None:
        """Refuse a pool without candidates.

        Raises:
            UserError: there are none, or all are sentences of the sets or too long.
        """
        if not self._known:
            raise UserError(
                "every candidate's sentence is one of the dev or test sentences"
                if self.skipped
                else "there are no candidates to choose among"
            )
        if not any(configuration.prompt.demonstrations for configuration in self.configurations):
            raise UserError(
                f"every candidate has more than {self._factory.max_extra_tokens} tokens; allow more extra tokens"
            )
        if self._factory.too_long:
            logger.info(
                "%d prompts have more than %s extra tokens",
                len(self._factory.too_long),
                self._factory.max_extra_tokens,
            )
