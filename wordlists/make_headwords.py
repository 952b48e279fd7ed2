"""Print headwords.tsv: words of each part of speech, in three bands of frequency, with their topics.

    python wordlists/make_headwords.py > wordlists/headwords.tsv

The frequency of a word is its count in WordNet's semantic concordance (`cntlist.rev`): how often the word
was tagged with its most frequent sense. The topic is the lexicographer file of that sense. The list
contains the most frequent words of each part of speech and band.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict

from demosearch.candidates.wordnet import open_wordnet

# WordNet's tag of each part of speech, and the number of words per band.
WANTED = {"noun": ("n", 360), "verb": ("v", 160), "adjective": ("a", 160), "adverb": ("r", 80)}
# Smallest count of a word.
BANDS = {"common": 20, "medium": 5, "rare": 1}


def main() -> None:
    """Write the list to standard output."""
    reader = open_wordnet()
    sys.stdout.write(
        "# word, part of speech, band, topic; origin and licence: wordlists/README.md\n"
    )
    for pos, (tag, number) in WANTED.items():
        words: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for word in reader.all_lemma_names(pos=tag):
            if not re.fullmatch("[a-z]{3,}", word):
                continue
            sense = reader.synsets(word, tag)[0]
            count = max(lemma.count() for lemma in sense.lemmas() if lemma.name().lower() == word)
            band = next((name for name, smallest in BANDS.items() if count >= smallest), None)
            if band is not None:
                words[band].append((count, word, sense.lexname().partition(".")[2]))
        for band in BANDS:
            most_frequent = sorted(words[band], key=lambda row: (-row[0], row[1]))[:number]
            for _, word, topic in most_frequent:
                sys.stdout.write(f"{word}\t{pos}\t{band}\t{topic}\n")


if __name__ == "__main__":
    main()
