"""What a prompt gains over the plain one on pairs that had no part in choosing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demosearch._common.files import read_json
from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError, first_error
from demosearch.metrics.metric import SPEARMAN, Metric
from demosearch.prompt import Prompt
from demosearch.selection.objective import Objective
from demosearch.selection.pair_encoder import PairEncoder, SentenceEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Gain(BaseModel):
    """Scores of the chosen prompt and of the plain one on the same pairs."""

    model_config = ConfigDict(extra="forbid")

    name: str
    pairs: int
    sha256: str
    spearman: float = Field(description="Spearman x 100")
    baseline_spearman: float = Field(description="Spearman x 100 of the plain prompt")
    score: float | None = Field(None, description="in the metric, where that is not Spearman's")
    baseline_score: float | None = Field(None, description="likewise of the plain prompt")
    gain: float = Field(description="in the metric")
    gain_ci95: tuple[float, float] = Field(description="95% interval by paired bootstrap")


class _Evaluated(BaseModel):
    """What a run's `evaluation.json` holds, as far as it is read again."""

    model_config = ConfigDict(extra="allow")

    test: Gain


def read_evaluation(path: Path) -> dict[str, Any]:
    """Return what a run's `evaluation.json` holds.

    Raises:
        UserError: it cannot be read, or is something else.
    """
    found = read_json(path, "evaluation")
    try:
        _Evaluated.model_validate(found)
    except ValidationError as error:
        raise UserError(
            f"evaluation {path}: {first_error(error)}; delete it, and the run's command scores the"
            " test pairs again"
        ) from None
    return dict(found)


def gain_on(
    pairs: Pairs,
    encoder: SentenceEncoder,
    prompts: Sequence[Prompt],
    baseline: Prompt,
    seed: int = 0,
    mean: NDArray[np.float32] | None = None,
    metric: Metric = SPEARMAN,
) -> Gain:
    """Score prompts and a baseline on pairs.

    Args:
        pairs: that had no part in choosing.
        encoder: the model.
        prompts: the chosen ones; under several the embedding is the mean of the normalised states.
        baseline: the plain prompt.
        seed: of the resampling.
        mean: subtracted from the embeddings under the chosen prompts.
        metric: what the gain is counted in.
    """
    objective = Objective(pairs, metric, seed)
    pair_encoder = PairEncoder(encoder, objective)
    ours = pair_encoder.similarities_under(prompts, mean)
    (plain,) = pair_encoder.similarities(baseline)
    score, before = (float(objective.score(each)) for each in (ours, plain))
    other = metric != SPEARMAN
    return Gain(
        name=pairs.name,
        pairs=len(pairs),
        sha256=pairs.sha256,
        spearman=float(objective.spearman(ours)),
        baseline_spearman=float(objective.spearman(plain)),
        score=score if other else None,
        baseline_score=before if other else None,
        gain=round(score - before, 6),
        gain_ci95=objective.interval(ours, plain),
    )
