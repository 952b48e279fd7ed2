"""Embeddings as a step in a scikit-learn pipeline.

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from demosearch.integrations.sklearn_transformer import EmbeddingTransformer

    classifier = make_pipeline(EmbeddingTransformer("demonstrations.json"), LogisticRegression())

Requires the extra `evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from demosearch._common.containers import as_texts, check_container
from demosearch.embedder import Embedder
from demosearch.errors import UserError
from demosearch.models.options import LoadOptions
from demosearch.templates import DEFAULT_TEMPLATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transforms texts to embeddings; `fit` only loads the model.

    Args:
        demonstrations: a `demonstrations.json`, or `"paper"` or `"best"` as in `Embedder.load`; None
            means a template without demonstrations.
        model: known name, hub id, folder or GGUF file. With demonstrations, the location of the same weights if it
            differs from the file's.
        template: name or YAML file of a template; not used with demonstrations.
        layer: index into `hidden_states`; None means the file's layer, or the last one.
        adapter: folder or hub id of a LoRA adapter.
        precision: None means the file's precision, or the fastest one on the device.
        device: a torch device; None means a GPU if there is one.
        normalize: scale each embedding to length 1.
        postprocess: apply the file's post-processing, which helps similarity and harms classifiers.
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
        postprocess: bool = False,
    ) -> None:
        self.demonstrations = demonstrations
        self.model = model
        self.template = template
        self.layer = layer
        self.adapter = adapter
        self.precision = precision
        self.device = device
        self.normalize = normalize
        self.postprocess = postprocess

    def fit(self, texts: Iterable[str], labels: Any = None) -> Self:
        """Load the model; texts and labels are not used.

        Raises:
            UserError: neither demonstrations nor a model is set, loading fails, or `texts` is not a
                container of texts.
        """
        # An iterator is read by `transform`.
        check_container(texts)
        del texts, labels
        options = LoadOptions.of(adapter=self.adapter, precision=self.precision, device=self.device)
        if self.demonstrations is not None:
            self.embedder_ = Embedder.load(
                self.demonstrations, options, model=self.model, layer=self.layer
            )
        elif self.model is not None:
            self.embedder_ = Embedder.without_demonstrations(
                self.model, options, template=self.template, layer=self.layer
            )
        else:
            raise UserError(
                "EmbeddingTransformer requires demonstrations or a model; set one of them"
            )
        return self

    def transform(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the embeddings, float32 (texts, width).

        Args:
            texts: a list, tuple, Series, one-dimensional array or iterator of texts. Of a table, select one
                column: `ColumnTransformer([("text", step, "text")])`.

        Raises:
            NotFittedError: `fit` was not called.
            UserError: `texts` is another container, e.g. a lone text, or an item is not a text.
        """
        check_is_fitted(self)
        return self.embedder_.encode(
            as_texts(texts), normalize_embeddings=self.normalize, postprocess=self.postprocess
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "embedder_")
