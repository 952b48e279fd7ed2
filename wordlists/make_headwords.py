"""Make headwords.tsv: the words of each part of speech that WordNet counts most often.

    python wordlists/make_headwords.py > wordlists/headwords.tsv

The counts are those of WordNet's semantic concordance (`cntlist.rev`): how often the word was tagged
with its commonest sense.
"""

from __future__ import annotations

import re
import sys

from demosearch.candidates.dictionary import open_wordnet

WANTED = {"noun": ("n", 400), "verb": ("v", 150), "adjective": ("a", 150), "adverb": ("r", 60)}


def main() -> None:
    """Write the list to standard output."""
    reader = open_wordnet()
    sys.stdout.write("# word<TAB>part of speech; origin and licence: wordlists/README.md\n")
    for pos, (tag, number) in WANTED.items():
        counts: dict[str, int] = {}
        for word in reader.all_lemma_names(pos=tag):
            if re.fullmatch("[a-z]{3,}", word):
                lemmas = reader.synsets(word, tag)[0].lemmas()
                counts[word] = max(one.count() for one in lemmas if one.name().lower() == word)
        for word in sorted(counts, key=lambda each: (-counts[each], each))[:number]:
            sys.stdout.write(f"{word}\t{pos}\n")


if __name__ == "__main__":
    main()
