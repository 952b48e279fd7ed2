"""Training: sentence-transformers' trainer and loss, peft's LoRA, our prompt."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from demosearch._common.files import read_text, sha256, write_json
from demosearch._common.progress import bar, quiet_transformers
from demosearch._common.versions import versions
from demosearch.datasets.pairs import Pairs
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError
from demosearch.finetune.curve import DEV, DEV_SCORE, learning_curve, write_curve
from demosearch.finetune.estimate import say_estimate
from demosearch.finetune.rows import Row, columns_of, rendered_rows
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.student import build_student, contrastive_loss
from demosearch.finetune.training import TRAINING_FILE, Training
from demosearch.models.known import resolve
from demosearch.models.precision import default_device, default_precision
from demosearch.models.source import read_config
from demosearch.prompt import Pooling, Prompt

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_STARTED_FILE = "started.json"


def finetune(
    model: str,
    rows: Sequence[Row],
    out: str | Path,
    *,
    prompt: Prompt | None = None,
    dev: Pairs | None = None,
    settings: FinetuneSettings | None = None,
    device: str | None = None,
    allow_pickle: bool = False,
    show_progress: bool = False,
) -> Training:
    """Train a LoRA on the prompted model and write it to a folder in PEFT's layout.

    A training that was killed goes on from its last checkpoint when it is called again with the same
    arguments. Under torchrun every process trains on its part of each batch, and the texts of all
    processes are negatives.

    Args:
        model: known name, hub id or folder.
        rows: a text, a text that means the same, and maybe one that does not; other rows' texts are
            negatives too. A text alone is its own positive under another dropout.
        out: folder for the adapter, `training.json`, and the learning curve.
        prompt: None is the plain PromptEOL template, as in the paper. Its layer is trained at.
        dev: pairs that choose among the steps; None keeps the last.
        settings: None is the paper's recipe, on weights that are not quantised.
        device: None chooses a GPU where there is one; of several, CUDA_VISIBLE_DEVICES says which.
        allow_pickle: also read weights that are no safetensors.
        show_progress: draw a bar with the loss and the best dev score on standard error.

    Raises:
        UserError: the folder holds an adapter already, or a training with other settings; there are
            fewer rows than a batch; or the loss is no number any more.
    """
    settings = settings or FinetuneSettings()
    prompt = prompt or Prompt()
    out = Path(out)
    processes = tensor_parallel.processes()
    _check(out, rows, settings, processes)
    if prompt.template.pooling is not Pooling.LAST:
        raise UserError(
            f"template '{prompt.template.name}' takes the mean over the text's tokens; training takes"
            " the last token's state"
        )
    _require_packages()
    device = device or default_device()
    if processes > 1 and device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    precision = settings.precision or default_precision(device)
    config, revision = read_config(resolve(model))
    rows_hash = sha256("\x1f".join(row) for row in rows)
    identity = [
        model, revision, precision, prompt.render(""), str(prompt.layer), settings.model_dump_json(),
        dev.sha256 if dev else "", rows_hash,
    ]  # fmt: skip
    identity_hash = sha256(identity)
    resume, before = _resume(out, identity_hash)

    from datasets import Dataset
    from transformers import PrinterCallback

    from demosearch.finetune.callback import ShowProgress, StopWhenNotFinite
    from demosearch.finetune.trainer import AdapterTrainer

    started = time.monotonic()
    prompt = _last_is_none(prompt, config.num_hidden_layers)
    student = build_student(model, precision, device, prompt, settings, allow_pickle=allow_pickle)
    trained = sum(each.numel() for each in student.parameters() if each.requires_grad)
    rendered = rendered_rows(rows, prompt, student.tokenizer, settings.max_text_tokens)
    evaluator = _evaluator(dev, prompt) if dev is not None else None
    with tensor_parallel.side_by_side(), _understood(out):
        if resume is None:
            before = _score(evaluator, student)
            if not tensor_parallel.follows():
                known = {"identity": identity_hash, "dev_before": before}
                write_json(out / CHECKPOINTS / _STARTED_FILE, known)
        if not tensor_parallel.follows():
            done = int(resume.rpartition("-")[2]) if resume else 0
            say_estimate(student, rendered, settings, trained, processes, done)
        loss = contrastive_loss(student, settings, processes)
        trainer = AdapterTrainer(
            model=student,
            args=_arguments(out, settings, device, processes, evaluated=evaluator is not None),
            train_dataset=Dataset.from_dict(
                {name: [row[place] for row in rendered] for place, name in columns_of(rendered)}
            ),
            loss=loss,
            evaluator=evaluator,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(StopWhenNotFinite())
        with bar("fine-tuning", None, show=show_progress) as progress, quiet_transformers():
            trainer.add_callback(ShowProgress(progress))
            trainer.train(resume_from_checkpoint=resume)
        if not trainer.state.global_step:
            raise UserError(
                f"there are no {settings.batch_size} training rows of which no two share a text;"
                " lower batch_size"
            )
        training = Training(
            model=model,
            revision=revision,
            precision=precision.value,
            prompt=prompt.render(""),
            layer=prompt.layer,
            trained_under=prompt.record(prompt.layer or config.num_hidden_layers),
            settings=settings,
            rows=len(rows),
            rows_sha256=rows_hash,
            dev=dev.name if dev else None,
            dev_sha256=dev.sha256 if dev else None,
            columns=len(rows[0]),
            steps=trainer.state.global_step,
            best_step=_best_step(trainer.state.best_model_checkpoint),
            curve=learning_curve(trainer.state.log_history),
            dev_before=before,
            dev_after=_score(evaluator, student),
            trained_parameters=trained,
            seconds=round(time.monotonic() - started, 1),
            versions=versions(),
        )
        if trainer.is_world_process_zero():
            _write(out, training, student)
        return training


def _check(out: Path, rows: Sequence[Row], settings: FinetuneSettings, processes: int) -> None:
    checkpoints = out / CHECKPOINTS
    # Checkpoints go last: with them here, writing the adapter did not come to its end.
    if (out / "adapter_config.json").exists() and not checkpoints.exists():
        raise UserError(f"--out {out} holds an adapter already; choose another folder")
    is_ours = (checkpoints / _STARTED_FILE).exists()
    # What begins with a dot was left by a kill before that file was whole.
    if not is_ours and any(not each.name.startswith(".") for each in checkpoints.glob("*")):
        raise UserError(
            f"--out {out} holds a folder {CHECKPOINTS} that is not of this command; choose another"
            " folder"
        )
    if len(rows) < settings.batch_size:
        raise UserError(
            f"{len(rows)} training rows are fewer than a batch of {settings.batch_size};"
            " lower batch_size"
        )
    if settings.batch_size % processes:
        raise UserError(
            f"batch_size={settings.batch_size} cannot be shared by {processes} processes alike"
        )


@contextmanager
def _understood(out: Path) -> Iterator[None]:
    """Say in one line what a user can mend: no room on the disk or in the memory.

    Raises:
        UserError: in place of such an error.
    """
    from demosearch.encoder.token_budget import is_out_of_memory

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise UserError(
                "out of memory; --set mini_batch_size=32 (or less) holds fewer rows at once, --set"
                " gradient_checkpointing=true fewer of their states, --precision nf4 smaller weights"
            ) from error
        # torch and safetensors have words of their own for a disk that takes no more.
        full = ("unexpected pos", "PytorchStreamWriter", "I/O error", "No space left")
        if not isinstance(error, OSError) and not any(word in str(error) for word in full):
            raise
        raise UserError(
            f"cannot write to {out}: {error}; the last whole checkpoint is kept"
        ) from error


def _resume(out: Path, identity: str) -> tuple[str | None, float | None]:
    """Return the last checkpoint of this very training, if any, and the dev score before it.

    Raises:
        UserError: the folder holds another training.
    """
    started = out / CHECKPOINTS / _STARTED_FILE
    if not started.exists():
        return None, None
    known = json.loads(read_text(started, "training"))
    if known["identity"] != identity:
        raise UserError(
            f"--out {out} holds an unfinished training with other settings or data; choose another"
            " folder, or delete it"
        )
    whole = [path for path in (out / CHECKPOINTS).glob("checkpoint-*") if _is_whole(path)]
    if not whole:
        return None, None
    last = max(whole, key=lambda path: int(path.name.rpartition("-")[2]))
    logger.info("going on from %s", last)
    return str(last), known["dev_before"]


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (checkpoint / "optimizer.pt").exists()


def _require_packages() -> None:
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"fine-tuning needs {error.name}; run: pip install 'demosearch[finetune]'"
        ) from None


def _last_is_none(prompt: Prompt, layers: int) -> Prompt:
    """Return the prompt with its layer checked, the last one as None.

    Raises:
        UserError: the model has no such layer.
    """
    from demosearch.encoder.layers import resolve_layer

    layer = resolve_layer(prompt.layer, layers)
    if layer == 0:
        raise UserError("layer 0 is the token embeddings; there is nothing to train below it")
    return replace(prompt, layer=None if layer == layers else layer)


def _arguments(
    out: Path, settings: FinetuneSettings, device: str, processes: int, *, evaluated: bool
) -> Any:
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    on_cpu = device == "cpu"
    if torch.device(device).index is not None and processes == 1:
        # The trainer takes the current GPU, and is not told of another.
        torch.cuda.set_device(device)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch_size // processes,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        # A premise that stands twice in a batch would be its own negative.
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        # What is left over has few negatives, or none.
        dataloader_drop_last=True,
        logging_steps=1,
        # A loss that is no number has to be seen, not passed over.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.eval_steps,
        save_total_limit=1,
        load_best_model_at_end=evaluated,
        metric_for_best_model=f"eval_{DEV_SCORE}" if evaluated else None,
        greater_is_better=True if evaluated else None,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        # Our one bar stands for all of the trainer's.
        disable_tqdm=True,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and processes > 1 else None,
    )
    if arguments.n_gpu > 1:
        # Without torchrun the trainer would put a whole batch on every GPU it sees.
        arguments._n_gpu = 1
    return arguments


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


def _score(evaluator: Any, student: SentenceTransformer) -> float | None:
    if evaluator is None:
        return None
    return round(100 * float(evaluator(student)[DEV_SCORE]), 4)


def _best_step(checkpoint: str | None) -> int | None:
    return int(checkpoint.rpartition("-")[2]) if checkpoint else None


def _write(out: Path, training: Training, student: SentenceTransformer) -> None:
    """Write the adapter and what is said of it; the checkpoints go last."""
    with quiet_transformers():
        student[0].auto_model.save_pretrained(str(out))
    write_curve(out, training)
    write_json(out / TRAINING_FILE, training.model_dump(mode="json"))
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
