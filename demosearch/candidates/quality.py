"""Quality scores: cheap to have before any search, and meant to tell what will serve.

How well each of them foretells a candidate's score is measured by `benchmarks/quality.py`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from demosearch._common.progress import bar
from demosearch.candidates.curation import taking_turns
from demosearch.candidates.dictionary import is_of_dictionary
from demosearch.candidates.file import Candidate
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from demosearch.models.loading import LoadedModel

BATCH = 32
# Definitions of so many words and fewer did worse than longer ones; beyond, length tells nothing.
SHORT_DEFINITION = 5


def promising_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates in the order in which a search should try them.

    Sources take turns, as none is better as a whole. Among dictionary pairs the longer definitions come
    first; among labeled sentences those whose word the model expected least, or where that is not
    known those whose word does not stand in them. What is alike in this stays in its order.
    """
    return taking_turns(sorted(candidates, key=_promise), lambda one: one.source)


def _promise(one: Candidate) -> float:
    """Return what is less for candidates of one source that are more likely to serve."""
    if is_of_dictionary(one):
        return float(len(one.sentence.split()) <= SHORT_DEFINITION)
    if one.word_log_probability is not None:
        return one.word_log_probability
    return float(bool(one.word_in_sentence))


def with_word_frequency(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with `zipf`, the base-10 logarithm of the word's count in a billion.

    Where wordfreq is not installed they come back as they are.
    """
    if importlib.util.find_spec("wordfreq") is None:
        return list(candidates)
    from wordfreq import zipf_frequency

    return [
        one.model_copy(update={"zipf": zipf_frequency(one.word, "en")}) if one.zipf is None else one
        for one in candidates
    ]


def with_word_log_probability(
    candidates: Sequence[Candidate], loaded: LoadedModel, *, show_progress: bool = False
) -> list[Candidate]:
    """Return the candidates with `word_log_probability` under a model with its head.

    It is the log-probability, in nats, of the word and the quote that closes it, after the plain
    prompt for the sentence: what the model thinks of the answer it will be shown.

    Args:
        candidates: any number.
        loaded: a model with language-model head.
        show_progress: draw a bar on standard error.
    """
    scores: list[float] = []
    with bar("quality", len(candidates), show=show_progress) as progress:
        for start in range(0, len(candidates), BATCH):
            batch = candidates[start : start + BATCH]
            scores += _log_probabilities(batch, loaded)
            progress.advance(len(batch))
    return [
        one.model_copy(update={"word_log_probability": round(score, 4)})
        for one, score in zip(candidates, scores, strict=True)
    ]


def _log_probabilities(candidates: Sequence[Candidate], loaded: LoadedModel) -> list[float]:
    import torch

    tokenizer, model = loaded.tokenizer, loaded.model
    asked, answered = [], []
    for one in candidates:
        question = Prompt().render(one.sentence)
        # The word's tokens as they follow the question, which may merge with it in no tokenizer
        # known: the question ends with the opening quote.
        whole = tokenizer(f'{question}{one.word}"')["input_ids"]
        before = tokenizer(question)["input_ids"]
        common = 0
        while common < len(before) and before[common] == whole[common]:
            common += 1
        asked.append(whole)
        answered.append(len(whole) - common)
    longest = max(map(len, asked))
    # Padding behind is never looked at by what stands before it.
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in asked])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in asked])
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
        ).logits
    found = []
    for row, tokens, count in zip(logits, asked, answered, strict=True):
        end = len(tokens)
        targets = torch.tensor(tokens[end - count : end], device=row.device)
        steps = row[end - count - 1 : end - 1].float().log_softmax(-1)
        found.append(float(steps.gather(1, targets[:, None]).sum()))
    return found
