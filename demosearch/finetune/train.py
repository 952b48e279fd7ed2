"""`finetune`: train a LoRA adapter with the paper's contrastive loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demosearch._common.containers import as_rows
from demosearch._common.extras import missing_extra
from demosearch.datasets.pairs import Pairs, require_pairs
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError, short
from demosearch.finetune.checkpoints import check_folder, find_checkpoint
from demosearch.finetune.job import TrainingJob
from demosearch.finetune.rows import Row
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.training_record import Training
from demosearch.models.options import LoadOptions
from demosearch.prompt import Pooling, Prompt


def finetune(
    model: str,
    rows: Sequence[Row],
    out: str | Path,
    options: LoadOptions | None = None,
    *,
    prompt: Prompt | None = None,
    dev: Pairs | None = None,
    settings: FinetuneSettings | None = None,
    show_progress: bool = False,
    **keywords: Any,
) -> Training:
    """Train a LoRA adapter on the prompted model and write it to a folder in PEFT's format.

    Call it again with the same arguments to resume an interrupted training run from its last
    checkpoint. Under torchrun every process trains on its part of each batch, and the texts of all
    processes are negatives.

    Args:
        model: known name, hub id, folder or GGUF file.
        rows: a text, a text with the same meaning, and optionally a hard negative; the texts of other
            rows are negatives too. A single text is its own positive, with a different dropout mask.
        out: folder for the adapter, `training.json`, and the learning curve.
        options: precision (overrides the one in `settings`), device, and whether pickle files may be
            read; the token budget is not used. Several devices require torchrun.
        prompt: None is the plain PromptEOL template, as in the paper. Its layer is the one that is
            trained.
        dev: pairs on which the best step is chosen; without them the last step is kept.
        settings: None is the paper's recipe, on weights that are not quantized.
        show_progress: draw a bar with the loss and the best dev score on standard error.
        **keywords: fields of `LoadOptions`, e.g. `device="cpu"`.

    Raises:
        UserError: the folder already holds an adapter, or a training run with different settings; there are
            fewer rows than a batch; a row is not one to three texts; the options name an adapter or several
            devices; or the loss is not finite.
    """
    options = _checked(LoadOptions.of(options, **keywords))
    settings = settings or FinetuneSettings()
    if options.precision:
        settings = settings.model_copy(update={"precision": options.precision})
    out, prompt = Path(out), prompt or Prompt()
    check_folder(out)
    rows = _texts_of(rows)
    if dev is not None:
        require_pairs(dev, "dev")
    _check_rows(rows, settings, tensor_parallel.processes())
    if dev is not None and len(set(dev.scores)) < 2:
        raise UserError(
            f"the gold scores of the dev pairs must differ but all {len(dev)} are {dev.scores[0]:g}; use"
            " other dev pairs"
        )
    if prompt.template.pooling is not Pooling.LAST:
        raise UserError(
            f"template '{prompt.template.name}' uses the mean over the text's tokens, but training"
            " requires the last token's state; choose another template"
        )
    _require_packages()
    job = TrainingJob.of(model, rows, prompt, dev, settings, options)
    return job.run(out, find_checkpoint(out, job.identity), show_progress=show_progress)


def _checked(options: LoadOptions) -> LoadOptions:
    if options.adapter is not None:
        raise UserError(
            f"adapter must not be set but got {options.adapter}: fine-tuning trains a new adapter;"
            " merge the old one with `demosearch export --merge` and train the exported folder"
        )
    if options.devices is not None:
        raise UserError(
            f"devices must not be set but got {options.devices}; use torchrun to train on several"
            " devices"
        )
    return options


def _texts_of(rows: Sequence[Row]) -> list[Row]:
    checked = as_rows(rows, "training rows")
    for number, row in enumerate(checked, start=1):
        if not 1 <= len(row) <= 3 or not all(text.strip() for text in row):
            raise UserError(
                f"row {number} of the training rows must be one to three texts that are not empty but got"
                f" {short(repr(row))}"
            )
    return checked


def _check_rows(rows: Sequence[Row], settings: FinetuneSettings, processes: int) -> None:
    if len(rows) < settings.batch_size:
        raise UserError(
            f"the number of training rows must be at least batch_size={settings.batch_size} but got"
            f" {len(rows)}; lower batch_size"
        )
    if settings.batch_size % processes:
        raise UserError(
            f"batch_size must be divisible by the {processes} processes but got"
            f" {settings.batch_size}"
        )


def _require_packages() -> None:
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import sentence_transformers  # noqa: F401
    except ImportError:
        raise missing_extra("fine-tuning", "finetune") from None
