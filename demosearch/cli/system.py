"""The model that `embed` and `evaluate` compute embeddings with."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from demosearch.cli import library
from demosearch.cli.options import ModelOptions
from demosearch.demonstrations_file import DemonstrationsFile
from demosearch.errors import UserError
from demosearch.evaluation.baselines import Method
from demosearch.evaluation.kinds import Kind, kind_of
from demosearch.finetune.training_record import prompt_mismatch
from demosearch.known_demonstrations import KnownDemonstrations, is_known, known_demonstrations
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions
from demosearch.templates import DEFAULT_TEMPLATE, find_templates

if TYPE_CHECKING:
    from demosearch.embedder import Embedder
    from demosearch.evaluation.baselines import Baseline

logger = logging.getLogger(__name__)


def open_system(
    options: ModelOptions,
    load: LoadOptions,
    method: Method | None,
    file: DemonstrationsFile | KnownDemonstrations | None,
) -> Embedder | Baseline:
    """Load a prompted decoder-only model, or a baseline of another kind.

    Args:
        options: the model and its prompt.
        load: how the model is loaded.
        method: how states become an embedding.
        file: the contents of `options.demonstrations`, or what it names.

    Raises:
        UserError: options exclude each other, or the model cannot be loaded.
    """
    if options.demonstrations or not options.model:
        if method:
            raise UserError(
                "--method cannot be combined with --demonstrations, which defines the method"
            )
        return open_embedder(options, load, file)
    kind = kind_of(resolve(options.model, baselines=True))
    if kind is Kind.DECODER:
        return open_embedder(_with_method(options, method), load, file)
    unsupported = {**load.model_dump(include={"adapter", "devices"}), "layer": options.layer}
    for name, value in unsupported.items():
        if value is not None:
            raise UserError(
                f"--{name} requires a decoder-only model, and '{options.model}' is not one"
            )
    return library.open_baseline(options.model, load, method=method, template=options.template)


def open_embedder(
    options: ModelOptions,
    load: LoadOptions,
    file: DemonstrationsFile | KnownDemonstrations | None,
) -> Embedder:
    """Load a model with the prompt of a demonstrations file, or with a template.

    Args:
        options: the model and its prompt.
        load: how the model is loaded.
        file: the contents of `options.demonstrations`, or what it names.

    Raises:
        UserError: options exclude each other, or the model cannot be loaded.
    """
    if options.template and file:
        raise UserError(
            "--template cannot be combined with --demonstrations, which defines the template"
        )
    if options.model:
        resolve(options.model)
    if file is not None:
        embedder = library.Embedder.load(
            file,
            load,
            model=options.model,
            layer=options.layer_index,
            allow_other_model=options.allow_other_model,
        )
    elif options.model:
        template = options.template or DEFAULT_TEMPLATE
        find_templates(template)
        embedder = library.Embedder.without_demonstrations(
            options.model, load, template=template, layer=options.layer_index
        )
    else:
        raise UserError("--model or --demonstrations is required")
    _check_prompt_of_adapter(embedder)
    return embedder


def read_demonstrations(options: ModelOptions) -> DemonstrationsFile | KnownDemonstrations | None:
    """Return the contents of the demonstrations file, or known demonstrations; None if none are given.

    Raises:
        UserError: the file is not valid, or there are no known demonstrations for the model.
    """
    name = options.demonstrations
    if not name:
        return None
    if not is_known(name):
        return DemonstrationsFile.read(name)
    known = known_demonstrations(name, options.model, allow_other_model=options.allow_other_model)
    logger.info(known.summary)
    return known


def _with_method(options: ModelOptions, method: Method | None) -> ModelOptions:
    """Return the options of a decoder-only model with the template that a method stands for."""
    if method in (Method.CLS, Method.POOLER):
        raise UserError(
            f"--method must be prompt or mean but got {method}: '{options.model}' is a decoder-only"
            " model, whose first token does not attend to the text"
        )
    if method is not Method.MEAN:
        return options
    if options.template:
        raise UserError("--template cannot be combined with --method mean")
    return options.model_copy(update={"template": Method.MEAN.value})


def _check_prompt_of_adapter(embedder: Embedder) -> None:
    """Warn if the adapter was trained with another prompt."""
    encoder = embedder.encoder
    if encoder.adapter is None:
        return
    prompts = [
        replace(prompt, layer=encoder.resolve_layer(prompt.layer)) for prompt in embedder.prompts
    ]
    if warning := prompt_mismatch(encoder.adapter.source, prompts, encoder.layers):
        logger.warning(warning)
