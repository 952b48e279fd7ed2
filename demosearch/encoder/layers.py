"""Reading the states of chosen layers in one pass, and running no layer that is not needed.

transformers can return the states of every layer, all tokens of them, and runs to the end. Here a
hook in front of a decoder layer takes what that layer is given, which is `hidden_states[i]`, pools it
at once, and stops the pass when no later layer is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from demosearch.encoder.attention import Packing, run_packed
from demosearch.errors import UserError

Pool = Callable[[torch.Tensor], torch.Tensor]


class _Enough(Exception):  # noqa: N818 - not an error, the way out of a pass
    """No later layer is wanted."""


def decoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """Return the model's layers, in order.

    Raises:
        UserError: the model keeps its layers in a way that is not known here.
    """
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise UserError(
        f"models of type '{model.config.model_type}' cannot be encoded here: their layers were not"
        " found"
    )


def state_width(config: PreTrainedConfig, layer: int | None) -> int:
    """Return the width of a layer's states; None is the last layer."""
    # OPT-350M alone projects its last layer to another width.
    projected = getattr(config, "word_embed_proj_dim", None)
    last = layer in (None, config.num_hidden_layers)
    return int(projected if last and projected else config.hidden_size)


def pooled_states(
    model: PreTrainedModel,
    tokens: Sequence[int],
    packing: Packing,
    layers: Sequence[int],
    pool: Pool,
) -> list[torch.Tensor]:
    """Run one row of packed tokens and return the pooled states of some layers.

    Args:
        model: a base model without head.
        tokens: the row.
        packing: how the row is made of sentences.
        layers: indices into transformers' `hidden_states`; the last is the model's output.
        pool: makes (sentences, width) of a layer's states (1, tokens, width).

    Returns:
        One tensor a layer, in the order of `layers`.
    """
    stack = decoder_layers(model)
    found: dict[int, torch.Tensor] = {}
    deepest = max(layers)

    def tap(layer: int) -> Callable[..., None]:
        def take(
            _module: object, inputs: tuple[torch.Tensor, ...], options: dict[str, Any]
        ) -> None:
            found[layer] = pool(inputs[0] if inputs else options["hidden_states"])
            if layer == deepest:
                raise _Enough

        return take

    with ExitStack() as hooks:
        for layer in set(layers) - {len(stack)}:
            handle = stack[layer].register_forward_pre_hook(tap(layer), with_kwargs=True)
            hooks.callback(handle.remove)
        try:
            output = run_packed(model, tokens, packing)
        except _Enough:
            pass
        else:
            found[deepest] = pool(output.last_hidden_state)
    return [found[layer] for layer in layers]
