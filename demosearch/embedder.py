"""Embedding texts under the prompts that a search has chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from demosearch._common.containers import as_texts
from demosearch._common.progress import bar
from demosearch._common.vectors import ZEROS_STAY, normalized, zero_rows
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.encoder.replicas import Replicas, open_encoder
from demosearch.errors import UserError
from demosearch.known_demonstrations import KnownDemonstrations, is_known, known_demonstrations
from demosearch.metrics.similarity import averaged
from demosearch.models.adapter import check_adapter
from demosearch.models.finite import checked
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions
from demosearch.models.records import ModelRecord
from demosearch.models.source import check_revision, read_config
from demosearch.postprocess import Postprocess
from demosearch.prompt import Prompt
from demosearch.templates import DEFAULT_TEMPLATE, find_templates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from demosearch.encoder.encoder import Encoder

logger = logging.getLogger(__name__)


class Embedder:
    """An encoder with its prompts.

    With one prompt an embedding is the state of the model, unchanged. With several prompts it is the
    weighted mean of the normalized states. Post-processing comes last.

    Args:
        encoder: the model.
        prompts: at least one prompt.
        weights: the weight of each prompt; None gives all prompts the same weight.
        postprocess: applied to every embedding; None if nothing is.

    Raises:
        UserError: there is no prompt, or the weights are not one finite positive number for each.
    """

    def __init__(
        self,
        encoder: Encoder | Replicas,
        prompts: Sequence[Prompt],
        weights: Sequence[float] | None = None,
        postprocess: Postprocess | None = None,
    ) -> None:
        self.encoder = encoder
        self.prompts = tuple(prompts)
        self.weights = list(weights) if weights is not None else [1.0] * len(self.prompts)
        self.postprocess = postprocess
        self._warned_of_zeros = False
        if not self.prompts:
            raise UserError("prompts must contain at least one prompt")
        if len(self.weights) != len(self.prompts):
            raise UserError(
                f"weights must be one number for each of {len(self.prompts)} prompts but got"
                f" {len(self.weights)}"
            )
        if not all(0 < weight < np.inf for weight in self.weights):
            raise UserError(f"weights must be finite and positive but got {self.weights}")

    @classmethod
    def load(
        cls,
        demonstrations: str | Path | DemonstrationsFile | KnownDemonstrations,
        options: LoadOptions | None = None,
        *,
        model: str | None = None,
        layer: int | None = None,
        allow_other_model: bool = False,
        **keywords: Any,
    ) -> Embedder:
        """Load a model with the prompts of a demonstrations file, or with known demonstrations.

        Args:
            demonstrations: a `demonstrations.json`, or its contents; or `"paper"` for the demonstration that
                the paper chose for an OPT model of this size, `"best"` for the best one of our own
                searches, or the entry of another model, e.g. `"paper:opt-2.7b"`. A file of that name is
                reached as `"./paper"`, or as a `Path`.
            options: how the model is loaded; precision and adapter default to those of the file.
            model: name or folder of the same weights, if they have moved; with `"paper"` or `"best"`, the
                model.
            layer: index into `hidden_states` that replaces the file's layer; not with post-processing,
                which belongs to a layer.
            allow_other_model: accept weights other than those the demonstrations were chosen for.
            **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

        Raises:
            UserError: the file is not valid, or its weights or adapter are not those that were loaded, or
                there are no known demonstrations for the model.
        """
        options = LoadOptions.of(options, **keywords)
        if isinstance(demonstrations, str) and is_known(demonstrations):
            demonstrations = known_demonstrations(
                demonstrations, model, allow_other_model=allow_other_model
            )
        if isinstance(demonstrations, KnownDemonstrations):
            if not allow_other_model:
                demonstrations.check_model(model, can_be_allowed=True)
            prompt = demonstrations.prompt
            encoder = open_encoder(model or demonstrations.model, options)
            return cls(encoder, [prompt if layer is None else replace(prompt, layer=layer)])
        path: str | Path
        if isinstance(demonstrations, DemonstrationsFile):
            file, path = demonstrations, "the demonstrations file"
        else:
            file, path = DemonstrationsFile.read(demonstrations), demonstrations
        if layer is not None and file.postprocess is not None:
            raise UserError(
                f"layer must not be set because the post-processing of {path} was fitted at the file's"
                " layer; leave it out"
            )
        name = model or file.model.name
        if not (allow_other_model or name == file.model.name or _is_same(name, file.model)):
            raise UserError(
                f"{path} was made for model '{file.model.name}' but got '{name}'; search with this"
                " model, or use --allow-other-model"
            )
        adapter = options.adapter
        defaults = {
            "precision": options.precision or file.model.precision,
            "adapter": adapter or (file.adapter.source if file.adapter else None),
        }
        encoder = open_encoder(name, options, **defaults)
        if not allow_other_model:
            hint = ", or use --allow-other-model"
            check_revision(file.model, encoder.record.revision, path, name=name, hint=hint)
        if not adapter:
            check_adapter(file.adapter, encoder.adapter, path)
        prompts = [Prompt.of(record, layer) for record in file.prompts]
        weights = [record.weight for record in file.prompts]
        return cls(encoder, prompts, weights, file.postprocessing)

    @classmethod
    def without_demonstrations(
        cls,
        model: str,
        options: LoadOptions | None = None,
        *,
        template: str = DEFAULT_TEMPLATE,
        layer: int | None = None,
        **keywords: Any,
    ) -> Embedder:
        """Load a model with a template and no demonstrations.

        Args:
            model: known name, hub id, folder or GGUF file.
            options: how the model is loaded.
            template: a known template or a YAML file. If the name stands for several prompts (MetaEOL),
                embeddings are the mean over them.
            layer: index into `hidden_states`; None is the last.
            **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

        Raises:
            UserError: the model or template is unknown or cannot be loaded.
        """
        prompts = [Prompt(template, layer=layer) for template in find_templates(template)]
        return cls(open_encoder(model, options, **keywords), prompts)

    @property
    def arithmetic(self) -> str:
        """The kind of device and the type of computation, which decide the last digits."""
        return self.encoder.arithmetic

    def describe(self) -> dict[str, Any]:
        """Return everything that determines an embedding as JSON values: model, adapter, prompts."""
        encoder = self.encoder
        return {
            "model": encoder.record.identity(),
            "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
            "prompts": [
                prompt.record(encoder.resolve_layer(prompt.layer), weight).model_dump()
                for prompt, weight in zip(self.prompts, self.weights, strict=True)
            ],
            "method": "mean" if self.prompts[0].template.name == "mean" else "prompt",
            **(
                {"postprocess": self.postprocess.record.model_dump(mode="json")}
                if self.postprocess
                else {}
            ),
        }

    @overload
    def encode(
        self,
        sentences: str | Iterable[str],
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        *,
        normalize_embeddings: bool = ...,
        postprocess: bool = ...,
    ) -> NDArray[np.float32]: ...

    @overload
    def encode(
        self,
        sentences: str | Iterable[str],
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        *,
        normalize_embeddings: bool = ...,
        convert_to_tensor: bool,
        postprocess: bool = ...,
    ) -> NDArray[np.float32] | torch.Tensor: ...

    def encode(
        self,
        sentences: str | Iterable[str],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        *,
        normalize_embeddings: bool = False,
        convert_to_tensor: bool = False,
        postprocess: bool = True,
    ) -> NDArray[np.float32] | torch.Tensor:
        """Return embeddings; the keywords are those of sentence-transformers.

        Args:
            sentences: one text, or a list, tuple, Series, one-dimensional array or iterator of texts.
            batch_size: accepted and ignored; batches are formed by tokens, not by sentences.
            show_progress_bar: show a progress bar on standard error.
            normalize_embeddings: scale every row to length 1.
            convert_to_tensor: return a torch tensor instead of an array.
            postprocess: whether post-processing is applied; classifiers do better without it.

        Returns:
            float32 (len(sentences), width); (width,) for one text.

        Raises:
            UserError: `sentences` is another container, such as a dictionary, a table or a set, or an
                item is not a text, or an embedding is not finite; the message names its row.
        """
        del batch_size
        single = isinstance(sentences, str)
        texts = as_texts([sentences] if isinstance(sentences, str) else sentences)
        with bar("encoding", len(texts) * len(self.prompts), show=show_progress_bar) as progress:
            states = [self._states(texts, prompt, progress.advance) for prompt in self.prompts]
        embeddings = averaged(states, self.weights)
        if self.postprocess is not None and postprocess:
            embeddings = self.postprocess.apply(embeddings)
            embeddings = checked(embeddings, texts, self.encoder.record.precision, "the output")
        if normalize_embeddings:
            self._warn_of_zeros(embeddings, texts)
            embeddings = normalized(embeddings)
        result = embeddings[0] if single else embeddings
        if convert_to_tensor:
            return torch.from_numpy(np.ascontiguousarray(result))
        return result

    def _states(
        self, texts: list[str], prompt: Prompt, advance: Callable[[int], None]
    ) -> NDArray[np.float32]:
        states = self.encoder.encode(texts, prompt, advance=advance)
        where = f"layer {self.encoder.resolve_layer(prompt.layer)}"
        return checked(states, texts, self.encoder.record.precision, where)

    def _warn_of_zeros(self, embeddings: NDArray[np.float32], texts: Sequence[str]) -> None:
        """Log a warning the first time that an embedding of zeros is to be normalized."""
        zeros = zero_rows(embeddings)
        if len(zeros) and not self._warned_of_zeros:
            self._warned_of_zeros = True
            logger.warning(ZEROS_STAY, len(zeros), len(texts), zeros[0] + 1)


def _is_same(name: str, record: ModelRecord) -> bool:
    """Whether a model has the weights of a record."""
    _, revision = read_config(resolve(name))
    return bool(revision) and revision == record.revision
