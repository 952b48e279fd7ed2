"""A folder that plain sentence-transformers loads, without this package and without trusting code."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch.demonstration import AdapterRecord, DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.card import model_card
from demosearch.export.chat_template import chat_template, check_chat_template
from demosearch.export.checks import check_folder, check_model, only_prompt
from demosearch.loading import (
    default_device,
    dtype_of,
    loading,
    put_adapter_on,
    read_config,
    weights_place,
)
from demosearch.models import Precision, resolve
from demosearch.progress import quiet_transformers
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.modules import Transformer

_FINAL = "last_hidden_state"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        prompt: the prompt that its chat template holds.
        width: of an embedding.
    """

    folder: Path
    prompt: Prompt
    width: int


def export_sentence_transformer(
    demonstrations: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    adapter: str | Path | None = None,
    merge: bool = False,
    precision: Precision | str | None = None,
    allow_pickle: bool = False,
) -> Exported:
    """Write a folder that `SentenceTransformer(out)` loads as it is.

    The demonstrations and the rest of the prompt are in the tokenizer's chat template. The embeddings
    are those of `Embedder.load(demonstrations)`, to rounding.

    Args:
        demonstrations: a `demonstrations.json` with one prompt.
        out: a folder that is not there yet, or empty.
        model: where the weights are, if not where the file says.
        adapter: a LoRA to put on the weights; None is the file's.
        merge: add the LoRA to the weights; otherwise it lies beside them and needs peft.
        precision: of the weights; None is the file's.
        allow_pickle: also read weights that are no safetensors.

    Raises:
        UserError: the folder is not empty, or the file's prompts cannot be expressed so.
    """
    file = DemonstrationsFile.read(demonstrations)
    out = check_folder(out)
    prompt = only_prompt(file)
    given = adapter is not None
    put_on: AdapterRecord | None = None
    adapter = adapter or (file.adapter.source if file.adapter else None)
    if merge and adapter is None:
        raise UserError("--merge: there is no adapter to merge")
    check_model(file, model, demonstrations)
    kind = Precision(precision or file.model.precision)
    if kind.quantised:
        raise UserError(
            f"{demonstrations} was made with {kind} weights, which are not exported; give --precision"
            " bf16, fp16 or fp32 (the scores then differ a little)"
        )
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling
    except ImportError:
        raise UserError("export needs: pip install 'demosearch[finetune]'") from None
    with quiet_transformers():
        transformer = _transformer(model or file.model.name, prompt, kind, allow_pickle)
        tokenizer = transformer.tokenizer
        tokenizer.chat_template = chat_template(prompt, tokenizer)
        check_chat_template(prompt, tokenizer)
        if adapter is not None:
            conversions = getattr(transformer.auto_model, "_weight_conversions", None)
            put_on = put_adapter_on(transformer.auto_model, adapter, allow_pickle)
            if file.adapter is not None and not given and put_on != file.adapter:
                raise UserError(
                    f"{demonstrations} was made with the adapter {file.adapter.source} of revision"
                    f" {file.adapter.revision[:20]}; there is another now"
                )
            if merge:
                _merge(transformer.auto_model)
                # Otherwise the weights would be saved under an adapter's names.
                transformer.auto_model._weight_conversions = conversions
        width = _width(transformer, prompt)
        pooling = Pooling(width, "lasttoken")
        student = SentenceTransformer(modules=[transformer, pooling], device="cpu")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as unfinished:
            whole = Path(unfinished) / "folder"
            student.save_pretrained(str(whole), create_model_card=False)
            (whole / "README.md").write_text(
                model_card(file, prompt, width, kind, put_on), encoding="utf-8"
            )
            if out.is_dir():
                out.rmdir()
            whole.rename(out)
    return Exported(out, prompt, width)


def _transformer(
    name: str, prompt: Prompt, precision: Precision, allow_pickle: bool
) -> Transformer:
    from sentence_transformers.sentence_transformer.modules import Transformer

    source = resolve(name)
    dtype = dtype_of(precision, default_device())
    place, _ = weights_place(source, dtype)
    layers = read_config(source)[0].num_hidden_layers
    # The last layer's state is also the model's output, which costs no memory for the others.
    last = prompt.layer in (None, layers)
    state: Any = _FINAL if last else ["hidden_states", prompt.layer]
    entry = {"method": "forward", "method_output_name": state}
    with loading(source):
        transformer = Transformer(
            place,
            model_kwargs={"dtype": dtype, "use_safetensors": None if allow_pickle else True},
            # With a message's entry, a text is put into the chat template as one message.
            modality_config={"text": entry, "message": {**entry, "format": "flat"}},
            module_output_name="token_embeddings",
        )
    transformer.tokenizer.padding_side = "left"
    if transformer.tokenizer.pad_token is None:
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    return transformer


def _width(transformer: Transformer, prompt: Prompt) -> int:
    config = transformer.auto_model.config
    projected = getattr(config, "word_embed_proj_dim", None)
    last = prompt.layer in (None, config.num_hidden_layers)
    # OPT-350M alone projects its last layer to another width.
    return int(projected if last and projected else config.hidden_size)


def _merge(model: Any) -> None:
    """Add the LoRA to the weights and take its layers out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            owner = model.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], module.get_base_layer())
    model._hf_peft_config_loaded = False
