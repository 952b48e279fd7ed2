"""Building the candidates: labeled sentences and dictionary pairs, curated, in a seeded order."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.files import read_text
from demosearch._common.progress import bar
from demosearch._common.resources import resource
from demosearch._common.tables import SUFFIXES, read_rows
from demosearch.candidates import dictionary, quality
from demosearch.candidates.chat import ChatLabeler, ChatSettings, key_is_set
from demosearch.candidates.curation import Curation, Refused, balanced, taking_turns
from demosearch.candidates.file import Candidate
from demosearch.candidates.labeling import EXAMPLES, Labeler
from demosearch.candidates.settings import (
    AUTO,
    DEFAULT_CHAT_MODEL,
    NONE,
    STARTER,
    STSB_TRAIN,
    WORDNET,
    CandidateSettings,
    LabelerKind,
)
from demosearch.datasets.sources import Split, read_pairs, stsb_folder
from demosearch.errors import UserError
from demosearch.models.options import LoadOptions

if TYPE_CHECKING:
    from demosearch.candidates.local import LocalLabeler

logger = logging.getLogger(__name__)

__all__ = ["CandidateSettings", "Generated", "generate", "resolved"]


@dataclass(frozen=True, slots=True)
class Generated:
    """What the generator built.

    Attributes:
        candidates: in the order of the search: sources take turns, the more promising ones first.
        refused: what was refused, and why.
        sources: candidates by source.
    """

    candidates: list[Candidate]
    refused: list[Refused]
    sources: dict[str, int]

    @property
    def rejected(self) -> dict[str, int]:
        """How many were refused, by reason."""
        counts = Counter(one.reason for one in self.refused)
        return {reason.value: count for reason, count in counts.most_common()}


def resolved(
    settings: CandidateSettings, data: str | None, *, hub: bool = False
) -> CandidateSettings:
    """Return the settings with every `auto` replaced by what this machine has.

    Args:
        settings: where candidates come from.
        data: folder that `stsb-train` is looked for in.
        hub: the hub is in reach, as another part of STS-B was read from there.
    """
    labeler = settings.labeler
    if labeler is LabelerKind.AUTO:
        labeler = LabelerKind.OPENAI if key_is_set() else LabelerKind.LOCAL
    sentences = settings.sentences
    if sentences == AUTO:
        sentences = STSB_TRAIN if _stsb_train_is_there(data, hub) else STARTER
    name = settings.dictionary
    if name == AUTO:
        there = settings.download or dictionary.wordnet_is_installed()
        name = WORDNET if there else STARTER
    return settings.model_copy(
        update={"labeler": labeler, "sentences": sentences, "dictionary": name}
    )


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
        settings: where they come from and how many.
        options: how a local labeler is loaded.
        model: the model that labels when the labeler is local and no other is named.
        data: folder with `stsb-train`.
        forbidden: dev and test sentences, which never become demonstrations.
        seed: decides which sentences and headwords are drawn.
        show_progress: draw a bar on standard error.
        **keywords: fields of `LoadOptions`.

    Raises:
        UserError: a source is missing or malformed, or no candidate is left.
    """
    options = LoadOptions.of(options, **keywords)

    def local(name: str) -> LocalLabeler:
        # Here, because a dictionary alone must not wait for torch.
        from demosearch.candidates.local import LocalLabeler

        return LocalLabeler(name, options)

    settings = resolved(settings, data)
    curation = _curation(settings, forbidden)
    pairs: list[Candidate] = []
    if settings.dictionary != NONE and settings.n_dictionary:
        pairs = _dictionary_pairs(settings, curation, seed)
    logger.info("candidates: %s", describe(settings, model))
    labeled: list[Candidate] = []
    labeler: Labeler | None = None
    if settings.labeler is not LabelerKind.NONE and settings.n_sentences:
        labeler = _labeler(settings, model, local)
        sentences = read_sentences(settings.sentences, data)
        ordered = balanced(sentences, _length_band(sentences, 5), seed)
        labeled = _labeled(labeler, ordered, settings.n_sentences, curation, show_progress)
    candidates = balanced([*labeled, *pairs], lambda one: one.source, seed)
    if not candidates:
        raise UserError("no candidate was built; ask for sentences or dictionary pairs")
    if settings.quality:
        candidates = _with_quality(candidates, labeler, model, local, show_progress)
    candidates = quality.promising_first(candidates)
    return Generated(candidates, curation.refused, dict(Counter(one.source for one in candidates)))


def _curation(settings: CandidateSettings, forbidden: Iterable[str]) -> Curation:
    shown_to_the_labeler = [example.sentence for example in EXAMPLES]
    offensive: list[str] = []
    if settings.offensive_words is not None:
        offensive = read_text(settings.offensive_words, "offensive words").split()
    return Curation(
        [*forbidden, *shown_to_the_labeler],
        settings.refuse_word_in_sentence,
        settings.language,
        offensive,
    )


def _with_quality(
    candidates: list[Candidate],
    labeler: Labeler | None,
    model: str | None,
    local: Callable[[str], LocalLabeler],
    show_progress: bool,
) -> list[Candidate]:
    candidates = quality.with_word_frequency(candidates)
    if model is None:
        return candidates
    from demosearch.candidates.local import LocalLabeler

    # The model under test often has just labeled, and is in memory.
    if not isinstance(labeler, LocalLabeler) or labeler.source != f"local:{model}":
        labeler = local(model)
    return quality.with_word_log_probability(
        candidates, labeler.loaded, show_progress=show_progress
    )


