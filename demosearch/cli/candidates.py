"""`demosearch candidates`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel, Field

from demosearch._common.files import atomic_write, check_writable, json_text
from demosearch.candidates import (
    CandidateSettings,
    NoCandidatesError,
    generate,
    merge_candidates,
    read_candidates,
    write_candidates,
)
from demosearch.candidates.sources import resolved
from demosearch.cli.display.candidates import show_candidates, show_candidates_file
from demosearch.cli.display.console import show_files
from demosearch.cli.options import (
    CANDIDATES,
    DATA,
    MODEL,
    MODEL_HELP,
    OUTPUT,
    ExcludeOptions,
    Loading,
    Options,
    Output,
    Printing,
    field_of,
    flattened,
    given,
    names,
)
from demosearch.cli.outcome import Outcome
from demosearch.datasets import evaluation_sentences
from demosearch.datasets.sources import check_columns, reads_hub
from demosearch.errors import UserError
from demosearch.models.known import resolve
from demosearch.models.options import LoadOptions


class CandidateOptions(CandidateSettings):
    """The settings as options; the one that is on by default has the form `--no-quality`."""

    quality: Annotated[bool, Parameter(negative="--no-quality")] = field_of(
        CandidateSettings, "quality"
    )


class FileOptions(Options):
    """Files to read and to write; `--show` and `--merge` build nothing."""

    out: Path | None = Field(None, description="candidates file to write")
    show: Path | None = Field(None, description="show a candidates file and build nothing")
    merge: tuple[Path, ...] = Field((), description="merge candidates files and build nothing")


class BuildOptions(Options):
    """Options of building candidates that are not in the settings."""

    seed: int = Field(0, ge=0, description="random seed")
    explain: Path | None = Field(
        None, description="write the rejected pairs and the reasons to this file (JSONL)"
    )


class LabelingModel(Options):
    """The model of `--labeler local`."""

    model: str | None = Field(
        None, description=f"{MODEL_HELP}; labels sentences and scores the quality of pairs"
    )


def candidates(
    *,
    files: Annotated[FileOptions, flattened(OUTPUT)] = FileOptions(),
    labeling: Annotated[LabelingModel, flattened(MODEL)] = LabelingModel(),
    load: Loading = LoadOptions(),
    settings: Annotated[CandidateOptions, flattened(CANDIDATES)] = CandidateOptions(),
    build: Annotated[BuildOptions, flattened(CANDIDATES)] = BuildOptions(),
    exclude: Annotated[ExcludeOptions, flattened(DATA)] = ExcludeOptions(),
    output: Printing = Output(),
) -> Outcome:
    """`demosearch candidates`."""
    _check_single_task(files, labeling, load, settings, build, exclude)
    if files.show is not None:
        shown = read_candidates(files.show)
        value = [candidate.model_dump(exclude_none=True) for candidate in shown]
        return Outcome(value, lambda: show_candidates_file(shown))
    if files.out is None:
        raise UserError("--out is required: the file to write the candidates to")
    check_writable(files.out)
    if build.explain is not None:
        check_writable(build.explain)
    if files.merge:
        return _merge(files.merge, files.out)
    if labeling.model is not None:
        resolve(labeling.model)
    check_columns(exclude.columns, exclude.exclude)
    forbidden = [
        sentence
        for source in exclude.exclude
        for sentence in evaluation_sentences(source, exclude.data, exclude.columns)
    ]
    try:
        generated = generate(
            resolved(settings, exclude.data, hub=reads_hub(exclude.exclude, exclude.data)),
            load,
            model=labeling.model,
            data=exclude.data,
            forbidden=forbidden,
            seed=build.seed,
            show_progress=output.progress,
        )
    except NoCandidatesError as error:
        if build.explain is None:
            raise
        _explain(build.explain, error.rejections)
        raise UserError(f"{error}; the rejected pairs are in {build.explain}") from None
    out = files.out
    write_candidates(out, generated.candidates)
    if build.explain is not None:
        _explain(build.explain, generated.rejections)
    return Outcome(
        {
            "file": str(out),
            "candidates": len(generated.candidates),
            "sources": generated.sources,
            "rejected": generated.rejected,
        },
        lambda: show_candidates(generated, out),
    )


def _check_single_task(files: FileOptions, *build: BaseModel) -> None:
    """Refuse options of which one would be ignored.

    Raises:
        UserError: `--show`, `--merge` and options of building candidates are combined.
    """
    tasks = given(files)
    if "show" in tasks and len(tasks) > 1:
        others = names(name for name in tasks if name != "show")
        raise UserError(f"--show cannot be combined with {', '.join(others)}")
    building = names(given(*build))
    for name in ("show", "merge"):
        if name in tasks and building:
            raise UserError(f"--{name} cannot be combined with {', '.join(building)}")


def _merge(paths: tuple[Path, ...], out: Path) -> Outcome:
    merged = merge_candidates(read_candidates(path) for path in paths)
    write_candidates(out, merged)
    return Outcome({"file": str(out), "candidates": len(merged)}, lambda: show_files(out))


def _explain(path: Path, rejected: list[Any]) -> None:
    with atomic_write(path) as file:
        for pair in rejected:
            file.write(json_text(asdict(pair), indent=None))
