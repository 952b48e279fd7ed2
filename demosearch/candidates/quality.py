"""Quality scores: features of a candidate that are cheap to compute before any search.

`benchmarks/quality.py` measures how well each of them predicts a candidate's score.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from demosearch._common.progress import bar
from demosearch._common.scripts import script_counts
from demosearch._common.words import length
from demosearch.candidates.curation import round_robin
from demosearch.candidates.dictionary import is_dictionary_pair
from demosearch.candidates.file import Candidate
from demosearch.encoder.tokens import prompt_ids
from demosearch.errors import NotFiniteError
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from demosearch.models.loading import LoadedModel

logger = logging.getLogger(__name__)

BATCH = 32
# English definitions of at most this many words scored lower than longer ones; above, length had no effect.
SHORT_DEFINITION = 5
# About as long in a script without blanks between words, in letters and digits.
SHORT_DEFINITION_CHARACTERS = 10


def promising_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates in the order in which a search should score them.

    Sources alternate, because no source is better than the others. Of dictionary pairs the longer
    definitions come first. Of labeled sentences those come first whose word is least probable under
    the model or, if the probability is unknown, those whose word does not occur in the sentence.
    Ties keep their order.
    """
    return round_robin(sorted(candidates, key=_sort_key), lambda candidate: candidate.source)


def _sort_key(candidate: Candidate) -> float:
    """Return a number that is lower for the more promising candidates of a source."""
    if is_dictionary_pair(candidate):
        number, unit = length(candidate.sentence)
        short = SHORT_DEFINITION if unit == "words" else SHORT_DEFINITION_CHARACTERS
        return float(number <= short)
    if candidate.word_log_probability is not None:
        return candidate.word_log_probability
    return float(bool(candidate.word_in_sentence))


def with_word_frequency(
    candidates: Sequence[Candidate], language: str | None = None
) -> list[Candidate]:
    """Return the candidates with `zipf`, the base-10 logarithm of the word's count in a billion.

    Candidates that have it keep it. They are returned unchanged if wordfreq is not installed, or has no
    list of the language or no tokenizer for it.

    Args:
        candidates: the candidates.
        language: ISO 639-1 code; None means English for words in Latin letters, and no frequency for
            others.
    """
    if importlib.util.find_spec("wordfreq") is None:
        return list(candidates)
    return [
        candidate
        if candidate.zipf is not None
        else candidate.model_copy(update={"zipf": _zipf(candidate.word, language)})
        for candidate in candidates
    ]


def _zipf(word: str, language: str | None) -> float | None:
    from wordfreq import available_languages, zipf_frequency

    if language is None and script_counts(word).keys() - {"Latin"}:
        return None
    if (language or "en") not in available_languages():
        return None
    try:
        return float(zipf_frequency(word, language or "en"))
    except ModuleNotFoundError as error:
        # Chinese, Japanese and Korean require a tokenizer.
        logger.debug("no frequencies of words in '%s': %s", language, error)
        return None


def with_word_log_probability(
    candidates: Sequence[Candidate], loaded: LoadedModel, *, show_progress: bool = False
) -> list[Candidate]:
    """Return the candidates with `word_log_probability` under a model.

    This is the log-probability, in nats, of the word and the closing quote, after the prompt
    without demonstrations for the sentence.

    Args:
        candidates: the candidates.
        loaded: a model with its language-model head.
        show_progress: show a progress bar on standard error.

    Raises:
        NotFiniteError: a log-probability is not finite; names the candidate.
    """
    scores: list[float] = []
    with bar("quality scores", len(candidates), show=show_progress) as progress:
        for start in range(0, len(candidates), BATCH):
            batch = candidates[start : start + BATCH]
            new = _log_probabilities(batch, loaded)
            for candidate, score in zip(batch, new, strict=True):
                if not math.isfinite(score):
                    what = f"the probability of '{candidate.word}' as the word"
                    precision = loaded.record.precision
                    raise NotFiniteError(candidate.sentence, "the last layer", precision, what=what)
            scores += new
            progress.advance(len(batch))
    return [
        candidate.model_copy(update={"word_log_probability": round(score, 4)})
        for candidate, score in zip(candidates, scores, strict=True)
    ]


def _log_probabilities(candidates: Sequence[Candidate], loaded: LoadedModel) -> list[float]:
    import torch

    model = loaded.model
    tokens, counts = zip(*(_tokens(candidate, loaded) for candidate in candidates), strict=True)
    longest = max(map(len, tokens))
    # Attention is causal, so padding on the right does not change the states before it.
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in tokens])
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
        ).logits
    scores = []
    for row, row_tokens, count in zip(logits, tokens, counts, strict=True):
        end = len(row_tokens)
        targets = torch.tensor(row_tokens[end - count :], device=row.device)
        steps = row[end - count - 1 : end - 1].float().log_softmax(-1)
        scores.append(float(steps.gather(1, targets[:, None]).sum()))
    return scores


def _tokens(candidate: Candidate, loaded: LoadedModel) -> tuple[list[int], int]:
    """Return the tokens of the prompt with its answer, and how many of them are the answer."""
    prompt = Prompt().render(candidate.sentence)
    # A tokenizer may merge the answer with the end of the prompt, so the common prefix counts.
    whole, before = prompt_ids(loaded.tokenizer, [f'{prompt}{candidate.word}"', prompt])
    common = 0
    while common < len(before) and before[common] == whole[common]:
        common += 1
    return whole, len(whole) - common
