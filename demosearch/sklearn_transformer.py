"""For existing imports; see `demosearch.integrations.sklearn_transformer`."""

from demosearch.integrations.sklearn_transformer import EmbeddingTransformer as EmbeddingTransformer
