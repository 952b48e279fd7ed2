"""The states of a few tokens, to compare two forms of the same model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_IDS = (3, 5, 7, 11, 4, 8, 6, 9)


def probe_states(model: PreTrainedModel) -> torch.Tensor:
    """Return the last layer's states of a few tokens, float32 (1, tokens, width)."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = torch.tensor([_IDS], device=model.device) % vocabulary
    with torch.inference_mode():
        output = model(input_ids=ids, use_cache=False, output_hidden_states=True)
    # Some multimodal models return no `last_hidden_state`.
    states: torch.Tensor = output.hidden_states[-1]
    return states.float()
