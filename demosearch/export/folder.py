"""Export of a folder that sentence-transformers loads without this package or remote code."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.extras import missing_extra
from demosearch._common.files import read_json, write_json
from demosearch._common.progress import quiet_transformers
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.export.card import model_card
from demosearch.export.chat_template import chat_template, check_chat_template
from demosearch.export.checks import check_folder
from demosearch.export.postprocess_modules import postprocess_modules
from demosearch.export.source import ExportSource, read_source
from demosearch.finetune.training_record import prompt_mismatch
from demosearch.models.adapter import adapt, check_adapter
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
    """An exported folder.

    Attributes:
        folder: its path.
        prompt: the prompt in its chat template.
        width: dimension of the embeddings.
    """

    folder: Path
    prompt: Prompt
    width: int


def export_sentence_transformer(
    demonstrations: str | Path,
    out: str | Path,
    options: LoadOptions | None = None,
    *,
    model: str | None = None,
    merge: bool = False,
    **keywords: Any,
) -> Exported:
    """Write a folder that `SentenceTransformer(out)` loads without this package.

    The demonstrations and the rest of the prompt are in the tokenizer's chat template. The embeddings
    equal those of `Embedder.load(demonstrations)` up to rounding.

    Args:
        demonstrations: a `demonstrations.json` with one prompt; the folder of an adapter that
            `finetune` wrote, whose prompt and layer are then those of the training; or `"paper"` or
            `"best"`, as in `Embedder.load`.
        out: a new or empty folder.
        options: precision of the exported weights and LoRA adapter, which default to the file's (with
            known demonstrations: float32 and none), and whether pickle files may be read; the other fields are not used.
        model: where the weights are, if not where the file says; with `"paper"` or `"best"`, the model.
        merge: merge the adapter into the weights; otherwise it is saved beside them and requires PEFT.
        **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

    Raises:
        UserError: the folder is not empty, or the file's prompts cannot be exported.
    """
    options = LoadOptions.of(options, **keywords)
    source = read_source(demonstrations, model)
    out = check_folder(out)
    name = model or source.model.name
    precision = exported_precision(options, source, demonstrations)
    if merge and (options.adapter or source.adapter) is None:
        raise UserError("--merge requires an adapter")
    check_model(source.model, model, demonstrations)
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling
    except ImportError:
        raise missing_extra("export", "finetune") from None
    from demosearch.encoder.layers import state_width

    with quiet_transformers():
        transformer = _transformer(name, source.prompt, precision, options)
        adapter = _add_adapter(transformer, source, demonstrations, options, name, merge=merge)
        width = state_width(transformer.auto_model.config, source.prompt.layer)
        modules = [transformer, Pooling(width, "lasttoken"), *postprocess_modules(source)]
        if source.postprocess is not None:
            width = modules[-1].get_embedding_dimension()
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            folder = Path(temporary) / "folder"
            SentenceTransformer(modules=modules, device="cpu").save_pretrained(
                str(folder), create_model_card=False
            )
            if adapter is not None and not merge:
                _set_dtype_of_base(folder, transformer.auto_model.dtype)
            card = model_card(source, width, precision, adapter)
            (folder / "README.md").write_text(card, encoding="utf-8")
            if out.is_dir():
                out.rmdir()
            folder.rename(out)
    return Exported(out, source.prompt, width)


def exported_precision(
    options: LoadOptions, source: ExportSource, demonstrations: str | Path
) -> Precision:
    """Return the precision of the exported weights.

    Raises:
        UserError: the weights would be quantized.
    """
    precision = Precision(options.precision or source.model.precision)
    if precision.quantized:
        raise UserError(
            f"{demonstrations} was made with {precision} weights, which cannot be exported; use"
            " --precision bf16, fp16 or fp32 (the scores then differ slightly)"
        )
    return precision


def _transformer(
    name: str, prompt: Prompt, precision: Precision, options: LoadOptions
) -> Transformer:
    """Return the weights with the prompt in the tokenizer's chat template."""
    from demosearch.encoder.padding import find_padding_side
    from demosearch.encoder.route import check_supported

    source = resolve(name)
    dtype = dtype_of(precision, default_device())
    path, _ = weights_path(source, dtype)
    last = read_config(source)[0].num_hidden_layers
    layer = None if prompt.layer == last else prompt.layer
    check_weights(source, path, options)
    arguments = {"dtype": dtype, "use_safetensors": options.use_safetensors}
    with load_errors(source):
        transformer = transformer_module(path, arguments, layer=layer, chat_template=True)
    check_supported(transformer.auto_model)
    pad(transformer, find_padding_side(transformer.auto_model, ("left", "right"), "exported"))
    transformer.tokenizer.chat_template = chat_template(prompt, transformer.tokenizer)
    check_chat_template(prompt, transformer.tokenizer)
    return transformer


def _add_adapter(
    transformer: Transformer,
    source: ExportSource,
    demonstrations: str | Path,
    options: LoadOptions,
    name: str,
    *,
    merge: bool,
) -> AdapterRecord | None:
    """Apply the adapter to the weights, or merge it; return its record, None without an adapter."""
    path = options.adapter or source.adapter
    if path is None:
        return None
    base = transformer.auto_model
    result = adapt(base, options.model_copy(update={"adapter": path}))
    if result is None:
        return None
    adapted, record = result
    # An adapter that the caller names may differ from the file's.
    if options.adapter is None and isinstance(source.origin, DemonstrationsFile):
        check_adapter(source.origin.adapter, record, demonstrations)
    if warning := prompt_mismatch(path, [source.prompt], base.config.num_hidden_layers):
        logger.warning(warning)
    if merge:
        adapted.merge()
    elif adapted.can_be_saved():
        _name_base(base, resolve(name))
    else:
        raise UserError(
            f"the adapter {path} cannot be exported next to its base model, because"
            " transformers would not load all of it; use --merge"
        )
    return record


def _name_base(model: Any, source: ModelSource) -> None:
    """Record the base model in the adapter's configuration."""
    if source.origin is not Origin.HUB:
        logger.warning(
            "the exported folder loads the base weights from %s; use --merge to include them",
            model.config._name_or_path,
        )
    on_hub = source.origin is Origin.HUB
    for config in model.peft_config.values():
        config.base_model_name_or_path = source.source if on_hub else model.config._name_or_path
        config.revision = getattr(model.config, "_commit_hash", None) if on_hub else None


def _set_dtype_of_base(folder: Path, dtype: Any) -> None:
    """Set the dtype in which the base weights of an adapter are loaded."""
    path = folder / "sentence_bert_config.json"
    settings = read_json(path, "settings of the exported folder")
    settings["model_kwargs"] = {"dtype": dtype_name(dtype)}
    write_json(path, settings)
