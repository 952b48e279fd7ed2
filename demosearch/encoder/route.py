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
from demosearch.encoder.batching import batches
from demosearch.encoder.forward import UNLIMITED, Forward
from demosearch.encoder.layers import all_states, state_width
from demosearch.encoder.token_budget import is_out_of_memory
from demosearch.encoder.tokens import Tokens
from demosearch.encoder.twin import CONTEXT, POINT, switching_point, tiny_twin
from demosearch.errors import UserError, one_line

logger = logging.getLogger(__name__)

# Largest relative distance between two states of one prompt. In packed twins of many layers, rounding reaches
# 1e-5, and differences of computation begin at 1e-2.
TOLERANCE = 1e-4
# Between equal computations in batches of different sizes, in 16 bits or in a recurrent twin of many layers.
TOLERANCE_OF_ROUNDING = 0.05
# Numbers of tokens: of a prefix, of what follows it, and of prompts without prefix.
_Lengths = tuple[int, tuple[int, ...], tuple[int, ...]]
# A shorter limit is not worth a second way.
_FEWEST = 8
_LONG: _Lengths = (POINT + 4, (1, POINT - 3, 2 * POINT - 2), (3, POINT + 1, 3 * POINT - 1))
_SHORT: _Lengths = (3, (1, 4), (2, 5))


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
    with torch.inference_mode(), quiet_transformers():
        verdict = _verdict(model)
        if verdict.refusal:
            raise _refused(model, verdict.refusal)
        longest = 0
        if verdict.packs is not Packs.NONE and _packs_short_prompts(model):
            point = switching_point(model.config)
            longest = UNLIMITED if verdict.packs is Packs.ALL or point is None else point
        elif verdict.packs is Packs.NONE:
            _check_runs(model)
    if longest == 0:
        logger.info("models of type '%s' are encoded without packing and prefix cache", kind)
    elif longest < UNLIMITED:
        logger.info(
            "models of type '%s': prompts of more than %d tokens are encoded without packing and"
            " prefix cache",
            kind,
            longest,
        )
    return Forward(model, longest, verdict.hooks)


def check_supported(model: PreTrainedModel) -> None:
    """Check that an encoder takes a base model, without preparing one.

    Raises:
        UserError: it does not; the message names the model's type.
    """
    # Not in inference mode, whose tensors a model that is trained must not keep.
    with torch.no_grad(), quiet_transformers():
        if refusal := _verdict(model).refusal:
            raise _refused(model, refusal)


def _refused(model: PreTrainedModel, reason: str) -> UserError:
    return UserError(f"models of type '{model.config.model_type}' are not supported: {reason}")


def _failure(error: Exception) -> str:
    reason = one_line(error, 200) or type(error).__name__
    return f"with the settings in config.json a forward pass fails ({reason}); check them"


class _OtherLayersError(ValueError):
    """The states of the layers have other shapes."""


def _verdict(model: PreTrainedModel) -> Verdict:
    if model.config.num_hidden_layers < 1:
        return Verdict(refusal="num_hidden_layers in config.json must be at least 1")
    if model.config.is_encoder_decoder:
        return Verdict(refusal="they have an encoder and a decoder")
    twin = tiny_twin(model)
    if twin is None:
        # Nothing is known of long prompts, so nothing is packed.
        return _plain_verdict(model)
    key = f"{type(twin)} {twin.config._attn_implementation} {_settings(twin)}"
    if key not in _verdicts:
        verdict = _plain_verdict(twin)
        packs = not verdict.refusal and verdict.hooks
        _verdicts[key] = replace(verdict, packs=_packs(twin)) if packs else verdict
    return _verdicts[key]


def _settings(twin: PreTrainedModel) -> str:
    return json.dumps(twin.config.to_dict(), sort_keys=True, default=str)


def _plain_verdict(model: PreTrainedModel) -> Verdict:
    """Return whether plain prompts have the states that transformers computes for each one alone."""
    forward = Forward(model, longest_packed=0)
    rows = [_ids(length, seed) for seed, length in enumerate((6, POINT + 3, 6, 2))]
    try:
        truth = [_alone(model, row) for row in rows]
        third = [states[2] for states in _states(model, rows[0])]
        first_three = _alone(model, rows[0][:3])
    except _OtherLayersError as error:
        return Verdict(refusal=str(error))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return Verdict(refusal=_failure(error))
    if not all(states.isfinite().all() for layers in truth for states in layers):
        return Verdict(refusal="their states are not finite")
    if not _all_near(third, first_three, TOLERANCE_OF_ROUNDING):
        return Verdict(refusal="their states depend on the tokens that follow")
    for hooks in (True, False):
        if _is_exact(replace(forward, hooks=hooks), rows, truth, TOLERANCE_OF_ROUNDING):
            return Verdict(hooks=hooks)
    return Verdict(refusal="their states depend on the other prompts of a batch")


