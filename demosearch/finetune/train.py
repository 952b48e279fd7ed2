"""Training: sentence-transformers' trainer and loss, peft's LoRA, our prompt."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from demosearch.datasets.pairs import Pairs
from demosearch.errors import UserError
from demosearch.files import write_json
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.triplets import Triplet
from demosearch.loading import default_device, default_precision, dtype_of, weights_place
from demosearch.models import Precision, resolve
from demosearch.progress import bar, quiet_transformers
from demosearch.prompt import Prompt
from demosearch.versions import versions

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

COLUMNS = ("anchor", "positive", "negative")
_DEV = "dev"


class Training(BaseModel):
    """What a fine-tuning did: the contents of `training.json` beside the adapter."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompt: str = Field(description="the prompt of an empty text")
    settings: FinetuneSettings
    rows: int
    steps: int
    losses: list[float] = Field(description="mean loss of each step that was logged")
    dev_before: float | None = Field(description="Spearman x 100 before training")
    dev_after: float | None = Field(description="Spearman x 100 of the adapter that was kept")
    seconds: float
    versions: dict[str, str]


def finetune(
    model: str,
    triplets: Sequence[Triplet],
    out: str | Path,
    *,
    prompt: Prompt | None = None,
    dev: Pairs | None = None,
    settings: FinetuneSettings | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    show_progress: bool = False,
) -> Training:
    """Train a LoRA on the prompted model and write it to a folder in PEFT's layout.

    Args:
        model: known name, hub id or folder.
        triplets: text, entailed text, contradicting text; other rows' texts are negatives too.
        out: folder for the adapter and `training.json`.
        prompt: None is the plain PromptEOL template, as in the paper.
        dev: pairs that choose among the steps; None keeps the last.
        settings: None is the paper's recipe.
        precision: None chooses the fastest for the device.
        device: None chooses a GPU where there is one.
        show_progress: draw a bar with the loss and the best dev score on standard error.

    Raises:
        UserError: the folder holds an adapter already, there are fewer rows than a batch, or the
            precision cannot be trained in.
    """
    settings = settings or FinetuneSettings()
    prompt = prompt or Prompt()
    out = Path(out)
    if (out / "adapter_config.json").exists():
        raise UserError(f"--out {out} holds an adapter already; choose another folder")
    if len(triplets) < settings.batch_size:
        raise UserError(
            f"{len(triplets)} training rows are fewer than a batch of {settings.batch_size};"
            " lower batch_size"
        )
    if precision is not None and precision.quantised:
        raise UserError(
            f"--precision {precision}: fine-tuning takes fp32, bf16 or fp16 in this version"
        )
    _require_packages()
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from transformers import PrinterCallback

    from demosearch.finetune.callback import ShowProgress

    started = time.monotonic()
    device = device or default_device()
    student = _sentence_transformer(model, precision or default_precision(device), device, settings)
    rendered = _rendered(triplets, prompt, student.tokenizer, settings.max_text_tokens)
    evaluator = _evaluator(dev, prompt) if dev is not None else None
    before = _score(evaluator, student)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        # A premise that stands twice in a batch would be its own negative.
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        logging_steps=1,
        eval_strategy="steps" if evaluator else "no",
        eval_steps=settings.eval_steps,
        save_strategy="steps" if evaluator else "no",
        save_steps=settings.eval_steps,
        save_total_limit=1,
        load_best_model_at_end=evaluator is not None,
        metric_for_best_model=f"eval_{_DEV}_spearman_cosine",
        greater_is_better=True,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        # Our one bar stands for all of the trainer's.
        disable_tqdm=True,
        use_cpu=device == "cpu",
    )
    trainer = SentenceTransformerTrainer(
        model=student,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {name: [row[place] for row in rendered] for place, name in enumerate(COLUMNS)}
        ),
        loss=MultipleNegativesRankingLoss(student, scale=1 / settings.temperature),
        evaluator=evaluator,
    )
    trainer.remove_callback(PrinterCallback)
    with (
        bar("fine-tuning", None, show=show_progress) as progress,
        quiet_transformers(),
    ):
        trainer.add_callback(ShowProgress(progress))
        trainer.train()
    history: list[dict[str, Any]] = trainer.state.log_history
    training = Training(
        model=model,
        prompt=prompt.render(""),
        settings=settings,
        rows=len(triplets),
        steps=trainer.state.global_step,
        losses=[round(float(entry["loss"]), 6) for entry in history if "loss" in entry],
        dev_before=before,
        dev_after=_score(evaluator, student),
        seconds=round(time.monotonic() - started, 1),
        versions=versions(),
    )
    with quiet_transformers():
        student[0].auto_model.save_pretrained(str(out))
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    write_json(out / "training.json", training.model_dump(mode="json"))
    return training


def _require_packages() -> None:
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"fine-tuning needs {error.name}; run: pip install 'demosearch[finetune]'"
        ) from None


def _sentence_transformer(
    model: str, precision: Precision, device: str, settings: FinetuneSettings
) -> SentenceTransformer:
    """Return the base model with last-token pooling and a fresh LoRA on all linear layers."""
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import set_seed

    # The adapter's weights are drawn here.
    set_seed(settings.seed)
    dtype = dtype_of(precision, device)
    place, _ = weights_place(resolve(model), dtype)
    with quiet_transformers():
        transformer = Transformer(
            place,
            model_kwargs={"dtype": dtype},
            # Prompts are rendered already; a chat model's own chat template must not wrap them.
            modality_config={
                "text": {"method": "forward", "method_output_name": "last_hidden_state"}
            },
            module_output_name="token_embeddings",
        )
    tokenizer = transformer.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    width = transformer.get_embedding_dimension()
    student = SentenceTransformer(modules=[transformer, Pooling(width, "lasttoken")], device=device)
    student.add_adapter(
        LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules="all-linear",
        )
    )
    return student


def _rendered(
    triplets: Sequence[Triplet], prompt: Prompt, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[list[str]]:
    """Return the prompts of the triplets' texts, each text cut to `limit` tokens first.

    The paper's training code cuts and decodes; its evaluation prepares. Here the same `render`
    serves both, so that the model is trained on the prompts that it is used with.
    """
    texts = list(dict.fromkeys(text for row in triplets for text in row))
    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=limit)["input_ids"]
    cut = dict(zip(texts, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True))
    return [[prompt.render(cut[text]) for text in row] for row in triplets]


def _evaluator(dev: Pairs, prompt: Prompt) -> Any:
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    return EmbeddingSimilarityEvaluator(
        [prompt.render(text) for text in dev.sentences1],
        [prompt.render(text) for text in dev.sentences2],
        list(dev.scores),
        main_similarity="cosine",
        name=_DEV,
        write_csv=False,
    )


def _score(evaluator: Any, student: SentenceTransformer) -> float | None:
    if evaluator is None:
        return None
    return round(100 * float(evaluator(student)[f"{_DEV}_spearman_cosine"]), 4)
