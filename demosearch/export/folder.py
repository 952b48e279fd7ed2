"""A folder that plain sentence-transformers loads, without this package and without trusting code."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.files import read_json, write_json
from demosearch._common.progress import quiet_transformers
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.card import model_card
from demosearch.export.chat_template import chat_template, check_chat_template
from demosearch.export.checks import check_folder
from demosearch.export.made import read_made
from demosearch.finetune.training import another_prompt
from demosearch.models.adapter import check_adapter, put_adapter_on
from demosearch.models.known import ModelSource, Origin, Precision, resolve
from demosearch.models.options import LoadOptions
from demosearch.models.precision import default_device, dtype_name, dtype_of
from demosearch.models.records import AdapterRecord
from demosearch.models.source import check_model, load_errors, read_config, weights_path
from demosearch.models.transformer_module import pad, transformer_module
from demosearch.models.weights import check_weights
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.modules import Transformer

logger = logging.getLogger(__name__)


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
        demonstrations: a `demonstrations.json` with one prompt, or an adapter's folder as `finetune`
            writes it, whose prompt and layer are those it was trained under.
        out: a folder that is not there yet, or empty.
        model: where the weights are, if not where the file says.
        adapter: a LoRA to put on the weights; None is the file's.
        merge: add the LoRA to the weights; otherwise it lies beside them and needs peft.
        precision: of the weights; None is the file's.
        allow_pickle: also read weights that are no safetensors.

    Raises:
        UserError: the folder is not empty, or the file's prompts cannot be expressed so.
    """
    made = read_made(demonstrations)
    out = check_folder(out)
    prompt, origin = made.prompt, made.origin
    known = origin.adapter if isinstance(origin, DemonstrationsFile) and adapter is None else None
    put_on: AdapterRecord | None = None
    adapter = adapter or made.adapter
    if merge and adapter is None:
        raise UserError("--merge: there is no adapter to merge")
    check_model(made.model, model, demonstrations)
    kind = Precision(precision or made.model.precision)
    if kind.quantized:
        raise UserError(
            f"{demonstrations} was made with {kind} weights, which are not exported; give --precision"
            " bf16, fp16 or fp32 (the scores then differ a little)"
        )
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling
    except ImportError:
        raise UserError("export needs: pip install 'demosearch[finetune]'") from None
    from demosearch.encoder.layers import state_width

    with quiet_transformers():
        transformer = _transformer(model or made.model.name, prompt, kind, allow_pickle)
        tokenizer = transformer.tokenizer
        tokenizer.chat_template = chat_template(prompt, tokenizer)
        check_chat_template(prompt, tokenizer)
        if adapter is not None:
            conversions = getattr(transformer.auto_model, "_weight_conversions", None)
            options = LoadOptions(adapter=str(adapter), allow_pickle=allow_pickle)
            put_on = put_adapter_on(transformer.auto_model, options)
            check_adapter(known, put_on, demonstrations)
            layers = transformer.auto_model.config.num_hidden_layers
            if warning := another_prompt(adapter, [prompt], layers):
                logger.warning(warning)
            if merge:
                _merge(transformer.auto_model)
                # Otherwise the weights would be saved under an adapter's names.
                transformer.auto_model._weight_conversions = conversions
            else:
                _name_base(transformer.auto_model, resolve(model or made.model.name))
        width = state_width(transformer.auto_model.config, prompt.layer)
        pooling = Pooling(width, "lasttoken")
        student = SentenceTransformer(modules=[transformer, pooling], device="cpu")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as unfinished:
            whole = Path(unfinished) / "folder"
            student.save_pretrained(str(whole), create_model_card=False)
            if adapter is not None and not merge:
                _set_type_of_base(whole, transformer.auto_model.dtype)
            (whole / "README.md").write_text(
                model_card(made, width, kind, put_on), encoding="utf-8"
            )
            if out.is_dir():
                out.rmdir()
            whole.rename(out)
    return Exported(out, prompt, width)


def _transformer(
    name: str, prompt: Prompt, precision: Precision, allow_pickle: bool
) -> Transformer:
    source = resolve(name)
    dtype = dtype_of(precision, default_device())
    path, _ = weights_path(source, dtype)
    load_options = LoadOptions(allow_pickle=allow_pickle)
    last = read_config(source)[0].num_hidden_layers
    options = {"dtype": dtype, "use_safetensors": load_options.use_safetensors}
    layer = None if prompt.layer == last else prompt.layer
    check_weights(source, path, load_options)
    with load_errors(source):
        transformer = transformer_module(path, options, layer=layer, chat_template=True)
    pad(transformer, "left")
    return transformer


def _merge(model: Any) -> None:
    """Add the LoRA to the weights and take its layers out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            owner = model.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], module.get_base_layer())
    model._hf_peft_config_loaded = False


def _name_base(model: Any, source: ModelSource) -> None:
    """Say in the adapter's configuration where the weights are that it goes on."""
    if source.origin is not Origin.HUB:
        logger.warning(
            "the weights stay at %s, where this folder looks for them; --merge puts them into it",
            model.config._name_or_path,
        )
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path = source.source
        config.revision = getattr(model.config, "_commit_hash", None)


def _set_type_of_base(folder: Path, dtype: Any) -> None:
    """Let the weights under an adapter be loaded in this type; theirs is what their folder says."""
    path = folder / "sentence_bert_config.json"
    settings = read_json(path, "settings of the exported folder")
    settings["model_kwargs"] = {"dtype": dtype_name(dtype)}
    write_json(path, settings)