def _packs(twin: PreTrainedModel) -> Packs:
    """Return which prompts of a twin are packed exactly."""
    tries = [(Packs.ALL, UNLIMITED, _LONG)]
    if (point := switching_point(twin.config) or 0) >= _FEWEST:
        tries.append((Packs.SHORT, point, _around(point)))
    for packs, longest, lengths in tries:
        rows = list(_prompts(lengths))
        try:
            truth = [_alone(twin, row) for row in rows]
        except Exception:
            logger.debug("a twin cannot read long prompts", exc_info=True)
            return Packs.NONE
        if _is_exact(Forward(twin, longest), rows, truth, TOLERANCE):
            return packs
    return Packs.NONE


def _around(point: int) -> _Lengths:
    prefix = point // 2
    rest = point - prefix
    return prefix, (1, rest - 1, rest, rest + 1, CONTEXT // 2), (1, point, point + 1)


def _packs_short_prompts(model: PreTrainedModel) -> bool:
    """Whether packing gives the last states of the model itself, with a few tokens."""
    rows = [[*_ids(4, 1), *_ids(length, 2)] for length in (5, 3)]
    truth = []
    try:
        for row in rows:
            output = model(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            truth.append([output.last_hidden_state[0, -1].float()])
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise _refused(model, _failure(error)) from error
    return _is_exact(Forward(model), rows, truth, TOLERANCE_OF_ROUNDING, singly=False)


def _check_runs(model: PreTrainedModel) -> None:
    """Check that the model itself, whose sizes are not those of its twin, runs on a few tokens."""
    try:
        model(input_ids=torch.tensor([_ids(3, 1)], device=model.device), use_cache=False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _refused(model, _failure(error)) from error


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


def _is_exact(
    forward: Forward,
    rows: Sequence[list[int]],
    truth: Sequence[list[torch.Tensor]],
    tolerance: float,
    *,
    singly: bool = True,
) -> bool:
    """Whether prompts have their own states at the last layers, in batches and as single rows.

    Args:
        forward: how the prompts go through the model.
        rows: the token ids of the prompts.
        truth: the states of each prompt alone, by layer, up to the last layer.
        tolerance: largest relative distance.
        singly: also compare each prompt in a batch of its own.
    """
    count = forward.model.config.num_hidden_layers + 1
    layers = range(count - len(truth[0]), count)
    try:
        for group in forward.groups([Tokens(row) for row in rows]):
            for budget in (1 << 20, 1)[: 1 + singly]:
                for batch in batches(group.rows, budget, one_length=not group.packed):
                    by_layer = forward.states(batch, group, layers)
                    for index, row in enumerate(batch):
                        own = [states[index].float() for states in by_layer]
                        if not _all_near(own, truth[row.index], tolerance):
                            return False
    # What does not fit the attention of some type is an error of many kinds.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        logger.debug("a check of the encoder failed", exc_info=True)
        return False
    return True


def _alone(model: PreTrainedModel, ids: Sequence[int]) -> list[torch.Tensor]:
    """Return the states of the last token by layer from a plain forward pass of one prompt."""
    return [states[-1] for states in _states(model, ids)]


def _states(model: PreTrainedModel, ids: Sequence[int]) -> list[torch.Tensor]:
    """Return the states by layer, each float32 (tokens, width).

    Raises:
        _OtherLayersError: a layer does not have one state of the model's width for each token.
    """
    by_layer = all_states(model, torch.tensor([ids], device=model.device))
    widths = [
        state_width(model.config, layer) for layer in range(model.config.num_hidden_layers + 1)
    ]
    expected = [(1, len(ids), width) for width in widths]
    if [tuple(states.shape) for states in by_layer] != expected:
        raise _OtherLayersError(
            "their layers do not have one state of the model's width for each token"
        )
    return [states[0].float() for states in by_layer]


def _all_near(
    states: Sequence[torch.Tensor], truth: Sequence[torch.Tensor], tolerance: float
) -> bool:
    """Whether the states of all layers are within a relative distance of the true ones."""
    pairs = zip(states, truth, strict=True)
    return all((left - right).norm() <= tolerance * right.norm() for left, right in pairs)
