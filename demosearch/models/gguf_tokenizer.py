"""The tokenizer of a GGUF file: what transformers leaves out of it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import processors
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from demosearch.errors import UserError
from demosearch.models.gguf_header import Header

_SPACE = "\u2581"
_PROBE = 'This sentence : "Two  caf\u00e9s in 1987,\n  it\'s said." means in one word:"'
_PREFIX = "tokenizer.ggml."
# Rules for splitting text that equal GPT-2's, which transformers uses for all that it does not know. The
# second row also separates digits, of which these vocabularies have no merges.
_LIKE_GPT2 = {
    "gpt-2", "phi-2", "mpt", "olmo", "roberta-bpe",
    "smollm", "starcoder", "refact", "command-r",
}  # fmt: skip
# Byte-level vocabularies to which llama.cpp adds a beginning token although the file does not say so.
_WITH_BEGINNING = {
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken",
}  # fmt: skip


def complete_tokenizer(header: Header, tokenizer: PreTrainedTokenizerFast) -> None:
    """Let a tokenizer add the beginning and end tokens that its file asks for, and no others.

    Args:
        header: of the file.
        tokenizer: what transformers made of it; changed in place.

    Raises:
        UserError: texts would be tokenized differently than the file asks for.
    """
    settings = header.settings
    kind, split = settings.get(f"{_PREFIX}model"), settings.get(f"{_PREFIX}pre")
    beginning = settings.get(f"{_PREFIX}add_bos_token", kind == "llama" or split in _WITH_BEGINNING)
    end = settings.get(f"{_PREFIX}add_eos_token", False)
    ids = [
        settings.get(f"{_PREFIX}{name}_token_id") if wanted else None
        for name, wanted in (("bos", beginning), ("eos", end))
    ]
    _check_spaces(header, tokenizer, kind)
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    wanted = [*ids[:1], *plain, *ids[1:]]
    if tokenizer("a")["input_ids"] != [token for token in wanted if token is not None]:
        _add_around(tokenizer, *ids)


def check_saved(header: Header, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Check that a tokenizer is still the same when it is loaded from the folder it was saved to.

    transformers chooses the class of a tokenizer by the family of the model, and some classes replace
    parts of it.

    Raises:
        UserError: it tokenizes a text differently.
    """
    saved = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if saved(_PROBE)["input_ids"] != tokenizer(_PROBE)["input_ids"]:
        raise UserError(
            f"model file {header.path} cannot be converted exactly: transformers does not support the"
            f" tokenizer '{header.settings.get(f'{_PREFIX}model')}' in models of the family"
            f" '{header.architecture}'; use the model's own folder or hub id"
        )


def unknown_split(header: Header) -> str | None:
    """Return the rule by which a byte-level vocabulary splits texts if transformers does not know it."""
    split = str(header.settings.get(f"{_PREFIX}pre", "default"))
    byte_level = header.settings.get(f"{_PREFIX}model") == "gpt2"
    known = split in GGUF_PRE_TOKENIZER_SPLITS or split in _LIKE_GPT2
    return split if byte_level and not known else None


def _check_spaces(header: Header, tokenizer: PreTrainedTokenizerFast, kind: str | None) -> None:
    """Check that a text gets a space in front only if the file asks for it."""
    if kind != "llama":
        return
    wanted = header.settings.get(f"{_PREFIX}add_space_prefix", True)
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    if str(tokenizer.convert_ids_to_tokens(ids[0])).startswith(_SPACE) != wanted:
        raise UserError(
            f"model file {header.path} cannot be converted exactly: its texts must begin"
            f" {'with' if wanted else 'without'} a space, which transformers does not support in GGUF"
            " files of this family; use the model's own folder or hub id"
        )


def _add_around(tokenizer: PreTrainedTokenizerFast, beginning: int | None, end: int | None) -> None:
    tokens = {
        index: str(tokenizer.convert_ids_to_tokens(index))
        for index in (beginning, end)
        if index is not None
    }
    # A token of the vocabulary that is not special could not be recognized in the template.
    tokenizer.add_tokens([AddedToken(token, special=True) for token in tokens.values()], True)
    parts = [tokens.get(-1 if beginning is None else beginning), "$A"]
    parts.append(tokens.get(-1 if end is None else end))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(part for part in parts if part is not None),
        special_tokens=[(token, index) for index, token in tokens.items()],
    )
