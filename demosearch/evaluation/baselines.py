"""What the paper compares with: models that read in both directions, and sentence-transformers models.

BERT, RoBERTa and T5's encoder by the mean of their states, by the first token's, or by that of a mask
in a prompt; and anything that sentence-transformers saved, as it is. sentence-transformers runs them:
only the search's own model needs the fast encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demosearch._common.progress import bar, quiet_transformers
from demosearch.errors import UserError, one_line
from demosearch.models.known import KNOWN_BASELINES, ModelSource, Origin, Precision, resolve
from demosearch.models.packaged import describe_package, package_file
from demosearch.models.precision import arithmetic_of, default_device, dtype_of
from demosearch.models.records import ModelRecord
from demosearch.models.revision import folder_hash, revision_of
from demosearch.models.source import load_errors
from demosearch.models.transformer_module import transformer_module

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

TEXT, MASK = "{text}", "{mask}"
CHUNK = 2048


class Method(StrEnum):
    """How a model's states become an embedding.

    `prompt` is the last token's state in a prompt for a decoder, the mask's for the others. `pooler`
    is the first token's state after the layer that BERT was pretrained with on top of it: what
    supervised SimCSE was trained with.
    """

    PROMPT = "prompt"
    MEAN = "mean"
    CLS = "cls"
    POOLER = "pooler"


class Kind(StrEnum):
    """What a model is."""

    DECODER = "decoder"
    BIDIRECTIONAL = "bidirectional"
    SENTENCE_TRANSFORMER = "sentence-transformer"


@dataclass(frozen=True, slots=True)
class MaskTemplate:
    """A prompt whose mask's state is the embedding.

    Attributes:
        name: how commands and files call it.
        query: with `{text}` and `{mask}`.
        source: where the wording comes from.
    """

    name: str
    query: str
    source: str

    def render(self, text: str, mask: str) -> str:
        """Return the prompt; a full stop ends the text as the authors' code has it."""
        if text and text[-1] not in ".?\"'":
            text += "."
        head, _, tail = self.query.partition(TEXT)
        return head + text + tail.replace(MASK, mask)


_PROMPTBERT = "arXiv 2201.04337, and its authors' code"
MASK_TEMPLATES: dict[str, MaskTemplate] = {
    template.name: template
    for template in (
        MaskTemplate("bert-prompt", 'This sentence : "{text}" means{mask}.', _PROMPTBERT),
        MaskTemplate("promptbert", 'This sentence of "{text}" means{mask}.', _PROMPTBERT),
        MaskTemplate("promptroberta", "This sentence : ' {text} ' means{mask}.", _PROMPTBERT),
    )
}


