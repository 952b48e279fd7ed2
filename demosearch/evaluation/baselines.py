"""The paper's baselines: bidirectional models, and sentence-transformers models.

BERT, RoBERTa and T5's encoder are pooled by the mean of their states, by the first token's state, or by
the state of a mask token in a prompt; models that sentence-transformers saved are used unchanged. All of
them run in sentence-transformers, because only the searched model requires the fast encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.containers import as_texts
from demosearch._common.extras import missing_extra
from demosearch._common.progress import bar, quiet_transformers
from demosearch.errors import NotFiniteError, UserError, one_line
from demosearch.evaluation.batch_check import BATCH_SIZE, find_batch_size, limit_positions
from demosearch.evaluation.kinds import MODULES_FILE, Kind, kind_of
from demosearch.evaluation.mask_templates import MaskTemplate, find_mask_template
from demosearch.models.known import ModelSource, Origin, resolve
from demosearch.models.options import LoadOptions
from demosearch.models.packaged import describe_package, package_file
from demosearch.models.precision import Precision, arithmetic_of, default_device, dtype_of
from demosearch.models.records import ModelRecord
from demosearch.models.revision import folder_hash, revision_of
from demosearch.models.source import load_errors
from demosearch.models.transformer_module import pad, transformer_module

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

# Texts per update of the progress bar.
CHUNK = 2048


class Method(StrEnum):
    """How the states of a model become an embedding.

    `prompt` is the state of the last token of a prompt for a decoder, and of the mask token for other
    models. `pooler` applies BERT's pretrained pooler to the first token's state; supervised SimCSE was
    trained with it.
    """

    PROMPT = "prompt"
    MEAN = "mean"
    CLS = "cls"
    POOLER = "pooler"


class Baseline:
    """A SentenceTransformer with the interface of an `Embedder`.

    Args:
        model: ends in a module that computes sentence embeddings.
        record: identifies the weights.
        method: how states become an embedding; empty if the model's own modules define it.
        template: the prompt that texts are inserted into; None means no prompt.
        batch_size: number of texts of a batch.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        record: ModelRecord,
        method: str = "",
        template: MaskTemplate | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.model = model
        self.record = record
        self.method = method
        self.template = template
        self.batch_size = batch_size

    @property
    def arithmetic(self) -> str:
        """The kind of device and the number format in which states are computed."""
        return arithmetic_of(self.model.device, self.model.dtype)

    def describe(self) -> dict[str, Any]:
        """Return everything that determines an embedding, as a JSON object."""
        template = self.template
        return {
            "model": self.record.identity(),
            "adapter": None,
            "prompts": [],
            "method": self.method or "sentence-transformers",
            "template": template.query if template else None,
        }

    def encode(
        self, sentences: str | Iterable[str], *, show_progress_bar: bool = False
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts, float32 (len(sentences), width); (width,) for one text.

        Raises:
            UserError: `sentences` is not a container of texts, or an item is not a text.
        """
        if isinstance(sentences, str):
            alone: NDArray[np.float32] = self.encode([sentences])[0]
            return alone
        texts = as_texts(sentences)
        if self.template is not None:
            texts = [self._prompt(text, self.template) for text in texts]
        if not texts:
            return np.zeros((0, self.model.get_embedding_dimension() or 0), dtype=np.float32)
        parts = []
        with bar("encoding", len(texts), show=show_progress_bar) as progress, quiet_transformers():
            for start in range(0, len(texts), CHUNK):
                chunk = texts[start : start + CHUNK]
                rows = np.asarray(
                    self.model.encode(chunk, batch_size=self.batch_size, show_progress_bar=False)
                )
                if not (is_finite := np.isfinite(rows).all(axis=1)).all():
                    row = start + int(np.argmin(is_finite))
                    precision = self.record.precision
                    raise NotFiniteError(texts[row], "the output", precision, row)
                parts.append(rows)
                progress.advance(len(chunk))
        return np.concatenate(parts).astype(np.float32)

    def _prompt(self, text: str, template: MaskTemplate) -> str:
        """Return the prompt for a text; a text that is too long is cut, so that the mask remains."""
        tokenizer = self.model.tokenizer
        prompt = template.render(text, tokenizer.mask_token)
        excess = len(tokenizer(prompt)["input_ids"]) - int(self.model.max_seq_length or 1 << 30)
        if excess <= 0:
            return prompt
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        # One token more, because a full stop may be added to the cut text.
        return template.render(tokenizer.decode(ids[: -excess - 1]), tokenizer.mask_token)


def open_baseline(
    name: str,
    options: LoadOptions | None = None,
    *,
    method: Method | str | None = None,
    template: str | None = None,
    **keywords: Any,
) -> Baseline:
    """Load a bidirectional model or a sentence-transformers model.

    Args:
        name: known name, hub id, folder or GGUF file.
        options: precision, device and pickle format; the default precision is float32, in which these
            models are published. `token_budget` has no effect: sentence-transformers batches texts.
        method: how states become an embedding; None is allowed only for sentence-transformers models,
            which define it.
        template: a key of `MASK_TEMPLATES`, for the method `prompt`; None means the template for the
            model's type.
        **keywords: fields of `LoadOptions`.

    Raises:
        UserError: sentence-transformers is not installed, the weights cannot be loaded, or an option
            does not apply to the model.
    """
    options = LoadOptions.of(options, **keywords)
    source = resolve(name, baselines=True)
    method = _checked_method(method, name)
    _check_options(name, options, method, template)
    if method is None and kind_of(source) is Kind.BIDIRECTIONAL:
        raise UserError(
            f"'{name}' is a bidirectional model and requires --method {' or '.join(Method)}"
        )
    path = str(package_file(source.source) if source.origin is Origin.PACKAGE else source.source)
    model, mask_template, batch_size = _load(path, source, options, method, template)
    record = ModelRecord(
        name=source.name,
        source=describe_package(source.source) if source.origin is Origin.PACKAGE else path,
        revision=_revision(source, path, model),
        precision=(options.precision or Precision.FP32).value,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    return Baseline(model, record, method or "", mask_template, batch_size)


def _load(
    path: str,
    source: ModelSource,
    options: LoadOptions,
    method: Method | None,
    template: str | None,
) -> tuple[SentenceTransformer, MaskTemplate | None, int]:
    """Return the model in `path`, the template for the method `prompt`, and the batch size."""
    name = source.name
    try:
        # Imported here: it loads torch, and options are checked before that.
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise missing_extra(f"'{name}'", "evaluate") from None
    device = options.device or default_device()
    settings = {
        "dtype": dtype_of(options.precision or Precision.FP32, device),
        "use_safetensors": not options.allow_pickle or None,
    }
    mask_template = None
    try:
        with quiet_transformers(), load_errors(source):
            if method is None:
                model = SentenceTransformer(
                    path, device=device, model_kwargs=settings, trust_remote_code=False
                )
                _prepare_saved(model)
                return model, None, find_batch_size(model, name)
            transformer = transformer_module(path, settings)
            # Padding on the left would shift the positions of BERT.
            pad(transformer, "right")
            limit_positions(transformer)
            if method is Method.PROMPT:
                mask_template = find_mask_template(template, transformer, name)
            modules = [transformer, _pooling(transformer, method, name)]
            model = SentenceTransformer(modules=modules, device=device)
            return model, mask_template, find_batch_size(model, name)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot load '{name}': {one_line(error, 300)}") from error


def _prepare_saved(model: SentenceTransformer) -> None:
    """Let the tokenizer of a saved model pad, on its own side, and cut texts at the last position."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    transformer = model[0]
    if isinstance(transformer, Transformer) and transformer.tokenizer is not None:
        pad(transformer, transformer.tokenizer.padding_side)
        limit_positions(transformer)


def _checked_method(method: Method | str | None, name: str) -> Method | None:
    try:
        return None if method is None else Method(method)
    except ValueError:
        known = ", ".join(Method)
        raise UserError(f"method must be one of {known} for '{name}' but got '{method}'") from None


def _check_options(
    name: str, options: LoadOptions, method: Method | None, template: str | None
) -> None:
    for field in ("adapter", "devices"):
        if getattr(options, field) is not None:
            raise UserError(f"{field} requires a decoder-only model, and '{name}' is not one")
    if options.precision is not None and options.precision.quantized:
        raise UserError(
            f"precision must be fp32, bf16 or fp16 for '{name}' but got {options.precision}"
        )
    if template is not None and method is not Method.PROMPT:
        raise UserError(f"template requires --method prompt for '{name}'")


def _pooling(transformer: Transformer, method: Method, name: str) -> torch.nn.Module:
    # Imported here: they load torch.
    from sentence_transformers.sentence_transformer.modules import Pooling

    from demosearch.evaluation.pooling_modules import MaskPooling, PretrainedPooling

    if method is Method.PROMPT:
        return MaskPooling(transformer.tokenizer.mask_token_id)
    if method is Method.POOLER:
        pooler = getattr(transformer.auto_model, "pooler", None)
        if pooler is None:
            raise UserError(
                f"method pooler requires a pooler, and '{name}' has none; use cls or mean"
            )
        return PretrainedPooling(pooler)
    pooling: torch.nn.Module = Pooling(transformer.get_embedding_dimension(), method.value)
    return pooling


def _revision(source: ModelSource, path: str, model: SentenceTransformer) -> str:
    if source.origin is not Origin.HUB and (Path(path) / MODULES_FILE).is_file():
        return folder_hash(Path(path), MODULES_FILE, deep=True)
    return revision_of(source, model[0].auto_model.config)
