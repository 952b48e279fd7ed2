"""The candidate generator: labeled sentences and dictionary pairs, curated, in a seeded order."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from demosearch._common.containers import as_texts
from demosearch._common.files import read_text
from demosearch._common.progress import bar
from demosearch._common.words import length
from demosearch.candidates import quality
from demosearch.candidates.curation import Curation, Rejection, balanced, round_robin
from demosearch.candidates.dictionary import Entry, read_dictionary
from demosearch.candidates.file import Candidate
from demosearch.candidates.labeling import EXAMPLES, Labeler
from demosearch.candidates.settings import CandidateSettings
from demosearch.candidates.sources import (
    describe,
    labels_sentences,
    language_model,
    open_labeler,
    read_sentences,
    resolved,
    uses_dictionary,
    warn_of_unused_sentences,
)
from demosearch.errors import UserError
from demosearch.models.options import LoadOptions

logger = logging.getLogger(__name__)

__all__ = ["CandidateSettings", "Generated", "NoCandidatesError", "generate"]

# Numbers of length ranges that sentences and definitions are drawn from evenly.
_SENTENCE_BANDS = 5
_DEFINITION_BANDS = 3


class NoCandidatesError(UserError):
    """No candidate was built.

    Args:
        rejections: the pairs that were rejected, with their reasons.
    """

    def __init__(self, rejections: Sequence[Rejection]) -> None:
        self.rejections = list(rejections)
        counts = [f"{reason} ({count})" for reason, count in _counted(rejections).items()]
        super().__init__(
            f"no candidate was built, because every pair was rejected: {', '.join(counts)}"
            if counts
            else "no candidate was built; ask for labeled sentences or dictionary pairs"
        )


@dataclass(frozen=True, slots=True)
class Generated:
    """The result of the generator.

    Attributes:
        candidates: the candidates in the order of the search: sources alternate, and the more
            promising candidates come first.
        rejections: the pairs that were rejected, with their reasons.
        sources: number of candidates by source.
    """

    candidates: list[Candidate]
    rejections: list[Rejection]
    sources: dict[str, int]

    @property
    def rejected(self) -> dict[str, int]:
        """Number of rejected pairs by reason."""
        return _counted(self.rejections)


def generate(
    settings: CandidateSettings,
    options: LoadOptions | None = None,
    *,
    model: str | None = None,
    data: str | None = None,
    forbidden: Iterable[str] = (),
    seed: int = 0,
    show_progress: bool = False,
    **keywords: Any,
) -> Generated:
    """Build candidates.

    Args:
        settings: the sources, the numbers of candidates and the rules of curation.
        options: how a local model is loaded.
        model: the model under test. It labels if the labeler is local and no other model is named,
            and it gives the log-probabilities of the words.
        data: folder with `stsb-train`.
        forbidden: dev and test sentences, which never become demonstrations.
        seed: random seed of the choice of sentences and headwords.
        show_progress: show a progress bar on standard error.
        **keywords: fields of `LoadOptions`.

    Raises:
        NoCandidatesError: every pair was rejected, or none was asked for.
        UserError: a source is missing or malformed.
    """
    options = LoadOptions.of(options, **keywords)
    settings = resolved(settings, data)
    warn_of_unused_sentences(settings)
    curation = _curation(settings, as_texts(forbidden, "forbidden sentences", ordered=False))
    pairs: list[Candidate] = []
    if uses_dictionary(settings):
        pairs = _dictionary_pairs(settings, curation, seed)
    logger.info("candidates: %s", describe(settings, model))
    labeled: list[Candidate] = []
    labeler: Labeler | None = None
    if labels_sentences(settings):
        labeler = open_labeler(settings, model, options)
        sentences = read_sentences(settings.sentences, data)
        ordered = balanced(sentences, _length_band(sentences, _SENTENCE_BANDS), seed)
        labeled = _labeled(labeler, ordered, settings.n_sentences, curation, show_progress)
    candidates = balanced([*labeled, *pairs], lambda candidate: candidate.source, seed)
    if not candidates:
        raise NoCandidatesError(curation.rejections)
    if settings.quality:
        candidates = quality.with_word_frequency(candidates, settings.language)
        if model is not None:
            candidates = quality.with_word_log_probability(
                candidates, language_model(labeler, model, options), show_progress=show_progress
            )
    candidates = quality.promising_first(candidates)
    sources = Counter(candidate.source for candidate in candidates)
    return Generated(candidates, curation.rejections, dict(sources))


def _counted(rejections: Iterable[Rejection]) -> dict[str, int]:
    """Return the number of rejected pairs by reason, the most frequent one first."""
    counts = Counter(rejection.reason for rejection in rejections)
    return {reason.value: count for reason, count in counts.most_common()}


def _curation(settings: CandidateSettings, forbidden: Iterable[str]) -> Curation:
    prompted = [example.sentence for example in EXAMPLES]
    offensive: list[str] = []
    if settings.offensive_words is not None:
        offensive = read_text(settings.offensive_words, "offensive words").split()
    return Curation(
        [*forbidden, *prompted], settings.refuse_word_in_sentence, settings.language, offensive
    )


def _dictionary_pairs(
    settings: CandidateSettings, curation: Curation, seed: int
) -> list[Candidate]:
    source, entries = read_dictionary(
        settings.dictionary, settings.headwords, download=settings.download
    )
    candidates: list[Candidate] = []
    for entry in _balanced_entries(entries, seed):
        if len(candidates) == settings.n_dictionary:
            break
        candidate = curation.admit(
            entry.definition,
            entry.word,
            source,
            pos=entry.pos,
            band=entry.band,
            topic=entry.topic,
        )
        if candidate is not None:
            candidates.append(candidate)
    _warn_if_fewer(source, len(candidates), settings.n_dictionary)
    return candidates


def _balanced_entries(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """Return entries in which parts of speech alternate and, in each, frequencies and lengths."""
    band = _length_band([entry.definition for entry in entries], _DEFINITION_BANDS)
    inner = balanced(entries, lambda entry: (entry.band or "", band(entry.definition)), seed)
    return round_robin(inner, lambda entry: entry.pos)


def _labeled(
    labeler: Labeler,
    sentences: Sequence[str],
    wanted: int,
    curation: Curation,
    show_progress: bool,
) -> list[Candidate]:
    """Label sentences in their order until enough pairs were admitted."""
    remaining = iter(sentences)
    candidates: list[Candidate] = []
    with bar(f"labeling ({labeler.source})", wanted, show=show_progress) as progress:
        while len(candidates) < wanted:
            batch = _take(remaining, wanted - len(candidates), curation, labeler.source)
            if not batch:
                break
            for sentence, label in zip(batch, labeler.label(batch, progress.advance), strict=True):
                candidate = curation.admit_label(sentence, label, labeler.source)
                if candidate is not None:
                    candidates.append(candidate)
    _warn_if_fewer(labeler.source, len(candidates), wanted)
    return candidates


def _take(sentences: Iterable[str], number: int, curation: Curation, source: str) -> list[str]:
    batch: list[str] = []
    for sentence in sentences:
        if curation.admits_sentence(sentence, source):
            batch.append(sentence)
        if len(batch) == number:
            break
    return batch


def _length_band(texts: Sequence[str], bands: int) -> Callable[[str], int]:
    """Return a function from a text to its range of length.

    The ranges divide the given texts, by their numbers of words, into equal parts. Texts in scripts
    without blanks, whose length is in characters, have ranges of their own.
    """
    lengths: dict[str, list[int]] = {"words": [], "characters": []}
    for number, unit in map(length, texts):
        lengths[unit].append(number)
    bounds = {
        unit: [numbers[len(numbers) * band // bands] for band in range(1, bands)]
        for unit, numbers in ((unit, sorted(numbers)) for unit, numbers in lengths.items())
        if numbers
    }

    def band_of(text: str) -> int:
        number, unit = length(text)
        return bisect_right(bounds[unit], number) + (bands if unit == "characters" else 0)

    return band_of


def _warn_if_fewer(source: str, number: int, wanted: int) -> None:
    if number < wanted:
        logger.warning("%s gave only %d of %d candidates", source, number, wanted)
