"""Choosing, when a model is loaded, how prompts go through it: packed, packed up to a length, or plain.

transformers knows some two hundred types of decoders, and a type may do something that packing does not
reproduce: mix tokens outside the attention interface, express windows in a mask alone, or compute with
the length of the row. So the results are compared with a plain forward pass of one prompt at a time, on
a tiny twin of the model with prompts that cross all of its windows and switching points. The model
itself is then compared with a few tokens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from transformers import PreTrainedModel

from demosearch._common.progress import quiet_transformers
from demosearch.encoder.attention import NAME, Packing, run_packed, use_attention
from demosearch.encoder.batching import batches
from demosearch.encoder.forward import UNLIMITED, Forward
from demosearch.encoder.tokens import Tokens
from demosearch.encoder.twin import CONTEXT, POINT, switching_point, tiny_twin
from demosearch.errors import UserError, one_line

logger = logging.getLogger(__name__)

# Largest relative distance between two states of one prompt. In 16 bits rounding stays below the second.
TOLERANCE = 1e-5
TOLERANCE_OF_ROUNDING = 0.05
# Numbers of tokens: of a prefix, of what follows it, and of prompts without prefix.
_Lengths = tuple[int, tuple[int, ...], tuple[int, ...]]
_LONG: _Lengths = (POINT + 4, (1, POINT - 3, 2 * POINT - 2), (3, POINT + 1, 3 * POINT - 1))
_SHORT: _Lengths = (3, (1, 4), (2, 5))
# Of models that the checks do not fit.
ERRORS = (ValueError, TypeError, AttributeError, LookupError, RuntimeError)


class Packs(Enum):
    """Which prompts of a model packing computes exactly."""

    ALL = "all"
    SHORT = "up to the first window, chunk or switching point"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the models of one type and setting are encoded.

    Attributes:
        packs: which prompts are packed.
        hooks: whether hooks read `hidden_states`.
        refusal: why such models are refused; None if they are not.
    """

    packs: Packs = Packs.NONE
    hooks: bool = True
    refusal: str | None = None


_verdicts: dict[str, Verdict] = {}


def find_forward(model: PreTrainedModel) -> Forward:
    """Return how prompts go through a base model.

    Raises:
        UserError: the states of the model cannot be computed exactly; the message names its type.
    """
    kind = model.config.model_type
    implementation = model.config._attn_implementation
    with torch.inference_mode(), quiet_transformers():
        verdict = _verdict(model)
        if verdict.refusal:
            raise UserError(f"models of type '{kind}' are not supported: {verdict.refusal}")
        longest = 0
        if verdict.packs is not Packs.NONE and _packs_short_prompts(model):
            point = switching_point(model.config)
            longest = UNLIMITED if verdict.packs is Packs.ALL or point is None else point
    if longest == 0:
        logger.info("models of type '%s' are encoded without packing and prefix cache", kind)
    elif longest < UNLIMITED:
        logger.info(
            "models of type '%s': prompts of more than %d tokens are encoded without packing and"
            " prefix cache",
            kind,
            longest,
        )
    return Forward(model, implementation, longest, verdict.hooks)


def _verdict(model: PreTrainedModel) -> Verdict:
    if model.config.is_encoder_decoder:
        return Verdict(refusal="they have an encoder and a decoder")
    twin = tiny_twin(model)
    if twin is None:
        # Nothing is known of long rows, so nothing is packed.
        return _plain_verdict(model, TOLERANCE_OF_ROUNDING)
    key = f"{type(twin)} {twin.config._attn_implementation} {_settings(twin)}"
    if key not in _verdicts:
        verdict = _plain_verdict(twin, TOLERANCE)
        packs = not verdict.refusal and verdict.hooks
        _verdicts[key] = replace(verdict, packs=_packs(twin)) if packs else verdict
    return _verdicts[key]


def _settings(twin: PreTrainedModel) -> str:
    return json.dumps(twin.config.to_dict(), sort_keys=True, default=str)


def _plain_verdict(model: PreTrainedModel, tolerance: float) -> Verdict:
    """Return whether plain prompts have the states that transformers computes for each one alone."""
    forward = Forward(model, model.config._attn_implementation, longest_packed=0)
    rows = [_ids(length, seed) for seed, length in enumerate((6, POINT + 3, 6, 2))]
    try:
        truth = [_alone(model, row) for row in rows]
        if not all(states.isfinite().all() for layers in truth for states in layers):
            return Verdict(refusal="their states are not finite")
        third = [states[2] for states in _states(model, rows[0])]
        if not _all_near(third, _alone(model, rows[0][:3]), tolerance):
            return Verdict(refusal="their states depend on the tokens that follow")
        for hooks in (True, False):
            if _equal(replace(forward, hooks=hooks), rows, truth, tolerance):
                return Verdict(hooks=hooks)
    except ERRORS as error:
        return Verdict(refusal=one_line(error, 120) or type(error).__name__)
    return Verdict(refusal="their states depend on the other prompts of a batch")


