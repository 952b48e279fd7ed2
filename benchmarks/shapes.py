"""Time of a candidate compared with its matrix products, for the shapes of large models.

    python benchmarks/shapes.py [--shapes opt-1.3b llama-7b llama-13b] [--precisions bf16 int8 nf4]

Intended for a GPU; small shapes run on a CPU. No weights are downloaded: a model of each shape with random
weights is saved in a temporary folder, and is loaded and quantized as any other model. The floor is the
number of necessary tokens, times two, times the parameters that multiply, divided by the rate that matrix
products of these shapes reach in 16 bits.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import PROMPT, arithmetic_floor, machine, median, medians, show
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    LlamaConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from demosearch import Encoder

# STS-B dev has 2910 distinct sentences with eleven words on average and 56 at most.
SENTENCES = 2910
WORDS = 11


def llama(layers: int, width: int, inner: int, heads: int) -> LlamaConfig:
    """Return the configuration of a LLaMA model."""
    return LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
    )


SHAPES: dict[str, PreTrainedConfig] = {
    "smollm2-135m": LlamaConfig(
        num_hidden_layers=30,
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
    ),
    "opt-1.3b": OPTConfig(
        num_hidden_layers=24, hidden_size=2048, ffn_dim=8192, num_attention_heads=32
    ),
    "llama-7b": llama(32, 4096, 11008, 32),
    "llama-13b": llama(40, 5120, 13824, 40),
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    gpu = torch.cuda.is_available()
    default = ["opt-1.3b", "llama-7b", "llama-13b"] if gpu else ["smollm2-135m"]
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=default)
    parser.add_argument(
        "--precisions", nargs="+", default=["bf16", "int8", "nf4"] if gpu else ["fp32"]
    )
    parser.add_argument("--sentences", type=int, default=SENTENCES if gpu else 300)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    texts = random_sentences(arguments.sentences)
    print(f"{len(texts)} sentences of about {WORDS} words, one demonstration; {machine()}\n")
    rows = []
    for shape in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            save(SHAPES[shape], Path(folder))
            floor = 0.0
            for precision in arguments.precisions:
                encoder = Encoder.load(folder, precision=precision)
                encoder.encode(texts[:64], PROMPT)
                if not floor:
                    _, _, floor = arithmetic_floor(encoder, texts, PROMPT)
                sides = {"encode": lambda e=encoder: e.encode(texts, PROMPT)}
                seconds = median(medians(sides, arguments.repeats)["encode"])
                rows.append(
                    (
                        shape,
                        precision,
                        encoder.token_budget,
                        f"{seconds:.2f}",
                        f"{floor:.2f}",
                        f"{seconds / floor:.2f}",
                    )
                )
                del encoder, sides
                if gpu:
                    torch.cuda.empty_cache()
    show(
        ("shape", "precision", "tokens per pass", "seconds per candidate", "floor", "ratio"),
        rows,
    )


def random_sentences(number: int) -> list[str]:
    """Return distinct sentences with the distribution of lengths of STS-B."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(np.log(WORDS), 0.45, number).astype(int), 3, 56)
    return [
        " ".join(f"w{word}" for word in generator.integers(0, 20_000, size)) for size in lengths
    ]


def save(config: PreTrainedConfig, folder: Path) -> None:
    """Save a model of a shape with random weights, and a tokenizer with one token per word."""
    vocabulary = [
        "<unk>",
        "<s>",
        *["This", "sentence", ":", "means", "in", "one", "word"],
        '"',
        ".",
        '".',
        ':"',
    ]
    words = vocabulary + [f"w{word}" for word in range(20_000)]
    backend = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(dict.fromkeys(words))}, "<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = AutoModel.from_config(config)
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
