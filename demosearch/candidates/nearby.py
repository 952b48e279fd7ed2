"""Candidates near those that did best in a search: same source, topic, part of speech and length."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from demosearch.candidates.curation import stems
from demosearch.candidates.dictionary import STARTER, WORDNET, Entry
from demosearch.demonstration import Demonstration
from demosearch.demonstrations_file import DemonstrationsFile, Ranked
from demosearch.prompt import prepare

T = TypeVar("T")

# So many of the best are models of what is wanted.
MODELS = 10


def models_of(file: DemonstrationsFile, known: Iterable[Demonstration] = ()) -> list[Demonstration]:
    """Return what new candidates should be like: a search's leading demonstrations, best first.

    Args:
        file: what the search wrote.
        known: its candidates. Of prompts with several demonstrations the file has the texts behind
            each other; those that are not chosen are looked up here.
    """
    by_id = {one.id: _pair(one) for one in known}
    leading = list(file.demonstrations)
    for row in file.ranking:
        names = row.id.partition("@")[0].split("+")
        if len(names) > 1:
            leading += [by_id[name] for name in names if name in by_id]
        elif row.word:
            leading.append(_pair(row))
    return list(dict.fromkeys(leading))[:MODELS]


def _pair(one: Demonstration | Ranked) -> Demonstration:
    """Return a demonstration without what else is known of it, so that equal ones are equal."""
    return Demonstration(sentence=one.sentence, word=one.word, source=one.source)


def is_of_dictionary(one: Demonstration) -> bool:
    """Whether a demonstration is a dictionary pair, and not a labeled sentence."""
    kind = one.source.partition(":")[0]
    return kind in (WORDNET, STARTER, "dictionary")


def shares(models: Sequence[Demonstration], total: int) -> tuple[int, int]:
    """Return how many labeled sentences and how many dictionary pairs to build, as the models are.

    >>> jockey = Demonstration(sentence="A jockey riding a horse.", word="Riding", source="openai:m")
    >>> gloss = Demonstration(sentence="in a lawful manner.", word="Lawfully", source="wordnet")
    >>> shares([jockey, gloss, gloss, gloss], 10)
    (2, 8)
    """
    pairs = round(total * sum(map(is_of_dictionary, models)) / len(models))
    return total - pairs, pairs


def entries_near(
    entries: Sequence[Entry], models: Sequence[Demonstration], seed: int
) -> list[Entry]:
    """Return dictionary entries, those near a model first; the models take turns.

    Near is: the same topic, the same part of speech, a definition of about the same length. What the
    models are is looked up among the entries.

    Args:
        entries: all there are.
        models: dictionary pairs.
        seed: of the order of those equally near.
    """
    known = {prepare(entry.definition).casefold(): entry for entry in entries}
    known |= {entry.word.casefold(): entry for entry in reversed(entries)}
    found = [
        known.get(one.sentence.casefold())
        or known.get(one.word.casefold())
        or Entry(one.word, one.sentence)
        for one in models
    ]

    def distance(entry: Entry, model: Entry) -> float:
        apart = (entry.topic != model.topic) + (entry.pos != model.pos)
        return apart + _lengths_apart(entry.definition, model.definition)

    return _nearest_first(entries, found, distance, seed)


def sentences_near(
    sentences: Sequence[str], models: Sequence[Demonstration], seed: int
) -> list[str]:
    """Return sentences, those near a model's first; the models take turns.

    Near is: many words in common, rare ones above all, and about the same length.

    Args:
        sentences: all there are.
        models: labeled sentences.
        seed: of the order of those equally near.
    """
    of_sentence = {text: frozenset(stems(text)) for text in sentences}
    counts = Counter(stem for each in of_sentence.values() for stem in each)
    rarity = {stem: math.log(len(sentences) / count) + 1e-9 for stem, count in counts.items()}
    wanted = {one.sentence: frozenset(stems(one.sentence)) for one in models}

    def weight(found: Iterable[str]) -> float:
        return sum(rarity.get(stem, 0.0) for stem in found)

    def distance(text: str, model: str) -> float:
        ours, theirs = of_sentence[text], wanted[model]
        common = weight(ours & theirs) / (weight(ours | theirs) or 1.0)
        return 1.0 - common + _lengths_apart(text, model)

    return _nearest_first(sentences, list(wanted), distance, seed)


def _nearest_first(
    items: Sequence[T], models: Sequence[T], distance: Callable[[T, T], float], seed: int
) -> list[T]:
    """Return the items in the order in which the models, one after the other, name their nearest."""
    chance = np.random.default_rng(seed).permutation(len(items))
    orders = [
        iter(
            sorted(
                range(len(items)),
                key=lambda place: (round(distance(items[place], model), 6), chance[place]),
            )
        )
        for model in models
    ]
    taken: dict[int, None] = {}
    while orders and len(taken) < len(items):
        for order in orders:
            place = next((place for place in order if place not in taken), None)
            if place is not None:
                taken[place] = None
    return [items[place] for place in taken]


def _lengths_apart(first: str, second: str) -> float:
    """Return how unlike two texts are in length: 1 where one has e times the words of the other."""
    return abs(math.log((len(first.split()) or 1) / (len(second.split()) or 1)))
