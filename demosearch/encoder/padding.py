"""On which side batches of a model may be padded, in libraries that pad: sentence-transformers.

`Encoder` never pads. The folders of `export` and the training do, so that a text must have the state in a
padded batch that it has alone. The check runs on a tiny twin, as that of `route`.
"""

from __future__ import annotations

import logging

import torch
from transformers import PreTrainedModel

from demosearch._common.progress import quiet_transformers
from demosearch.encoder.layers import all_states
from demosearch.encoder.twin import POINT, switching_point, tiny_twin
from demosearch.errors import UserError

logger = logging.getLogger(__name__)

# Largest relative distance; rounding of a recurrent twin of many layers is larger than that of others.
_TOLERANCE = 1e-3
_PADDING = 5
_SHORT = (3, 9, 6)
# Several, because a layer that attends to the best keys only may choose the same ones by chance.
_LONG = (3, POINT + 3, 2 * POINT - 3, 2 * POINT + 5, 3 * POINT - 1, 3 * POINT)


def find_padding_side(model: PreTrainedModel, sides: tuple[str, ...], action: str) -> str:
    """Return the first side on which padding changes no state of a model.

    Args:
        model: the base model.
        sides: `left` and `right`, the preferred one first.
        action: what is refused otherwise, e.g. `exported`.

    Raises:
        UserError: there is no such side.
    """
    with torch.no_grad(), quiet_transformers():
        twin = tiny_twin(model)
        checked = model if twin is None else twin
        short = [side for side in sides if _is_exact(checked, _SHORT, side)]
        # The model itself is not run on long prompts, so that without a twin nothing is known of them.
        long = [] if twin is None else [side for side in short if _is_exact(twin, _LONG, side)]
    kind = model.config.model_type
    if not short:
        raise UserError(
            f"models of type '{kind}' cannot be {action}: their states depend on the padding of a batch;"
            " use Embedder.load, which does not pad"
        )
    if not long:
        point = switching_point(model.config)
        if twin is not None or point is not None:
            logger.warning(
                "in batches with prompts of more than %s tokens, models of type '%s' %s other states than"
                " alone, because they depend on the padding; Embedder.load does not pad",
                point or "some",
                kind,
                "may have" if twin is None else "have",
            )
        return short[0]
    return long[0]


def _is_exact(model: PreTrainedModel, lengths: tuple[int, ...], side: str) -> bool:
    rows = [
        [10 + (7 * seed + 13 * index + index * index) % 80 for index in range(length)]
        for seed, length in enumerate(lengths)
    ]
    width = max(lengths)
    ids = torch.full((len(rows), width), _PADDING, device=model.device)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        own = slice(width - len(row), width) if side == "left" else slice(len(row))
        ids[index, own] = torch.tensor(row, device=model.device)
        mask[index, own] = 1
    try:
        padded = all_states(model, ids, mask)
        for index, row in enumerate(rows):
            last = width - 1 if side == "left" else len(row) - 1
            alone = all_states(model, torch.tensor([row], device=model.device))
            for states, own_states in zip(padded, alone, strict=True):
                expected = own_states[0, -1].float()
                distance = (states[index, last].float() - expected).norm()
                if not distance <= _tolerance(model) * expected.norm():
                    return False
    # What does not fit the code of some type is an error of many kinds.
    except Exception:
        logger.debug("a check of padding failed", exc_info=True)
        return False
    return True


def _tolerance(model: PreTrainedModel) -> float:
    return _TOLERANCE if model.dtype == torch.float32 else 0.05
