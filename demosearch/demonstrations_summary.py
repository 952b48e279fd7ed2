"""What the uncertainty of a search's result means, in words."""

from __future__ import annotations

from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.demonstrations_records import RANKING_LENGTH, StepRecord


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


def step_in_words(step: StepRecord) -> str:
    """Return in a few words what a step of a search chose.

    >>> step_in_words(
    ...     StepRecord(
    ...         part="demonstrations", layer=26, prompts=1, demonstrations=2, spearman=80, gain=4,
    ...         gain_ci95=(3, 5),
    ...     )
    ... )
    '2 demonstrations, layer 26'
    """
    layer = "" if step.layer is None else f", layer {step.layer}"
    count = step.demonstrations
    words = f"{count} demonstration{'' if count == 1 else 's'}" if count else "no demonstration"
    match step.part:
        case "layer":
            return f"layer {step.layer}, without demonstrations"
        case "template":
            return f"template {step.template}{layer}, without demonstrations"
        case "averaging":
            return f"mean of {step.prompts} prompts"
        case "postprocess":
            # The prompt may be another one than that of the step before.
            return f"{step.postprocess}, {words}{layer}"
    if step.part is None:
        # Files of version 0.1.
        prompts = f"{step.prompts} prompt{'' if step.prompts == 1 else 's'}, "
        return f"{prompts}{words}{', centered' if step.centered else ''}"
    return f"{words}{layer}"


def doubt_in_words(file: DemonstrationsFile) -> str | None:
    """Return in words that the demonstrations may not help.

    None if the 95% interval of what they gain, corrected for the selection where possible, is above 0.
    """
    if not file.demonstrations:
        return "the prompt without demonstrations is best; the file holds it"
    if file.dev.gain <= 0:
        return "no finalist is better than the baseline"
    estimate = file.estimate
    if estimate and estimate.demonstrations_ci95:
        if estimate.demonstrations_ci95[0] <= 0:
            return (
                "the demonstrations are not significantly better than the best prompt without them:"
                " the interval of their corrected gain includes 0"
            )
        return None
    which = "corrected gain" if estimate else "gain"
    low, _ = estimate.ci95 if estimate else file.dev.gain_ci95
    if low <= 0:
        return f"not significantly better than the baseline: the interval of the {which} includes 0"
    return None
