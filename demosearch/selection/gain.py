"""The gain of chosen prompts over the baseline on pairs that were not used to choose them."""

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
    """Scores of the chosen prompts and of the baseline on the same pairs."""

    model_config = ConfigDict(extra="forbid")

    name: str
    pairs: int
    sha256: str
    spearman: float = Field(description="Spearman x 100")
    baseline_spearman: float = Field(description="Spearman x 100 of the baseline")
    score: float | None = Field(
        None, description="in the search's metric, if it is not Spearman's correlation"
    )
    baseline_score: float | None = Field(
        None, description="of the baseline, in the search's metric"
    )
    gain: float = Field(description="in the search's metric")
    gain_ci95: tuple[float, float] = Field(description="95% interval by paired bootstrap")


class _Evaluated(BaseModel):
    """The fields of a run's `evaluation.json` that are read again."""

    model_config = ConfigDict(extra="allow")

    test: Gain


def read_evaluation(path: Path) -> dict[str, Any]:
    """Return the contents of a run's `evaluation.json`.

    Raises:
        UserError: the file cannot be read or is not such a file.
    """
    contents = read_json(path, "evaluation")
    try:
        _Evaluated.model_validate(contents)
    except ValidationError as error:
        raise UserError(
            f"{first_error(error, f'evaluation {path}: ')}; delete the file and re-run the command to"
            " score the test pairs again"
        ) from None
    return dict(contents)


def gain_on(
    pairs: Pairs,
    encoder: SentenceEncoder,
    prompts: Sequence[Prompt],
    baseline: Prompt,
    seed: int = 0,
    mean: NDArray[np.float32] | None = None,
    metric: Metric = SPEARMAN,
) -> Gain:
    """Score prompts and the baseline on pairs.

    Args:
        pairs: pairs that were not used to choose the prompts.
        encoder: the model.
        prompts: the chosen prompts; the normalized embeddings under several are averaged.
        baseline: the prompt without demonstrations.
        seed: random seed of the resampling.
        mean: subtracted from the embeddings under the chosen prompts, float32 (width,).
        metric: the metric of the gain.
    """
    objective = Objective(pairs, metric, seed)
    pair_encoder = PairEncoder(encoder, objective)
    chosen = pair_encoder.ensemble_similarities(prompts, mean)
    (plain,) = pair_encoder.similarities(baseline)
    score, baseline_score = (float(objective.score(rows)) for rows in (chosen, plain))
    is_other = metric != SPEARMAN
    return Gain(
        name=pairs.name,
        pairs=len(pairs),
        sha256=pairs.sha256,
        spearman=float(objective.spearman(chosen)),
        baseline_spearman=float(objective.spearman(plain)),
        score=score if is_other else None,
        baseline_score=baseline_score if is_other else None,
        gain=round(score - baseline_score, 6),
        gain_ci95=objective.interval(chosen, plain),
    )
