"""One function a command: parsed arguments in, one public function called, a result shown.

Each returns the object that `--json` prints.
"""

from __future__ import annotations

import json
import logging
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demosearch._common.files import check_writable
from demosearch.encoder import tensor_parallel
from demosearch.errors import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from demosearch.embedder import Embedder
    from demosearch.evaluation.baselines import Baseline
    from demosearch.pipeline import Pipeline
    from demosearch.run import RunResult

logger = logging.getLogger(__name__)

Command = Callable[[Namespace], Any]


def run(arguments: Namespace) -> dict[str, Any]:
    """`demosearch run`."""
    from demosearch import pipeline
    from demosearch.cli import display
    from demosearch.run import run as run_one
    from demosearch.runs import folder_name

    settings = pipeline.load_pipeline(
        arguments.pipeline or pipeline.DEFAULT_PIPELINE,
        arguments.set,
        dev=arguments.dev,
        test=arguments.test,
        data=arguments.data,
        template=arguments.template,
        layer=_layer(arguments.layer, "auto"),
        warm_start=arguments.warm_start,
        shots=arguments.shots,
        ensemble=arguments.ensemble,
        center=arguments.center,
        metric=arguments.metric,
        max_extra_tokens=arguments.max_extra_tokens,
        save_similarities=arguments.save_similarities or None,
        strategy=arguments.strategy,
        budget=arguments.budget,
        patience=arguments.patience,
        seed=arguments.seed,
        precision=arguments.precision,
        device=arguments.device,
        devices=arguments.devices,
        adapter=arguments.adapter,
        allow_pickle=arguments.allow_pickle or None,
        candidates_file=arguments.candidates,
    )
    if len(arguments.model) > 1:
        return _run_models(arguments, settings)
    (model,) = arguments.model
    result = run_one(
        model,
        settings,
        arguments.out or Path("runs") / folder_name(model),
        storage=arguments.storage,
        study_name=arguments.study,
        show_progress=not arguments.quiet,
    )
    if not arguments.json:
        display.show_run(result)
    return _run_value(result)


def _run_models(arguments: Namespace, settings: Pipeline) -> dict[str, Any]:
    from demosearch.cli import display
    from demosearch.runs import run_models

    found = run_models(
        arguments.model,
        settings,
        arguments.out or "runs",
        storage=arguments.storage,
        study_name=arguments.study,
        show_progress=not arguments.quiet,
    )
    if not arguments.json:
        display.show_runs(found)
    value = {
        "models": {model: _run_value(result) for model, result in found.results.items()},
        "failures": found.failures,
        "files": [str(path) for path in found.files],
    }
    if found.failures:
        # What was found is shown and written; the exit status says that it is not all.
        model, reason = next(iter(found.failures.items()))
        raise UserError(
            f"{len(found.failures)} of {len(arguments.model)} runs failed; {model}: {reason}",
            result=value,
        )
    return value


def _run_value(result: RunResult) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "demonstrations": result.file.model_dump(mode="json"),
        "test": result.test["test"] if result.test else None,
    }


