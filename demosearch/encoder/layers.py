"""Reading the states of chosen layers in one pass, without running the layers above them.

transformers can return the states of every layer, but for all tokens and after running all layers. Here
a hook before a decoder layer receives the layer's input, which is `hidden_states[i]`, pools it at once,
and stops the pass after the deepest layer that is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from demosearch.errors import UserError

Pool = Callable[[torch.Tensor], torch.Tensor]


class _Stop(Exception):  # noqa: N818 - not an error; it ends a forward pass early
    """No later layer is requested."""


def decoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """Return the model's layers, in order.

    Raises:
        UserError: the layers were not found in the model.
    """
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise UserError(
        f"models of type '{model.config.model_type}' are not supported: their layers were not found"
    )


def resolve_layer(layer: int | None, layers: int) -> int:
    """Return the non-negative index of a layer into a model's `hidden_states`.

    Args:
        layer: index into `hidden_states`, negative from the end; None is the last layer.
        layers: number of decoder layers.

    Raises:
        UserError: the model has no such layer.
    """
    resolved = layers if layer is None else layer + (layers + 1 if layer < 0 else 0)
    if not 0 <= resolved <= layers:
        raise UserError(f"layer must be from 0 to {layers} but got {layer}")
    return resolved


def context_length(config: PreTrainedConfig) -> int:
    """Return the maximum number of tokens of a prompt; 2**30 if the model has none."""
    # MPT has a name of its own.
    names = ("max_position_embeddings", "max_seq_len")
    lengths = [getattr(config, name, None) for name in names]
    return int(next((length for length in lengths if length), 1 << 30))


def state_width(config: PreTrainedConfig, layer: int | None) -> int:
    """Return the width of a layer's states; None is the last layer."""
    # OPT-350M projects the states of its last layer to another width.
    projected = getattr(config, "word_embed_proj_dim", None)
    last = layer in (None, config.num_hidden_layers)
    return int(projected if last and projected else config.hidden_size)


def pooled_states(
    model: PreTrainedModel,
    run: Callable[[], Any],
    layers: Sequence[int],
    pool: Pool,
) -> list[torch.Tensor]:
    """Run a forward pass and return the pooled states of some layers.

    Args:
        model: a base model without head.
        run: runs the pass and returns the model's output.
        layers: indices into transformers' `hidden_states`; the last one is the model's output.
        pool: turns a layer's states (rows, tokens, width) into (sentences, width).

    Returns:
        One tensor for each layer, in the order of `layers`.
    """
    stack = decoder_layers(model)
    pooled: dict[int, torch.Tensor] = {}
    deepest = max(layers)

    def hook(layer: int) -> Callable[..., None]:
        def take(
            _module: object, inputs: tuple[torch.Tensor, ...], options: dict[str, Any]
        ) -> None:
            pooled[layer] = pool(inputs[0] if inputs else options["hidden_states"])
            if layer == deepest:
                raise _Stop

        return take

    with ExitStack() as hooks:
        for layer in set(layers) - {len(stack)}:
            handle = stack[layer].register_forward_pre_hook(hook(layer), with_kwargs=True)
            hooks.callback(handle.remove)
        try:
            output = run()
        except _Stop:
            pass
        else:
            pooled[deepest] = pool(output.last_hidden_state)
    return [pooled[layer] for layer in layers]


def all_states(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Return the states of all layers as transformers collects them.

    For many models, transformers installs hooks that it does not remove and that cannot be pickled; they are
    removed here.

    Args:
        model: a base model without head.
        ids: token ids, (rows, tokens).
        mask: the attention mask of padded rows, (rows, tokens).

    Returns:
        `hidden_states`, from the embeddings to the model's output, usually each (rows, tokens, width).
    """
    installed = "_output_capturing_hooks_installed"
    before = [
        (part, set(part._forward_hooks), vars(part).get(installed)) for part in model.modules()
    ]
    masked = {} if mask is None else {"attention_mask": mask}
    output = model(input_ids=ids, use_cache=False, output_hidden_states=True, **masked)
    for part, hooks, flag in before:
        if flag:
            continue
        for key in set(part._forward_hooks) - hooks:
            del part._forward_hooks[key]
        vars(part).pop(installed, None)
    return [*output.hidden_states[:-1], output.last_hidden_state]
