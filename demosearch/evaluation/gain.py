"""What a prompt gains over the plain one on pairs that had no part in choosing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from demosearch.datasets.pairs import Pairs
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective, SentenceEncoder
from demosearch.selection.statistics import gain_interval, spearman

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Gain(BaseModel):
    """Scores of the chosen prompt and of the plain one on the same pairs; all x 100."""

    model_config = ConfigDict(extra="forbid")

    name: str
    pairs: int
    sha256: str
    spearman: float
    baseline_spearman: float
    gain: float
    gain_ci95: tuple[float, float] = Field(description="95% interval by paired bootstrap")


def gain_on(
    pairs: Pairs,
    encoder: SentenceEncoder,
    prompts: Sequence[Prompt],
    baseline: Prompt,
    seed: int = 0,
    mean: NDArray[np.float32] | None = None,
) -> Gain:
    """Score prompts and a baseline on pairs.

    Args:
        pairs: that had no part in choosing.
        encoder: the model.
        prompts: the chosen ones; under several the embedding is the mean of the normalised states.
        baseline: the plain prompt.
        seed: of the resampling.
        mean: subtracted from the embeddings under the chosen prompts.
    """
    objective = Objective(encoder, pairs)
    ours = objective.similarities_under(prompts, mean)
    (plain,) = objective.similarities(baseline)
    score, before = spearman(ours, pairs.scores), spearman(plain, pairs.scores)
    return Gain(
        name=pairs.name,
        pairs=len(pairs),
        sha256=pairs.sha256,
        spearman=score,
        baseline_spearman=before,
        gain=round(score - before, 6),
        gain_ci95=gain_interval(ours, plain, pairs.scores, seed),
    )