def candidates(arguments: Namespace) -> Any:
    """`demosearch candidates`."""
    from demosearch._common.files import atomic_write
    from demosearch.candidates import (
        CandidateSettings,
        generate,
        merge_candidates,
        read_candidates,
        write_candidates,
    )
    from demosearch.candidates.sources import resolved
    from demosearch.cli import display
    from demosearch.datasets.sources import reads_hub
    from demosearch.models.known import resolve
    from demosearch.models.options import LoadOptions

    if arguments.show:
        found = read_candidates(arguments.show)
        if not arguments.json:
            display.show_candidates_file(found)
        return [one.model_dump(exclude_none=True) for one in found]
    if not arguments.out:
        raise UserError("give --out FILE for the candidates (or --show FILE)")
    check_writable(arguments.out)
    if arguments.merge:
        merged = merge_candidates(read_candidates(path) for path in arguments.merge)
        write_candidates(arguments.out, merged)
        if not arguments.json:
            display.show_files(arguments.out)
        return {"file": arguments.out, "candidates": len(merged)}
    given = {
        name: value
        for name in CandidateSettings.model_fields
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.model is not None:
        resolve(arguments.model)
    settings = _validated(CandidateSettings, given)
    forbidden = _excluded(arguments)
    hub = reads_hub(arguments.exclude, arguments.data)
    generated = generate(
        resolved(settings, arguments.data, hub=hub),
        _validated(LoadOptions, _load_options(arguments)),
        model=arguments.model,
        data=arguments.data,
        forbidden=forbidden,
        seed=arguments.seed,
        show_progress=not arguments.quiet,
    )
    write_candidates(arguments.out, generated.candidates)
    if arguments.explain:
        with atomic_write(arguments.explain) as file:
            for one in generated.rejections:
                file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
    if not arguments.json:
        display.show_candidates(generated, arguments.out)
    return {
        "file": arguments.out,
        "candidates": len(generated.candidates),
        "sources": generated.sources,
        "rejected": generated.rejected,
    }


def search(arguments: Namespace) -> dict[str, Any]:
    """`demosearch search`."""
    from demosearch.candidates import read_candidates
    from demosearch.cli import display
    from demosearch.datasets import Split, read_sets
    from demosearch.models.known import resolve
    from demosearch.models.options import LoadOptions
    from demosearch.selection.inputs import SearchInputs
    from demosearch.selection.settings import SearchSettings

    given = {
        name: value
        for name in SearchSettings.model_fields
        if (value := getattr(arguments, name)) is not None
    }
    settings = _validated(SearchSettings, given)
    options = _validated(LoadOptions, _load_options(arguments))
    resolve(arguments.model)
    candidates = read_candidates(arguments.candidates)
    dev = read_sets(arguments.dev, Split.DEV, arguments.data)
    inputs = SearchInputs.read(settings, dev)
    exclude = _excluded(arguments)
    out = Path(arguments.out)
    if out.suffix != ".json":
        raise UserError(f"--out {out}: a demonstrations file ends in .json")
    check_writable(out)

    from demosearch.encoder.replicas import open_encoder
    from demosearch.selection import search as selector

    result = selector.search(
        open_encoder(arguments.model, options),
        candidates,
        dev,
        settings,
        folder=out.with_suffix(".study"),
        inputs=inputs,
        exclude=exclude,
        storage=arguments.storage,
        study_name=arguments.study,
        show_progress=not arguments.quiet,
    )
    result.file.write(out)
    if not arguments.json:
        display.show_search(result.file)
        display.show_files(out, out.with_suffix(".study"))
    return result.file.model_dump(mode="json")


def _load_options(arguments: Namespace) -> dict[str, Any]:
    names = ("precision", "device", "devices", "adapter", "allow_pickle")
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def _excluded(arguments: Namespace) -> list[str]:
    """Return the sentences of the sets that `--exclude` names."""
    from demosearch.datasets import evaluation_sentences

    found = (evaluation_sentences(source, arguments.data) for source in arguments.exclude)
    return [sentence for sentences in found for sentence in sentences]


def embed(arguments: Namespace) -> dict[str, Any]:
    """`demosearch embed`."""
    from demosearch.bulk import check_output, embed_file
    from demosearch.datasets.texts import check_input, read_texts

    check_writable(check_output(arguments.out))
    check_input(arguments.input)
    count = embed_file(
        _embedder(arguments),
        read_texts(arguments.input, arguments.column),
        arguments.out,
        normalize_embeddings=arguments.normalize,
        show_progress=not arguments.quiet,
    )
    logger.info("%d texts embedded into %s", count, arguments.out)
    return {"file": arguments.out, "texts": count}


def evaluate(arguments: Namespace) -> dict[str, Any]:
    """`demosearch evaluate`."""
    from demosearch.cli import display
    from demosearch.datasets.sources import DATA_VARIABLE
    from demosearch.demonstrations_file import DemonstrationsFile
    from demosearch.evaluation.overlap import find_overlaps
    from demosearch.evaluation.tasks import find_tasks, read_tasks
    from demosearch.models.packaged import cache_folder

    if arguments.out:
        if Path(arguments.out).suffix != ".json":
            raise UserError(f"--out {arguments.out}: a result file ends in .json")
        check_writable(arguments.out)
    tasks = find_tasks(arguments.tasks)
    folder = arguments.data or os.environ.get(DATA_VARIABLE)
    data = read_tasks(tasks, folder)
    overlaps: list[str] = []
    if arguments.demonstrations:
        overlaps = find_overlaps(DemonstrationsFile.read(arguments.demonstrations), data, folder)
    for overlap in overlaps:
        logger.warning("this flatters: %s", overlap)
    system = _system(arguments)

    from demosearch import evaluation

    found = evaluation.evaluate(
        system,
        data,
        tasks=tasks,
        classifier=arguments.classifier,
        overlaps=overlaps,
        cache=None if arguments.no_cache else cache_folder() / "embeddings",
        show_progress=not arguments.quiet,
    )
    if arguments.out:
        found.write(arguments.out)
    if not arguments.json:
        display.show_result(found.result, details=arguments.details)
    value: dict[str, Any] = found.result.model_dump(mode="json", exclude_none=True)
    return value


def compare(arguments: Namespace) -> dict[str, Any]:
    """`demosearch compare`."""
    from demosearch.cli import display
    from demosearch.evaluation.comparison import TableFormat, compare

    comparison = compare(
        arguments.results, published=arguments.published, resamples=arguments.resamples
    )
    if not arguments.json:
        display.show_text(comparison.text(TableFormat(arguments.table)))
    return comparison.as_json()


def finetune(arguments: Namespace) -> dict[str, Any]:
    """`demosearch finetune`."""
    from demosearch.cli import display
    from demosearch.datasets import Split, read_pairs
    from demosearch.demonstrations_file import DemonstrationsFile
    from demosearch.export.checks import only_prompt
    from demosearch.finetune.rows import read_training_rows
    from demosearch.finetune.settings import FinetuneSettings
    from demosearch.models.known import resolve
    from demosearch.models.source import check_model
    from demosearch.pipeline import changed, checked, read_pipeline
    from demosearch.prompt import Prompt

    resolve(arguments.model)
    check_writable(arguments.out, folder=True)
    value, path = read_pipeline(arguments.pipeline, "finetune")
    if arguments.precision:
        value["precision"] = arguments.precision
    settings = checked(FinetuneSettings, changed(value, arguments.set), path)
    columns = arguments.columns.split(",") if arguments.columns else None
    rows = read_training_rows(arguments.train, columns)
    dev = read_pairs(arguments.dev, Split.DEV, arguments.data) if arguments.dev else None
    prompt = Prompt()
    if arguments.demonstrations:
        file = DemonstrationsFile.read(arguments.demonstrations)
        check_model(file.model, arguments.model, arguments.demonstrations)
        if file.adapter is not None:
            raise UserError(
                f"{arguments.demonstrations} was made with the adapter {file.adapter.source}, and"
                " training begins without one: export it with --merge, search again on that folder"
            )
        prompt = only_prompt(file)
    # The paper trains at the last layer, wherever the demonstrations were chosen.
    layer = _layer(arguments.layer)
    prompt = replace(prompt, layer=None if layer in (None, "last") else int(layer))

    from demosearch.finetune import finetune as train

    training = train(
        arguments.model,
        rows,
        arguments.out,
        prompt=prompt,
        dev=dev,
        settings=settings,
        device=arguments.device,
        allow_pickle=arguments.allow_pickle,
        show_progress=not arguments.quiet,
    )
    if not arguments.json and not tensor_parallel.follows():
        display.show_training(training, Path(arguments.out))
    return training.model_dump(mode="json")


def report(arguments: Namespace) -> dict[str, Any]:
    """`demosearch report`."""
    from demosearch.cli import display
    from demosearch.report import read_runs, write_report

    first = Path(arguments.runs[0])
    if arguments.out:
        out = Path(arguments.out)
    elif len(arguments.runs) == 1:
        out = (first.with_suffix("") if first.is_file() else first) / "report.html"
    else:
        out = Path("report.html")
    if out.suffix != ".html":
        raise UserError(f"--out {out}: a report ends in .html")
    files = write_report(read_runs(arguments.runs), out)
    if not arguments.json:
        display.show_files(*files)
    return {"files": [str(path) for path in files]}


def export(arguments: Namespace) -> dict[str, Any]:
    """`demosearch export`."""
    from demosearch.cli import display
    from demosearch.export.checks import check_folder
    from demosearch.export.source import read_source

    read_source(arguments.file)
    check_folder(arguments.out)
    check_writable(arguments.out, folder=True)

    from demosearch.export import export_sentence_transformer, export_vllm

    write = {"sentence-transformers": export_sentence_transformer, "vllm": export_vllm}
    exported = write[arguments.to](
        arguments.file,
        arguments.out,
        model=arguments.model,
        adapter=arguments.adapter,
        merge=arguments.merge,
        precision=arguments.precision,
        allow_pickle=arguments.allow_pickle,
    )
    if not arguments.json:
        display.show_files(exported.folder)
    return {"folder": str(exported.folder), "width": exported.width, "to": arguments.to}


def doctor(arguments: Namespace) -> list[dict[str, Any]]:
    """`demosearch doctor`."""
    from demosearch.cli import display
    from demosearch.cli.doctor import examine

    findings = examine()
    if not arguments.json:
        display.show_findings(findings)
    return [asdict(finding) for finding in findings]


def models(arguments: Namespace) -> list[dict[str, Any]]:
    """`demosearch models`."""
    from demosearch.cli import display
    from demosearch.models.known import KNOWN_MODELS, Precision
    from demosearch.models.memory import machine

    here = machine()
    rows = [
        {
            "name": row.name,
            "parameters": round(row.parameters * 1e6),
            "layers": row.layers,
            "width": row.width,
            "memory": {each.value: row.memory(each) for each in Precision},
            "fits": here.fits(row),
            "source": row.source,
        }
        for row in KNOWN_MODELS.values()
    ]
    if not arguments.json:
        display.show_models(rows, here)
    return rows


def pipelines(arguments: Namespace) -> list[dict[str, Any]]:
    """`demosearch pipelines`."""
    from demosearch.cli import display
    from demosearch.pipeline import describe_pipelines

    rows = describe_pipelines()
    if not arguments.json:
        display.show_rows("pipelines", rows)
    return rows


def schema(arguments: Namespace) -> dict[str, Any]:
    """`demosearch schema`."""
    from demosearch.cli import display
    from demosearch.demonstrations_file import DemonstrationsFile
    from demosearch.finetune.settings import FinetuneSettings
    from demosearch.pipeline import Pipeline

    kinds: dict[str, type[BaseModel]] = {
        "demonstrations": DemonstrationsFile,
        "run": Pipeline,
        "finetune": FinetuneSettings,
    }
    value = kinds[arguments.of].model_json_schema()
    if not arguments.json:
        display.show_json(value)
    return value


def _system(arguments: Namespace) -> Embedder | Baseline:
    """Return what is evaluated: a prompted decoder, or one of the others it is compared with."""
    from demosearch.models.known import resolve

    if arguments.demonstrations or not arguments.model:
        if arguments.method:
            raise UserError("--method: a demonstrations file says how; give one of the two")
        return _embedder(arguments)
    source = resolve(arguments.model, baselines=True)

    from demosearch.evaluation.baselines import Method, open_baseline
    from demosearch.evaluation.kinds import Kind, kind_of

    kind = kind_of(source)
    if kind is Kind.DECODER:
        if arguments.method in (Method.CLS, Method.POOLER):
            raise UserError(
                f"--method {arguments.method}: '{arguments.model}' is a decoder; its first token"
                " sees nothing behind it; take prompt or mean"
            )
        if arguments.method == Method.MEAN:
            if arguments.template:
                raise UserError("--method mean takes no --template")
            arguments.template = Method.MEAN.value
        return _embedder(arguments)
    for name in ("adapter", "layer", "devices"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name}: '{arguments.model}' is no decoder")
    return open_baseline(
        arguments.model,
        method=arguments.method,
        template=arguments.template,
        precision=arguments.precision,
        device=arguments.device,
        allow_pickle=arguments.allow_pickle,
    )


def _embedder(arguments: Namespace) -> Embedder:
    """Return what `--model`, `--template` and `--demonstrations` name together."""
    from demosearch.demonstrations_file import DemonstrationsFile
    from demosearch.models.known import resolve
    from demosearch.templates import DEFAULT_TEMPLATE, find_templates

    if not arguments.model and not arguments.demonstrations:
        raise UserError("give --model or --demonstrations")
    if arguments.template and arguments.demonstrations:
        raise UserError("--template: a demonstrations file has its own; give one of the two")
    if arguments.model:
        resolve(arguments.model)
    if arguments.demonstrations:
        DemonstrationsFile.read(arguments.demonstrations)
    template = arguments.template or DEFAULT_TEMPLATE
    find_templates(template)
    from demosearch.models.options import LoadOptions

    options = _validated(LoadOptions, _load_options(arguments))

    from demosearch.embedder import Embedder

    if arguments.demonstrations:
        embedder = Embedder.load(
            arguments.demonstrations,
            options,
            model=arguments.model,
            layer=arguments.layer,
            allow_other_model=arguments.allow_other_model,
        )
    else:
        embedder = Embedder.without_demonstrations(
            arguments.model, options, template=template, layer=arguments.layer
        )
    encoder = embedder.encoder
    if encoder.adapter is not None:
        from demosearch.finetune.training_record import prompt_mismatch

        prompts = [
            replace(prompt, layer=encoder.resolve_layer(prompt.layer))
            for prompt in embedder.prompts
        ]
        if warning := prompt_mismatch(encoder.adapter.source, prompts, encoder.layers):
            logger.warning(warning)
    return embedder


def _layer(value: str | None, *more: str) -> str | int | None:
    words = ("last", *more)
    if value is None or value in words:
        return value
    try:
        return int(value)
    except ValueError:
        raise UserError(f"--layer {value}: give {', '.join(words)} or a number") from None


def _validated(kind: Any, value: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from demosearch.errors import first_error

    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(first_error(error)) from error
