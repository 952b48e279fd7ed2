"""Every type of decoder that transformers knows: equal to a plain forward pass, or refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from transformers import AutoConfig
from transformers.utils import logging

from demosearch.encoder.twin import POINT, is_known, small_settings
from tests.encoder.families import (
    NOT_TESTABLE,
    PAGE,
    TOLERANCE,
    TYPES,
    all_families,
    family,
    page,
)

REGENERATE = "run `python -m tests.encoder.families`"
# Large settings that are not a number of tokens, or not one at which attention changes.
NOT_TOKENS = {
    "adapter_rank", "altup_coef_clip", "attention_head_size", "attn_logit_softcapping",
    "audio_vocab_size", "bias_max_distance", "block_multiple_of", "codebook_dim", "codebook_size",
    "compress_rope_theta", "crop_size", "decoder_ffn_dim", "depthwise_separable_out_channel",
    "dim_model_base", "embedding_scale", "encoder_hash_byte_group_vocab", "ext_pw_out_channel",
    "feed_forward_size", "ffn_round_up_to_multiple_of", "hc_lowrank",
    "heavily_compressed_attention", "hidden_size_global", "image_size", "input_size", "laurel_rank",
    "make_ngram_vocab_size_divisible_by", "max_inference_chunksize", "max_window_layers", "mem_len",
    "n_layer", "nemo_conv_channels", "num_filters", "num_hidden_layers", "output_embedding_size",
    "position_bias_max_distance", "position_bias_num_buckets", "pronunciation_embed_dim",
    "pronunciation_vocab_size", "rope_theta", "router_hidden_size", "sampling_rate", "seed",
    "shape_embed_dim", "shape_vocab_size", "split_ngram_parts", "upsample_groups",
    "vector_quantization_hidden_dimension",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence what transformers reports about missing kernels and unusual settings."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.set_verbosity(verbosity)


@pytest.mark.parametrize("model_type", [name for name in TYPES if name not in NOT_TESTABLE])
def test_a_type_equals_a_plain_forward_pass_or_is_refused(model_type: str) -> None:
    result = family(model_type)
    assert result.served or result.refusal
    assert result.wrong <= TOLERANCE


def test_every_setting_that_counts_tokens_is_small_in_a_twin() -> None:
    """A new type may have a window of a new name, which the check at load would not cross."""
    unknown = set()
    for model_type in TYPES:
        if model_type == "gemma4_assistant":
            continue
        config = AutoConfig.for_model(model_type)
        if not config.is_encoder_decoder:
            text = (
                config
                if model_type in ("musicgen", "musicgen_melody")
                else config.get_text_config()
            )
            unknown |= set(_large(small_settings(text)))
    assert unknown <= NOT_TOKENS


def test_the_page_of_families_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(all_families()), REGENERATE


def _large(settings: dict[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _large(value)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and value > 2 * POINT and not is_known(name):
            yield name
