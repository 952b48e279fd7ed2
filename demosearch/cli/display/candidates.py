"""What `candidates` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from demosearch.cli.display.console import add_columns, plain_table, show, show_files, show_line

if TYPE_CHECKING:
    from demosearch.candidates import Candidate, Generated


def show_candidates(generated: Generated, path: Path) -> None:
    """Print the number of candidates by source, and of rejected pairs by reason."""
    _show_counts(generated.sources)
    _show_counts({f"rejected: {reason}": count for reason, count in generated.rejected.items()})
    show_files(path)


def show_candidates_file(candidates: Sequence[Candidate]) -> None:
    """Print candidates, and their number by source."""
    table = plain_table()
    add_columns(table, left=["word"])
    table.add_column("sentence", ratio=1)
    add_columns(table, left=["source", "in it"], right=["log p"])
    for candidate in candidates:
        probability = candidate.word_log_probability
        table.add_row(
            Text(candidate.word),
            Text(candidate.sentence),
            Text(candidate.source),
            "yes" if candidate.word_in_sentence else "",
            "" if probability is None else f"{probability:.1f}",
        )
    show(table)
    _show_counts(Counter(candidate.source for candidate in candidates))


def _show_counts(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        show_line(f"{count:6d}  {name}")
