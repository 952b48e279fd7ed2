"""The sources of labeled sentences: where sentences come from, and the labeler."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from demosearch._common.extras import missing_extra
from demosearch._common.files import read_text
from demosearch._common.lines import split_lines
from demosearch._common.resources import resource
from demosearch._common.tables import SUFFIXES, read_rows
from demosearch.candidates import wordnet
from demosearch.candidates.labeling import Labeler
from demosearch.candidates.settings import (
    AUTO,
    DEFAULT_CHAT_MODEL,
    NONE,
    STARTER,
    STSB_TRAIN,
    WORDNET,
    CandidateSettings,
    LabelerKind,
    key_is_set,
)
from demosearch.datasets.sources import Split, read_pairs, stsb_folder
from demosearch.errors import UserError
from demosearch.models.options import LoadOptions

if TYPE_CHECKING:
    from demosearch.models.loading import LoadedModel

logger = logging.getLogger(__name__)


def resolved(
    settings: CandidateSettings, data: str | None, *, hub: bool = False
) -> CandidateSettings:
    """Return the settings with every `auto` replaced by what is available on this machine.

    Args:
        settings: the options of the generator.
        data: folder that may contain `stsb-train`.
        hub: whether the hub is available, because another split of STS-B was read from it.
    """
    labeler, sentences, dictionary = settings.labeler, settings.sentences, settings.dictionary
    if labeler is LabelerKind.AUTO:
        labeler = LabelerKind.OPENAI if key_is_set() else LabelerKind.LOCAL
    if sentences == AUTO:
        sentences = STSB_TRAIN if _has_stsb_train(data, hub=hub) else STARTER
    if dictionary == AUTO:
        available = settings.download or wordnet.wordnet_is_installed()
        dictionary = WORDNET if available else STARTER
    return settings.model_copy(
        update={"labeler": labeler, "sentences": sentences, "dictionary": dictionary}
    )


def describe(settings: CandidateSettings, model: str | None) -> str:
    """Return in words what the generator builds with resolved settings."""
    parts = []
    if labels_sentences(settings):
        default = DEFAULT_CHAT_MODEL if settings.labeler is LabelerKind.OPENAI else model
        name = settings.labeler_model or default
        labeler = f"{settings.labeler}:{name}" if name else settings.labeler
        parts.append(
            f"{settings.n_sentences} sentences from {settings.sentences}, labeled by {labeler}"
        )
    if uses_dictionary(settings):
        parts.append(f"{settings.n_dictionary} pairs from the dictionary {settings.dictionary}")
    return "; ".join(parts) or "none"


def labels_sentences(settings: CandidateSettings) -> bool:
    """Whether the settings ask for labeled sentences."""
    return settings.labeler is not LabelerKind.NONE and settings.n_sentences > 0


def warn_of_unused_sentences(settings: CandidateSettings) -> None:
    """Log a warning if a file of sentences is given but nothing labels them."""
    named = (AUTO, NONE, STARTER, STSB_TRAIN)
    if settings.labeler is LabelerKind.NONE and settings.sentences not in named:
        logger.warning(
            "the sentences of %s are not used, because the labeler is none; choose a labeler to use them",
            settings.sentences,
        )


def uses_dictionary(settings: CandidateSettings) -> bool:
    """Whether the settings ask for dictionary pairs."""
    return settings.dictionary != NONE and settings.n_dictionary > 0


def read_sentences(name: str, data: str | None) -> list[str]:
    """Return the distinct sentences of a source.

    Args:
        name: `starter`, `stsb-train`, or a file: a text file with one sentence per line, or CSV,
            TSV, JSONL or parquet with a column `sentence` (or `text`).
        data: folder that contains `stsb-train`.

    Raises:
        UserError: the source is missing or malformed, or it is a dev or test split.
    """
    if name == STSB_TRAIN:
        return read_pairs("stsb", Split.TRAIN, data).sentences()
    path = resource("wordlists", "starter_sentences.csv") if name == STARTER else Path(name)
    path = path.expanduser()
    if path.suffix.lower() in SUFFIXES:
        texts = [_sentence_of(row, location) for location, row in read_rows(path)]
    else:
        texts = split_lines(read_text(path, "sentences file"))
    sentences = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not sentences:
        raise UserError(f"sentences file {path} contains no sentences")
    return sentences


def open_labeler(settings: CandidateSettings, model: str | None, options: LoadOptions) -> Labeler:
    """Return the labeler that resolved settings name.

    Args:
        settings: the options of the generator.
        model: the model that labels if the labeler is local and `labeler_model` is not set.
        options: how a local model is loaded.

    Raises:
        UserError: the openai package or a key is missing, or no local model is named.
    """
    if settings.labeler is LabelerKind.OPENAI:
        return _chat_labeler(settings)
    name = settings.labeler_model or model
    if name is None:
        raise UserError("the local labeler requires a model; add --model NAME")
    # Imported here because it imports torch, which a dictionary does not require.
    from demosearch.candidates.local import LocalLabeler

    return LocalLabeler(name, options)


def language_model(labeler: Labeler | None, model: str, options: LoadOptions) -> LoadedModel:
    """Return a model with its language-model head: the labeler's if it is the same model.

    Args:
        labeler: the labeler that was used; its model is in memory.
        model: name, hub id, folder or GGUF file.
        options: how the model is loaded.
    """
    # Imported here because it imports torch, which a dictionary does not require.
    from demosearch.candidates.local import LocalLabeler

    if isinstance(labeler, LocalLabeler) and labeler.model == model:
        return labeler.loaded
    return LocalLabeler(model, options).loaded


def _chat_labeler(settings: CandidateSettings) -> Labeler:
    try:
        # Imported here because it imports the openai package, which is an extra.
        from demosearch.candidates.chat import ChatLabeler, ChatSettings
    except ModuleNotFoundError:
        raise missing_extra("the openai labeler", "openai") from None
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


def _sentence_of(row: dict[str, object], location: str) -> str:
    for column in ("sentence", "text"):
        if isinstance(value := row.get(column), str):
            return value
    raise UserError(
        f"{location}: the column 'sentence' is missing; the columns are {', '.join(row) or 'none'}"
    )


def _has_stsb_train(data: str | None, *, hub: bool) -> bool:
    if stsb_folder(data) is None:
        return hub
    try:
        read_pairs("stsb", Split.TRAIN, data)
    except UserError:
        return False
    return True
