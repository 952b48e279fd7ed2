"""Embeddings as a step of a scikit-learn pipeline.

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from demosearch.integrations.sklearn_transformer import EmbeddingTransformer

    classifier = make_pipeline(EmbeddingTransformer("demonstrations.json"), LogisticRegression())

Needs the extra `evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from demosearch.embedder import Embedder
from demosearch.errors import UserError
from demosearch.templates import DEFAULT_TEMPLATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns texts into embeddings; there is nothing to fit but to load the model.

    Args:
        demonstrations: a `demonstrations.json`; None embeds under a plain template.
        model: known name, hub id or folder; with demonstrations, where the weights are if elsewhere.
        template: without demonstrations, the template's name or YAML file.
        layer: index into `hidden_states`; None is the file's, or the last.
        adapter: folder or hub id of a LoRA.
        precision: None is the file's, or the fastest for the device.
        device: a torch device; None chooses a GPU where there is one.
        normalize: scale every embedding to length 1.
    """

    def __init__(
        self,
        demonstrations: str | None = None,
        *,
        model: str | None = None,
        template: str = DEFAULT_TEMPLATE,
        layer: int | None = None,
        adapter: str | None = None,
        precision: str | None = None,
        device: str | None = None,
        normalize: bool = False,
    ) -> None:
        self.demonstrations = demonstrations
        self.model = model
        self.template = template
        self.layer = layer
        self.adapter = adapter
        self.precision = precision
        self.device = device
        self.normalize = normalize

    def fit(self, texts: Iterable[str], labels: Any = None) -> Self:
        """Load the model; texts and labels are not looked at.

        Raises:
            UserError: neither demonstrations nor model, or they cannot be loaded.
        """
        del texts, labels
        options: dict[str, Any] = {
            "layer": self.layer,
            "adapter": self.adapter,
            "precision": self.precision,
            "device": self.device,
        }
        if self.demonstrations is not None:
            self.embedder_ = Embedder.load(self.demonstrations, model=self.model, **options)
        elif self.model is not None:
            self.embedder_ = Embedder.without_demonstrations(
                self.model, template=self.template, **options
            )
        else:
            raise UserError("give demonstrations or a model")
        return self

    def transform(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the embeddings, float32 (texts, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        return self.embedder_.encode(list(texts), normalize_embeddings=self.normalize)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "embedder_")
