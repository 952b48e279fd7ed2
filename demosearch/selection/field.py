"""The field of a race: candidates that may take part, and the prompts that they make."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from demosearch._common.files import sha256
from demosearch.datasets.pairs import Pairs
from demosearch.demonstration import Demonstration
from demosearch.errors import UserError
from demosearch.prompt import Template, prepare
from demosearch.selection.entries import Entries, Entry

logger = logging.getLogger(__name__)


class Field:
    """Candidates and prompts in the order in which they came.

    Attributes:
        candidates: the distinct ones whose sentence is none of the sets in use.
        entries: every candidate by itself under every template, and further templates without any.
        skipped: how many candidates were left out because of their sentence, or came twice.

    Args:
        makes: makes the prompts.
        templates: besides the search's own.
        dev: the pairs that choose.
        exclude: sentences that must not be demonstrations besides those of `dev`.
    """

    def __init__(
        self,
        makes: Entries,
        templates: Sequence[Template],
        dev: Pairs,
        exclude: Collection[str],
    ) -> None:
        self._makes = makes
        self._templates = templates
        self._taken = {prepare(text).casefold() for text in (*dev.sentences(), *exclude)}
        self._known: dict[str, Demonstration] = {}
        self.entries: list[Entry] = []
        self.skipped = 0

    @property
    def candidates(self) -> list[Demonstration]:
        """The candidates."""
        return list(self._known.values())

    @property
    def wordings(self) -> int:
        """Under how many templates a candidate is tried."""
        return self._makes.wordings(self._templates)

    @property
    def sha256(self) -> str:
        """Hash of the candidates' ids in their order."""
        return sha256(self._known)

    def enter(self, candidates: Sequence[Demonstration]) -> list[Entry]:
        """Return the prompts that candidates add to the field."""
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
        made = self._makes.single(list(fresh.values()), self._templates)
        # Templates by themselves come with every call.
        names = {entry.name for entry in self.entries}
        added = [entry for entry in made if entry.name not in names]
        self.entries += added
        return added

    def check(self) -> None:
        """Refuse a field without candidates.

        Raises:
            UserError: there are none, or all are sentences of the sets or too long.
        """
        if not self._known:
            raise UserError(
                "every candidate's sentence is one of the dev or test sentences"
                if self.skipped
                else "there are no candidates to choose among"
            )
        if not any(entry.prompt.demonstrations for entry in self.entries):
            raise UserError(
                f"every candidate has more than {self._makes.most} tokens; allow more extra tokens"
            )
        if self._makes.too_long:
            logger.info(
                "%d prompts have more than %s extra tokens",
                len(self._makes.too_long),
                self._makes.most,
            )
