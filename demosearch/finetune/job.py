"""A fine-tuning job: sentence-transformers' trainer and loss, PEFT's LoRA, our prompt."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.files import sha256, write_json
from demosearch._common.progress import bar, quiet_transformers
from demosearch._common.versions import versions
from demosearch.datasets.pairs import Pairs
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError
from demosearch.finetune.checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    reported_failures,
    write_start,
)
from demosearch.finetune.curve import DEV, DEV_SCORE, learning_curve, write_curve
from demosearch.finetune.rows import Row, columns_of, rendered_rows
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.training_record import TRAINING_FILE, Training
from demosearch.models.choice import automatic_precision
from demosearch.models.known import Precision, resolve
from demosearch.models.options import LoadOptions
from demosearch.models.precision import default_device
from demosearch.models.source import read_config
from demosearch.prompt import Prompt

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training with everything that decides it.

    Attributes:
        model: known name, hub id, folder or GGUF file.
        revision: of the weights.
        precision: of the frozen weights.
        device: a torch device.
        layers: number of layers of the model.
        rows: the training data.
        rows_sha256: its hash.
        prompt: its layer is None for the last one.
        dev: the dev pairs.
        settings: of the training.
        options: how the model is loaded.
        identity: hash of everything that decides the training.
    """

    model: str
    revision: str
    precision: Precision
    device: str
    layers: int
    rows: Sequence[Row]
    rows_sha256: str
    prompt: Prompt
    dev: Pairs | None
    settings: FinetuneSettings
    options: LoadOptions
    identity: str

    @classmethod
    def of(
        cls,
        model: str,
        rows: Sequence[Row],
        prompt: Prompt,
        dev: Pairs | None,
        settings: FinetuneSettings,
        options: LoadOptions,
    ) -> TrainingJob:
        """Return the job with its device, precision and hashes.

        Raises:
            UserError: the model is unknown, or has no such layer.
        """
        device = options.device or default_device()
        if tensor_parallel.processes() > 1 and device.startswith("cuda"):
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        source = resolve(model)
        precision = settings.precision or automatic_precision(source, device)
        config, revision = read_config(source)
        rows_sha256 = sha256("\x1f".join(row) for row in rows)
        identity = [
            model, revision, precision, prompt.render(""), str(prompt.layer), settings.model_dump_json(),
            dev.sha256 if dev else "", rows_sha256,
        ]  # fmt: skip
        return cls(
            model=model,
            revision=revision,
            precision=precision,
            device=device,
            layers=config.num_hidden_layers,
            rows=rows,
            rows_sha256=rows_sha256,
            prompt=_last_is_none(prompt, config.num_hidden_layers),
            dev=dev,
            settings=settings,
            options=options,
            identity=sha256(identity),
        )

    def run(self, out: Path, checkpoint: Checkpoint | None, *, show_progress: bool) -> Training:
        """Train, from a checkpoint if there is one, and write the adapter."""
        # Here, because these modules import torch.
        from transformers import PrinterCallback

        from demosearch.finetune.callbacks import ShowProgress, StopWhenNotFinite
        from demosearch.finetune.trainable_model import build_model

        started = time.monotonic()
        model = build_model(
            self.model, self.precision, self.device, self.prompt, self.settings, self.options
        )
        evaluator = _evaluator(self.dev, self.prompt) if self.dev is not None else None
        with tensor_parallel.side_by_side(), reported_failures(out):
            before = checkpoint.dev_before if checkpoint else _score(evaluator, model)
            if checkpoint is None and not tensor_parallel.follows():
                write_start(out, self.identity, before)
            trainer = self._trainer(model, out, evaluator)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(StopWhenNotFinite())
            with bar("fine-tuning", None, show=show_progress) as progress, quiet_transformers():
                trainer.add_callback(ShowProgress(progress))
                trainer.train(resume_from_checkpoint=checkpoint.path if checkpoint else None)
            if not trainer.state.global_step:
                raise UserError(
                    f"batch_size must be at most the number of rows without a common text but got"
                    f" {self.settings.batch_size}; lower batch_size"
                )
            training = self._record(
                trainer, before, _score(evaluator, model, trainer.state.global_step), started
            )
            _check_weights(model)
            if trainer.is_world_process_zero():
                _write(out, training, model)
            return training

    def _trainer(self, model: SentenceTransformer, out: Path, evaluator: Any) -> Any:
        from datasets import Dataset

        from demosearch.finetune.trainable_model import contrastive_loss
        from demosearch.finetune.trainer import AdapterTrainer, training_arguments

        processes = tensor_parallel.processes()
        rendered = rendered_rows(
            self.rows, self.prompt, model.tokenizer, self.settings.max_text_tokens
        )
        trainer = AdapterTrainer(
            model=model,
            args=training_arguments(
                out / CHECKPOINTS,
                self.settings,
                self.device,
                processes,
                evaluated=evaluator is not None,
            ),
            train_dataset=Dataset.from_dict(
                {name: [row[index] for row in rendered] for index, name in columns_of(rendered)}
            ),
            loss=contrastive_loss(model, self.settings, processes),
            evaluator=evaluator,
        )
        if not tensor_parallel.follows():
            self._warn_of_warmup()
        return trainer

    def _warn_of_warmup(self) -> None:
        settings = self.settings
        steps = settings.max_steps or len(self.rows) // settings.batch_size * settings.epochs
        if settings.warmup_steps >= steps:
            logger.warning(
                "the learning rate does not reach %g: there are %d steps and %d warm-up steps; lower"
                " warmup_steps",
                settings.learning_rate,
                steps,
                settings.warmup_steps,
            )

    def _record(
        self, trainer: Any, before: float | None, after: float | None, started: float
    ) -> Training:
        parameters = trainer.model.parameters()
        return Training(
            model=self.model,
            revision=self.revision,
            precision=self.precision.value,
            prompt=self.prompt.render(""),
            layer=self.prompt.layer,
            trained_under=self.prompt.record(self.prompt.layer or self.layers),
            settings=self.settings,
            rows=len(self.rows),
            rows_sha256=self.rows_sha256,
            dev=self.dev.name if self.dev else None,
            dev_sha256=self.dev.sha256 if self.dev else None,
            columns=len(self.rows[0]),
            steps=trainer.state.global_step,
            best_step=_best_step(trainer.state.best_model_checkpoint),
            curve=learning_curve(trainer.state.log_history),
            dev_before=before,
            dev_after=after,
            trained_parameters=sum(
                parameter.numel() for parameter in parameters if parameter.requires_grad
            ),
            seconds=round(time.monotonic() - started, 1),
            versions=versions(),
        )