def describe(settings: CandidateSettings, model: str | None) -> str:
    """Return what resolved settings will do, in words."""
    parts = []
    if settings.labeler is not LabelerKind.NONE and settings.n_sentences:
        by_default = DEFAULT_CHAT_MODEL if settings.labeler is LabelerKind.OPENAI else model
        labeler = f"{settings.labeler}:{settings.labeler_model or by_default}"
        parts.append(f"{settings.n_sentences} sentences of {settings.sentences} by {labeler}")
    if settings.dictionary != NONE and settings.n_dictionary:
        parts.append(f"{settings.n_dictionary} pairs of the dictionary {settings.dictionary}")
    return ", ".join(parts) or "none"


def read_sentences(name: str, data: str | None) -> list[str]:
    """Return the distinct sentences to draw from.

    Args:
        name: `starter`, `stsb-train`, or a file: text with one a line, or CSV, TSV, JSONL, parquet
            with a column `sentence` (or `text`).
        data: folder that `stsb-train` is looked for in.

    Raises:
        UserError: it is not there, malformed, or a dev or test split.
    """
    if name == STSB_TRAIN:
        return read_pairs("stsb", Split.TRAIN, data).sentences()
    path = resource("wordlists", "starter_sentences.csv") if name == STARTER else Path(name)
    path = path.expanduser()
    if path.suffix.lower() in SUFFIXES:
        found = [_sentence_of(row, place) for place, row in read_rows(path)]
    else:
        found = read_text(path, "sentences file").splitlines()
    sentences = list(dict.fromkeys(text.strip() for text in found if text.strip()))
    if not sentences:
        raise UserError(f"sentences file {path} holds no sentence")
    return sentences


def _sentence_of(row: dict[str, object], place: str) -> str:
    for column in ("sentence", "text"):
        if isinstance(value := row.get(column), str):
            return value
    raise UserError(f"{place}: no column 'sentence'; found {', '.join(row) or 'none'}")


def _stsb_train_is_there(data: str | None, hub: bool) -> bool:
    if stsb_folder(data) is None:
        return hub
    try:
        read_pairs("stsb", Split.TRAIN, data)
    except UserError:
        return False
    return True


def _labeler(
    settings: CandidateSettings,
    model: str | None,
    local: Callable[[str], LocalLabeler],
) -> Labeler:
    if settings.labeler is LabelerKind.OPENAI:
        return ChatLabeler(
            ChatSettings(
                model=settings.labeler_model or DEFAULT_CHAT_MODEL,
                base_url=settings.base_url,
                votes=settings.votes,
                rate=settings.rate,
                max_cost=settings.max_cost,
                price=settings.price,
            )
        )
    name = settings.labeler_model or model
    if name is None:
        raise UserError("the local labeler needs a model: --model NAME")
    return local(name)


def _dictionary_pairs(
    settings: CandidateSettings, curation: Curation, seed: int
) -> list[Candidate]:
    source, entries = dictionary.read_dictionary(
        settings.dictionary, settings.headwords, download=settings.download
    )
    kept: list[Candidate] = []
    for entry in _balanced_entries(entries, seed):
        if len(kept) == settings.n_dictionary:
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
            kept.append(candidate)
    _say_if_fewer(source, len(kept), settings.n_dictionary)
    return kept


def _balanced_entries(entries: Sequence[dictionary.Entry], seed: int) -> list[dictionary.Entry]:
    """Return entries whose parts of speech take turns, inside each frequency and length do."""
    third = _length_band([entry.definition for entry in entries], 3)
    inner = balanced(entries, lambda entry: (entry.band or "", third(entry.definition)), seed)
    return taking_turns(inner, lambda entry: entry.pos)


def _labeled(
    labeler: Labeler,
    sentences: Sequence[str],
    wanted: int,
    curation: Curation,
    show_progress: bool,
) -> list[Candidate]:
    """Label sentences in their order until enough words were good."""
    drawn = iter(sentences)
    kept: list[Candidate] = []
    with bar(f"labeling ({labeler.source})", wanted, show=show_progress) as progress:
        while len(kept) < wanted:
            missing = wanted - len(kept)
            batch = _take(drawn, missing, curation, labeler.source)
            if not batch:
                break
            for sentence, label in zip(batch, labeler.label(batch, progress.advance), strict=True):
                candidate = curation.admit(
                    sentence,
                    label.answer if label else None,
                    labeler.source,
                    agreement=label.agreement if label else None,
                )
                if candidate is not None:
                    kept.append(candidate)
    _say_if_fewer(labeler.source, len(kept), wanted)
    return kept


def _length_band(sentences: Sequence[str], bands: int) -> Callable[[str], int]:
    """Return which of so many equal parts of the sentences, by number of words, a sentence is in."""
    lengths = sorted(len(text.split()) for text in sentences)
    bounds = [lengths[len(lengths) * band // bands] for band in range(1, bands)]
    return lambda text: bisect_right(bounds, len(text.split()))


def _take(drawn: Iterable[str], number: int, curation: Curation, source: str) -> list[str]:
    batch: list[str] = []
    for sentence in drawn:
        if curation.admits_sentence(sentence, source):
            batch.append(sentence)
        if len(batch) == number:
            break
    return batch


def _say_if_fewer(source: str, kept: int, wanted: int) -> None:
    if kept < wanted:
        logger.warning("%s gave %d candidates of the %d asked for", source, kept, wanted)
