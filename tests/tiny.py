"""Tiny seeded models of several families, with a small tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    CTRLTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)

from demosearch._common.resources import resource

VOCABULARY = 600
CONTEXT = 160
_SIZES = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "pad_token_id": 0}
SMALL_LLAMA = {
    **_SIZES,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OPT = {
    **_SIZES,
    "hidden_size": 48,
    "ffn_dim": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "word_embed_proj_dim": 48,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# The configuration, and whether the tokenizer adds a beginning token.
FAMILIES: dict[str, tuple[PreTrainedConfig, bool]] = {
    "llama": (LlamaConfig(**SMALL_LLAMA), True),
    # With a tokenizer like LLaMA's: spaces are characters, and the whole prompt is a single word.
    "llama-sentencepiece": (LlamaConfig(**SMALL_LLAMA), True),
    "opt": (OPTConfig(**_OPT), True),
    # OPT-350M normalizes after its layers and projects the last one to another width.
    "opt-350m": (
        OPTConfig(**{**_OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 24}),
        True,
    ),
    "gpt-neox": (
        GPTNeoXConfig(
            **_SIZES,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
        ),
        False,
    ),
    # Learned positions, counted from the first token including padding.
    "gpt2": (
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=48,
            n_layer=3,
            n_head=4,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
        False,
    ),
    "qwen3": (Qwen3Config(**SMALL_LLAMA, head_dim=8), False),
    "mistral-window": (MistralConfig(**SMALL_LLAMA, sliding_window=12), True),
    "gemma2-softcap": (
        Gemma2Config(**SMALL_LLAMA, head_dim=8, sliding_window=12, query_pre_attn_scalar=8),
        True,
    ),
}


def save_tiny_model(family: str, folder: Path) -> None:
    """Save a seeded model with head, and its tokenizer, in transformers' layout."""
    config, beginning = FAMILIES[family]
    tokenizer = _sentencepiece() if "sentencepiece" in family else _byte_level()
    save_model(config, folder, _with_special_tokens(tokenizer, beginning))


def save_model(
    config: PreTrainedConfig,
    folder: Path,
    tokenizer: PreTrainedTokenizerFast | None = None,
    kind: Any = AutoModelForCausalLM,
) -> None:
    """Save a seeded model with head, and a tokenizer, in transformers' layout."""
    torch.manual_seed(7)
    model = kind.from_config(config)
    with torch.no_grad():
        # Initial weights are so small that all sentences have nearly the same state.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    (tokenizer or _with_special_tokens(_byte_level(), beginning=True)).save_pretrained(folder)


def _byte_level(special: Sequence[str] = ("<pad>", "<s>", "</s>", "<unk>")) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, pre_tokenizers.ByteLevel.alphabet(), special)
    return tokenizer


def _sentencepiece() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # Trained on words and applied to the whole text, as in the conversion of LLaMA's tokenizer.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _train(tokenizer, [], ("<pad>", "<s>", "</s>", "<unk>"))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _train(tokenizer: Tokenizer, alphabet: list[str], special: Sequence[str]) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    text = resource("wordlists", "starter_sentences.csv").read_text(encoding="utf-8")
    prompts = ['This sentence : "A" means in one word:"B".'] * 50
    tokenizer.train_from_iterator([*text.splitlines(), *prompts], trainer)


def _with_special_tokens(tokenizer: Tokenizer, beginning: bool) -> PreTrainedTokenizerFast:
    if beginning:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


_BERT = {
    **_SIZES,
    "vocab_size": VOCABULARY + 1,  # one more for the mask
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_T5 = {"vocab_size": VOCABULARY + 1, "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2}

# Bidirectional models.
ENCODERS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**_BERT),
    "roberta": RobertaConfig(**{**_BERT, "max_position_embeddings": CONTEXT + 2}),
    "t5": T5Config(**_T5, num_heads=4, pad_token_id=0, eos_token_id=2, decoder_start_token_id=0),
}


def save_tiny_encoder(kind: str, folder: Path) -> None:
    """Save a seeded BERT, RoBERTa or T5, and its tokenizer, in transformers' layout."""
    torch.manual_seed(7)
    model = AutoModel.from_config(ENCODERS[kind])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    tokenizer = _byte_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=CONTEXT,
    ).save_pretrained(folder)


def appending(model: Path, folder: Path, beginning: str = "") -> Path:
    """Copy a model, with a tokenizer that appends an end token, as Qwen3-Embedding's does."""
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{beginning}$A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def with_slow_tokenizer(model: Path, folder: Path) -> Path:
    """Copy a model, with a tokenizer of characters that is written in Python and marks no offsets."""
    shutil.copytree(model, folder)
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        path.unlink()
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["<unk>", *(f"{letter}@@" for letter in letters), *letters]
    (folder / "vocab.json").write_text(json.dumps({token: row for row, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    CTRLTokenizer(*files).save_pretrained(folder)
    return folder


def without_special_tokens(model: Path, folder: Path) -> Path:
    """Copy a model, with a tokenizer that has no special tokens at all."""
    shutil.copytree(model, folder)
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        path.unlink()
    PreTrainedTokenizerFast(tokenizer_object=_byte_level(special=[])).save_pretrained(folder)
    return folder


# A text with this word differs from all others in the model below.
ODD = "~"


def overflowing(model: Path, folder: Path) -> Path:
    """Copy a LLaMA whose states of a text with `ODD` are too large for float16, and only those.

    The values of the first layer read a dimension that is zero in the embeddings of all other tokens.
    """
    shutil.copytree(model, folder)
    odd = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(ODD)
    changed = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        embeddings = changed.model.embed_tokens.weight
        embeddings[:, 0] = 0
        embeddings[odd, 0] = 10
        changed.model.layers[0].self_attn.v_proj.weight[:, 0] = 6e4
    changed.save_pretrained(folder)
    return folder
