"""Putting a search's result to use: texts in, embeddings out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from demosearch._common.progress import bar
from demosearch.demonstrations_file import DemonstrationsFile, mean_sha256
from demosearch.encoder.replicas import Replicas, open_encoder
from demosearch.errors import UserError
from demosearch.metrics.similarity import averaged, normalised
from demosearch.models.known import resolve
from demosearch.models.loading import read_config
from demosearch.models.options import LoadOptions
from demosearch.models.records import ModelRecord
from demosearch.prompt import Prompt
from demosearch.templates import DEFAULT_TEMPLATE, find_templates

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from demosearch.encoder.encoder import Encoder


class Embedder:
    """An encoder with the prompts it embeds under.

    Under one prompt an embedding is the model's state as it is. Under several it is the weighted
    mean of the normalised states.

    Args:
        encoder: the model.
        prompts: at least one prompt.
        weights: one a prompt; None weighs them alike.
        mean: subtracted from every embedding, float32 (width,).
    """

    def __init__(
        self,
        encoder: Encoder | Replicas,
        prompts: Sequence[Prompt],
        weights: Sequence[float] | None = None,
        mean: NDArray[np.float32] | None = None,
    ) -> None:
        self.encoder = encoder
        self.prompts = tuple(prompts)
        self.weights = list(weights) if weights is not None else [1.0] * len(self.prompts)
        self.mean = mean

    @classmethod
    def load(
        cls,
        path: str | Path | DemonstrationsFile,
        options: LoadOptions | None = None,
        *,
        model: str | None = None,
        layer: int | None = None,
        allow_other_model: bool = False,
        **keywords: Any,
    ) -> Embedder:
        """Load what a demonstrations file describes.

        Args:
            path: a `demonstrations.json`, or its contents.
            options: how the model is loaded; precision and adapter default to the file's.
            model: where the same weights are, if not where the file says.
            layer: index into `hidden_states` instead of the file's.
            allow_other_model: use the demonstrations with other weights than they were chosen for.
            **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

        Raises:
            UserError: the file is not valid, or the weights are not the file's.
        """
        options = LoadOptions.of(options, **keywords)
        if isinstance(path, DemonstrationsFile):
            file, path = path, "the demonstrations file"
        else:
            file = DemonstrationsFile.read(path)
        name = model or file.model.name
        if not (allow_other_model or name == file.model.name or _is_same(name, file.model)):
            raise UserError(
                f"{path} was made for model '{file.model.name}', not '{name}'; search for this"
                " model, or say --allow-other-model"
            )
        adapter = options.adapter
        chosen = {
            "precision": options.precision or file.model.precision,
            "adapter": adapter or (file.adapter.source if file.adapter else None),
        }
        encoder = open_encoder(name, options, **chosen)
        theirs, ours = file.model.revision, encoder.record.revision
        if theirs and ours and theirs != ours and not allow_other_model:
            raise UserError(
                f"{path} was made for other weights of '{name}' (revision {theirs[:20]}, here"
                f" {ours[:20]}); search again, or say --allow-other-model"
            )
        if file.adapter and not adapter and encoder.adapter != file.adapter:
            raise UserError(
                f"{path} was made with the adapter {file.adapter.source} of revision"
                f" {file.adapter.revision[:20]}; there is another now"
            )
        prompts = [Prompt.of(record, layer) for record in file.prompts]
        return cls(encoder, prompts, [record.weight for record in file.prompts], file.mean)

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
        """Load a model with a template as it is.

        Args:
            model: known name, hub id or folder.
            options: how the model is loaded.
            template: a known template or a YAML file; under a name that stands for several prompts
                (MetaEOL) the embedding is the mean over them.
            layer: index into `hidden_states`; None is the last.
            **keywords: fields of `LoadOptions`, e.g. `precision="bf16"`.

        Raises:
            UserError: the model or template is unknown or cannot be loaded.
        """
        templates = find_templates(template)
        encoder = open_encoder(model, options, **keywords)
        return cls(encoder, [Prompt(each, layer=layer) for each in templates])

    @property
    def arithmetic(self) -> str:
        """What decides an embedding's last digits: the kind of device, the number format."""
        return self.encoder.arithmetic

    def describe(self) -> dict[str, Any]:
        """Return all that decides an embedding, as JSON takes it: model, adapter, prompts."""
        encoder = self.encoder
        return {
            "model": encoder.record.identity(),
            "adapter": encoder.adapter.model_dump() if encoder.adapter else None,
            "prompts": [
                prompt.record(encoder.resolve_layer(prompt.layer), weight).model_dump()
                for prompt, weight in zip(self.prompts, self.weights, strict=True)
            ],
            "method": "mean" if self.prompts[0].template.name == "mean" else "prompt",
            **({} if self.mean is None else {"mean": mean_sha256(self.mean)}),
        }

    @overload
    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        *,
        normalize_embeddings: bool = ...,
    ) -> NDArray[np.float32]: ...

    @overload
    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        *,
        normalize_embeddings: bool = ...,
        convert_to_tensor: bool,
    ) -> NDArray[np.float32] | torch.Tensor: ...

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        *,
        normalize_embeddings: bool = False,
        convert_to_tensor: bool = False,
    ) -> NDArray[np.float32] | torch.Tensor:
        """Return embeddings, with sentence-transformers' keywords.

        Args:
            sentences: texts, or one text.
            batch_size: accepted and not used: batches are made by tokens, not by sentences.
            show_progress_bar: draw a bar on standard error.
            normalize_embeddings: scale every row to length 1.
            convert_to_tensor: return a torch tensor instead of an array.

        Returns:
            float32 (len(sentences), width); (width,) for one text.
        """
        del batch_size
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        with bar("encoding", len(texts) * len(self.prompts), show=show_progress_bar) as progress:
            states = [
                self.encoder.encode(texts, prompt, advance=progress.advance)
                for prompt in self.prompts
            ]
        embeddings = averaged(states, self.weights)
        if self.mean is not None:
            embeddings = embeddings - self.mean
        if normalize_embeddings:
            embeddings = normalised(embeddings)
        result = embeddings[0] if single else embeddings
        if convert_to_tensor:
            import torch

            return torch.from_numpy(np.ascontiguousarray(result))
        return result


def _is_same(name: str, record: ModelRecord) -> bool:
    """Whether the weights of another name are those of the record."""
    _, revision = read_config(resolve(name))
    return bool(revision) and revision == record.revision
