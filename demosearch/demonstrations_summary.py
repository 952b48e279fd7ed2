"""What the uncertainty of a search's result means, in words."""

from __future__ import annotations

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.demonstrations_records import RANKING_LENGTH


def lead_in_words(file: DemonstrationsFile) -> str | None:
    """Return in words whether the best finalist is significantly better than the others.

    None if the finalists were not compared, or if the result is more than the best finalist.
    """
    if file.dev.runner_up_ci95 is None or len(file.prompts) > 1 or file.postprocess is not None:
        return None
    others, close = len(file.ranking) - 1, len(file.dev.indistinguishable)
    # Only the leading candidates of an exhaustive search are in the ranking.
    which = "next" if others == RANKING_LENGTH - 1 else "other"
    finalists = f"{which} {others} finalists" if others > 1 else f"{which} finalist"
    if not close:
        return f"significantly better than the {finalists} (95% interval)"
    if close == others:
        return f"not significantly better than the {finalists}"
    return f"not significantly better than {close} of the {finalists}"


def doubt_in_words(file: DemonstrationsFile) -> str | None:
    """Return in words that the result may not be better than the baseline.

    None if the 95% interval of the gain, corrected for the selection where possible, is above 0.
    """
    if file.dev.gain <= 0:
        return "no finalist is better than the baseline"
    # The estimate does not include the gain of centering.
    corrected = file.estimate if file.postprocess is None else None
    low, _ = corrected.ci95 if corrected else file.dev.gain_ci95
    if low <= 0:
        return "not significantly better than the baseline: the interval of the gain includes 0"
    return None
