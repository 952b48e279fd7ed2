"""sentence-transformers' trainer, with what it gets wrong about adapters put right."""

from __future__ import annotations

from pathlib import Path

from sentence_transformers import SentenceTransformerTrainer

ADAPTER_FILE = "adapter_model.safetensors"


class AdapterTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """Restores checkpoints of an adapter into the model that is being trained.

    The library builds the whole model again from the checkpoint, without the settings it was loaded
    with: over a base in 4 bits the shapes then differ, so that the best checkpoint is not restored (it
    only logs an error and keeps the last) and a training cannot go on. It also holds the base twice.
    """

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        weights = load_file(Path(checkpoint_path) / ADAPTER_FILE)
        model = self.model[0].auto_model
        result = set_peft_model_state_dict(model, weights, adapter_name=model.active_adapters()[0])
        if unexpected := getattr(result, "unexpected_keys", None):
            raise ValueError(
                f"{checkpoint_path} is no checkpoint of this training: {unexpected[0]}"
            )