class Baseline:
    """A sentence-transformers model with the interface of an `Embedder`.

    Args:
        student: the model; its modules end in a sentence embedding.
        record: what its weights are.
        method: how its states become an embedding; empty where its own folder says that.
        template: what texts are put into, if anything.
    """

    def __init__(
        self,
        student: SentenceTransformer,
        record: ModelRecord,
        method: str = "",
        template: MaskTemplate | None = None,
    ) -> None:
        self.student = student
        self.record = record
        self.method = method
        self.template = template

    @property
    def arithmetic(self) -> str:
        """The kind of device and the number format in which states are computed."""
        return arithmetic_of(self.student.device, self.student.dtype)

    def describe(self) -> dict[str, Any]:
        """Return all that decides an embedding, as JSON takes it."""
        template = self.template
        return {
            "model": self.record.identity(),
            "adapter": None,
            "prompts": [],
            "method": self.method or "sentence-transformers",
            "template": template.query if template else None,
        }

    def encode(
        self, sentences: Sequence[str], *, show_progress_bar: bool = False
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts, float32 (len(sentences), width)."""
        texts = list(sentences)
        if self.template is not None:
            texts = [self._prompt(text, self.template) for text in texts]
        done = []
        with bar("encoding", len(texts), show=show_progress_bar) as progress, quiet_transformers():
            for start in range(0, len(texts), CHUNK):
                part = texts[start : start + CHUNK]
                done.append(np.asarray(self.student.encode(part, show_progress_bar=False)))
                progress.advance(len(part))
        if not done:
            return np.zeros((0, self.student.get_embedding_dimension() or 0), dtype=np.float32)
        return np.concatenate(done).astype(np.float32)

    def _prompt(self, text: str, template: MaskTemplate) -> str:
        """Return the text in the prompt; a text too long for both is cut, so that the mask stays."""
        tokenizer = self.student.tokenizer
        whole = template.render(text, tokenizer.mask_token)
        excess = len(tokenizer(whole)["input_ids"]) - int(self.student.max_seq_length or 1 << 30)
        if excess <= 0:
            return whole
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        # One more, as a cut text may gain a full stop.
        return template.render(tokenizer.decode(ids[: -excess - 1]), tokenizer.mask_token)


def kind_of(source: ModelSource) -> Kind:
    """Find out what a model is from its files, without its weights.

    Raises:
        UserError: its configuration cannot be read.
    """
    if source.name in KNOWN_BASELINES:
        return Kind.SENTENCE_TRANSFORMER
    if source.origin is Origin.PACKAGE:
        return Kind.DECODER
    if _has_modules(source):
        return Kind.SENTENCE_TRANSFORMER
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    with quiet_transformers(), load_errors(source):
        config = AutoConfig.from_pretrained(source.source, trust_remote_code=False)
    both = config.is_encoder_decoder or config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return Kind.BIDIRECTIONAL if both else Kind.DECODER


def open_baseline(
    model: str,
    *,
    method: Method | str | None = None,
    template: str | None = None,
    precision: Precision | str | None = None,
    device: str | None = None,
    allow_pickle: bool = False,
) -> Baseline:
    """Load a model that reads in both directions, or a sentence-transformers model.

    Args:
        model: hub id or folder.
        method: how states become an embedding; None only for a sentence-transformers model, which
            says it itself.
        template: for the method `prompt`: one of `MASK_TEMPLATES`; None is the one for its type.
        precision: None is float32, in which these models are published.
        device: None chooses a GPU where there is one.
        allow_pickle: also read weights that are no safetensors.

    Raises:
        UserError: sentence-transformers is missing, the weights cannot be loaded, or the method does
            not fit the model.
    """
    source = resolve(model, baselines=True)
    kind = kind_of(source)
    place = str(package_file(source.source) if source.origin is Origin.PACKAGE else source.source)
    if kind is Kind.BIDIRECTIONAL and method is None:
        raise UserError(f"'{model}' reads in both directions; say --method {' or '.join(Method)}")
    if template is not None and method != Method.PROMPT:
        raise UserError("--template: for a model that is no decoder it goes with --method prompt")
    device = device or default_device()
    precision = Precision(precision or Precision.FP32)
    if precision.quantized:
        raise UserError(f"--precision {precision}: '{model}' takes fp32, bf16 or fp16")
    options = {"dtype": dtype_of(precision, device), "use_safetensors": not allow_pickle or None}
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise UserError(
            f"'{model}' needs sentence-transformers; run: pip install 'demosearch[evaluate]'"
        ) from None
    chosen: MaskTemplate | None = None
    try:
        with quiet_transformers(), load_errors(source):
            if method is None:
                student = SentenceTransformer(
                    place, device=device, model_kwargs=options, trust_remote_code=False
                )
            else:
                method = Method(method)
                transformer = transformer_module(place, options)
                if method is Method.PROMPT:
                    chosen = _mask_template(transformer, template, model)
                pooling = _pooling(transformer, method, model)
                student = SentenceTransformer(modules=[transformer, pooling], device=device)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot load '{model}': {one_line(error, 300)}") from error
    record = ModelRecord(
        name=source.name,
        source=describe_package(source.source) if source.origin is Origin.PACKAGE else place,
        revision=_revision(source, place, student),
        precision=precision.value,
        parameters=sum(parameter.numel() for parameter in student.parameters()),
    )
    return Baseline(student, record, method or "", chosen)


def _pooling(transformer: Transformer, method: Method, model: str) -> torch.nn.Module:
    from sentence_transformers.sentence_transformer.modules import Pooling

    if method in (Method.MEAN, Method.CLS):
        pooling: torch.nn.Module = Pooling(transformer.get_embedding_dimension(), method.value)
        return pooling
    if method is Method.PROMPT:
        return _at_mask(transformer.tokenizer.mask_token_id)
    pooler = getattr(transformer.auto_model, "pooler", None)
    if pooler is None:
        raise UserError(f"--method {method}: '{model}' has no pooler; take cls or mean")
    return _through(pooler)


def _at_mask(mask: int) -> torch.nn.Module:
    import torch

    class MaskPooling(torch.nn.Module):
        """Takes the state of each text's last mask: a mask in the text itself stands before it."""

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            ids, states = features["input_ids"], features["token_embeddings"]
            places = torch.arange(ids.shape[1], device=ids.device) * (ids == mask)
            rows = torch.arange(len(ids), device=ids.device)
            features["sentence_embedding"] = states[rows, places.argmax(dim=1)]
            return features

    return MaskPooling()


def _through(pooler: torch.nn.Module) -> torch.nn.Module:
    import torch

    class PretrainedPooler(torch.nn.Module):
        """Puts the first token's state through the layer the model was pretrained with."""

        def __init__(self) -> None:
            super().__init__()
            self.pooler = pooler

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            features["sentence_embedding"] = self.pooler(features["token_embeddings"])
            return features

    return PretrainedPooler()


def _mask_template(transformer: Transformer, name: str | None, model: str) -> MaskTemplate:
    if transformer.tokenizer.mask_token is None:
        raise UserError(f"--method prompt: '{model}' has no mask token; take mean")
    if name is None:
        roberta = "roberta" in transformer.auto_model.config.model_type
        return MASK_TEMPLATES["promptroberta" if roberta else "bert-prompt"]
    if name not in MASK_TEMPLATES:
        raise UserError(f"unknown mask template '{name}'; known: {', '.join(MASK_TEMPLATES)}")
    return MASK_TEMPLATES[name]


def _has_modules(source: ModelSource) -> bool:
    """Whether there is a modules.json, which sentence-transformers writes."""
    if source.origin is Origin.FOLDER:
        return (Path(source.source) / "modules.json").is_file()
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        hf_hub_download(source.source, "modules.json")
    except (OSError, ValueError, HfHubHTTPError):
        # Offline, or none there: reading the configuration says which.
        return False
    return True


def _revision(source: ModelSource, place: str, student: SentenceTransformer) -> str:
    if source.origin is not Origin.HUB and (Path(place) / "modules.json").is_file():
        return folder_hash(Path(place), "modules.json", deep=True)
    return revision_of(source, student[0].auto_model.config)