def _packs(twin: PreTrainedModel) -> Packs:
    """Return which prompts of a twin are packed exactly."""
    implementation = twin.config._attn_implementation
    point = switching_point(twin.config)
    for verdict, longest in ((Packs.ALL, UNLIMITED), (Packs.SHORT, point)):
        if longest is None:
            continue
        lengths = _LONG if longest == UNLIMITED else _around(longest)
        rows = list(_prompts(lengths))
        use_attention(twin, implementation)
        truth = [_alone(twin, row) for row in rows]
        forward = Forward(twin, implementation, longest)
        try:
            if _equal(forward, rows, truth, TOLERANCE):
                return verdict
        except ERRORS:
            continue
    return Packs.NONE


def _around(point: int) -> _Lengths:
    prefix = max(1, point // 2)
    rest = point - prefix
    behind = (1, rest - 1, rest, rest + 1, CONTEXT // 2)
    return prefix, tuple(length for length in behind if length > 0), (1, point, point + 1)


def _packs_short_prompts(model: PreTrainedModel) -> bool:
    """Whether packing gives the last states of the model itself, with a few tokens."""
    implementation = model.config._attn_implementation
    first, second = _ids(4, 1), _ids(5, 2)
    try:
        alone = _alone(model, second)[-1]
        use_attention(model, NAME)
        packing = Packing([len(first), len(second)], collect=True)
        together = run_packed(model, [*first, *second], packing).last_hidden_state[0, -1].float()
    except ERRORS:
        return False
    finally:
        use_attention(model, implementation)
    every_layer = len(packing.collected) == model.config.num_hidden_layers
    return every_layer and _all_near([together], [alone], TOLERANCE_OF_ROUNDING)


def _prompts(lengths: _Lengths) -> Iterator[list[int]]:
    prefix, behind, apart = lengths
    shared = _ids(prefix, 0)
    for seed, length in enumerate(behind, 1):
        yield [*shared, *_ids(length, seed)]
    for seed, length in enumerate(apart, 11):
        yield _ids(length, seed)


def _ids(length: int, seed: int) -> list[int]:
    """Return token ids; low ones, because any vocabulary has them, but no special ones."""
    return [10 + (7 * seed + 13 * index + index * index) % 80 for index in range(length)]


def _equal(
    forward: Forward, rows: Sequence[list[int]], truth: Sequence[list[torch.Tensor]], tolerance: float
) -> bool:
    """Whether prompts have their own states at all layers, in batches and as single rows."""
    prompts = [Tokens(row) for row in rows]
    layers = range(len(truth[0]))
    for group in forward.groups(prompts):
        for budget in (1 << 20, 1):
            for batch in batches(group.rows, budget, one_length=not group.packed):
                states = forward.states(batch, group, layers)
                for index, row in enumerate(batch):
                    own = [layer[index].float() for layer in states]
                    if not _all_near(own, truth[row.index], tolerance):
                        return False
    return True


def _alone(model: PreTrainedModel, ids: Sequence[int]) -> list[torch.Tensor]:
    """Return the states of the last token by layer from a plain forward pass of one prompt."""
    return [states[-1] for states in _states(model, ids)]


def _states(model: PreTrainedModel, ids: Sequence[int]) -> list[torch.Tensor]:
    """Return the states by layer, each float32 (tokens, width).

    Raises:
        ValueError: a layer does not have one state for each token.
    """
    output = model(
        input_ids=torch.tensor([ids], device=model.device), use_cache=False, output_hidden_states=True
    )
    layers = model.config.num_hidden_layers
    inner = list(output.hidden_states)[:layers]
    by_layer = [*inner, output.last_hidden_state]
    if len(inner) < layers or any(states.shape[:-1] != (1, len(ids)) for states in by_layer):
        raise ValueError("their layers do not have one state for each token")
    return [states[0].float() for states in by_layer]


def _all_near(
    states: Sequence[torch.Tensor], truth: Sequence[torch.Tensor], tolerance: float
) -> bool:
    """Whether the states of all layers are within a relative distance of the true ones."""
    pairs = zip(states, truth, strict=True)
    return all((left - right).norm() <= tolerance * right.norm() for left, right in pairs)
