"""The kinds of models that can be evaluated."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from demosearch._common.progress import quiet_transformers
from demosearch.models.known import KNOWN_BASELINES, ModelSource, Origin
from demosearch.models.source import load_errors

# The file that sentence-transformers writes into a model's folder.
MODULES_FILE = "modules.json"


class Kind(StrEnum):
    """The architecture of a model, as far as it determines how embeddings are computed."""

    DECODER = "decoder"
    BIDIRECTIONAL = "bidirectional"
    SENTENCE_TRANSFORMER = "sentence-transformer"


def kind_of(source: ModelSource) -> Kind:
    """Return the kind of a model from its files, without loading its weights.

    Raises:
        UserError: its configuration cannot be read.
    """
    if source.name in KNOWN_BASELINES:
        return Kind.SENTENCE_TRANSFORMER
    if source.origin.is_file:
        return Kind.DECODER
    if _has_modules(source):
        return Kind.SENTENCE_TRANSFORMER
    # Imported here: options are checked before transformers is loaded.
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    with quiet_transformers(), load_errors(source):
        config = AutoConfig.from_pretrained(source.source, trust_remote_code=False)
    bidirectional = (
        config.is_encoder_decoder or config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    return Kind.BIDIRECTIONAL if bidirectional else Kind.DECODER


def _has_modules(source: ModelSource) -> bool:
    """Whether the model has a modules.json, i.e. was saved by sentence-transformers."""
    if source.origin is Origin.FOLDER:
        return (Path(source.source) / MODULES_FILE).is_file()
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        hf_hub_download(source.source, MODULES_FILE)
    except (OSError, ValueError, HfHubHTTPError):
        # Either offline or without this file; an error while reading the configuration says which.
        return False
    return True