def _last_is_none(prompt: Prompt, layers: int) -> Prompt:
    """Return the prompt with its layer checked, the last one as None.

    Raises:
        UserError: the model has no such layer.
    """
    # Here, because it imports torch.
    from demosearch.encoder.layers import resolve_layer

    layer = resolve_layer(prompt.layer, layers)
    if layer == 0:
        raise UserError("layer must be at least 1 but got 0: there is nothing to train below it")
    return replace(prompt, layer=None if layer == layers else layer)


def _evaluator(dev: Pairs, prompt: Prompt) -> Any:
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    return EmbeddingSimilarityEvaluator(
        [prompt.render(text) for text in dev.sentences1],
        [prompt.render(text) for text in dev.sentences2],
        list(dev.scores),
        main_similarity="cosine",
        name=DEV,
        write_csv=False,
    )


def _score(evaluator: Any, model: SentenceTransformer, step: int = 0) -> float | None:
    """Return Spearman x 100 on the dev pairs; None without dev pairs.

    Raises:
        UserError: the score is not finite.
    """
    if evaluator is None:
        return None
    # Here, because it imports torch.
    from demosearch.finetune.callbacks import check_dev_score

    with warnings.catch_warnings():
        # scipy warns of equal similarities, whose score is nan.
        warnings.simplefilter("ignore")
        score = float(evaluator(model)[DEV_SCORE])
    check_dev_score(score, step)
    return round(100 * score, 4)


def _best_step(checkpoint: str | None) -> int | None:
    return int(checkpoint.rpartition("-")[2]) if checkpoint else None


def _check_weights(model: SentenceTransformer) -> None:
    """Check the trained weights, because no loss sees those of the last step.

    Raises:
        UserError: a weight is not finite, or the adapter is still zero.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    for name, weight in trained.items():
        if not weight.isfinite().all():
            raise UserError(
                f"the trained weights {name} are not finite; lower learning_rate, or train in bf16 or"
                " fp32"
            )
    # The product of the two matrices of a LoRA is zero before the first update, because B is.
    if not any(weight.any() for name, weight in trained.items() if "lora_B" in name):
        raise UserError(
            "the adapter is still zero at the step that was kept: the learning rate or the gradient was 0"
            " until then; raise max_steps or eval_steps, or lower warmup_steps"
        )


def _write(out: Path, training: Training, model: SentenceTransformer) -> None:
    """Write the adapter and its record, and delete the checkpoints last."""
    with quiet_transformers():
        model[0].auto_model.save_pretrained(str(out))
    write_curve(out, training)
    write_json(out / TRAINING_FILE, training.model_dump(mode="json"))
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
