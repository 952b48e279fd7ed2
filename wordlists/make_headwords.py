"""Make headwords.tsv: words of each part of speech, in three bands of frequency, with their topic.

    python wordlists/make_headwords.py > wordlists/headwords.tsv

Frequency is the count of WordNet's semantic concordance (`cntlist.rev`): how often the word was tagged
with its commonest sense. The topic is the lexicographer file that sense is in. Of each part of speech
and band the most frequent words are taken.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict

from demosearch.candidates.wordnet import open_wordnet

# Words a band, by part of speech.
WANTED = {"noun": ("n", 360), "verb": ("v", 160), "adjective": ("a", 160), "adverb": ("r", 80)}
# Fewest times a word was counted.
BANDS = {"common": 20, "medium": 5, "rare": 1}


def main() -> None:
    """Write the list to standard output."""
    reader = open_wordnet()
    sys.stdout.write(
        "# word, part of speech, band, topic; origin and licence: wordlists/README.md\n"
    )
    for pos, (tag, number) in WANTED.items():
        found: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for word in reader.all_lemma_names(pos=tag):
            if not re.fullmatch("[a-z]{3,}", word):
                continue
            sense = reader.synsets(word, tag)[0]
            count = max(one.count() for one in sense.lemmas() if one.name().lower() == word)
            band = next((name for name, fewest in BANDS.items() if count >= fewest), None)
            if band is not None:
                found[band].append((count, word, sense.lexname().partition(".")[2]))
        for band in BANDS:
            for _, word, topic in sorted(found[band], key=lambda each: (-each[0], each[1]))[
                :number
            ]:
                sys.stdout.write(f"{word}\t{pos}\t{band}\t{topic}\n")


if __name__ == "__main__":
    main()
