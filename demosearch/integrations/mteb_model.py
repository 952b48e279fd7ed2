"""An embedder or a baseline as a model for `mteb.evaluate`.

    import mteb
    from demosearch import Embedder
    from demosearch.integrations.mteb_model import MtebModel

    model = MtebModel(Embedder.load("demonstrations.json"))
    results = mteb.evaluate(model, mteb.get_tasks(tasks=["STSBenchmark"]))

Requires the extra `mteb`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType

from demosearch._common.containers import as_texts
from demosearch.errors import UserError
from demosearch.evaluation.result import SystemRecord
from demosearch.models.finite import checked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from demosearch.evaluation.scoring import System

OWNER = "demosearch"
# Types of tasks that train a classifier, for which post-processing is left out.
CLASSIFIERS = ("Classification", "MultilabelClassification")


class MtebModel(AbsEncoder):
    """An mteb model that computes embeddings with an embedder or a baseline.

    mteb stores results by a model's name and revision. The revision is a hash of everything that
    determines an embedding, so that two prompts of one model have separate results. mteb's prompts are
    not used, because the embedder has its own.

    Args:
        system: an `Embedder` or a `Baseline`.
    """

    def __init__(self, system: System) -> None:
        self.model = system
        self._has_postprocess = getattr(system, "postprocess", None) is not None
        described = system.describe()
        record = SystemRecord.model_validate(described)
        self._precision = record.model.precision
        text = json.dumps(described, sort_keys=True).encode()
        self.mteb_model_meta = ModelMeta(
            loader=None,
            # mteb requires owner/name, and a hub id contains a slash of its own.
            name=f"{OWNER}/{record.model.name.replace('/', '__')}",
            revision=hashlib.sha256(text).hexdigest()[:16],
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=None,
            embed_dim=None,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name="cosine",
            use_instructions=True,
            training_datasets=None,
            experiment_kwargs={"system": record.label},
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Return the embeddings of all texts in mteb's batches, float32 (texts, width).

        Raises:
            UserError: a batch has no texts, but images, for example; or an embedding is not finite.
        """
        del hf_split, hf_subset, prompt_type, kwargs
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                raise UserError(
                    f"the inputs of an mteb task must be texts but got {', '.join(batch) or 'none'};"
                    " choose a task of texts"
                )
            texts += as_texts(batch["text"])
        left_out = self._has_postprocess and task_metadata.type in CLASSIFIERS
        plain = {"postprocess": False} if left_out else {}
        return checked(self.model.encode(texts, **plain), texts, self._precision)
