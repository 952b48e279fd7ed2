"""What `models`, `pipelines` and `doctor` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from demosearch.cli.display.console import add_columns, plain_table, show, show_line

if TYPE_CHECKING:
    from demosearch.cli.doctor import Finding
    from demosearch.models.memory import Machine

_GIB = 2**30


def show_models(rows: Sequence[dict[str, Any]], machine: Machine) -> None:
    """Print the known models, and the precision in which each one fits this machine."""
    table = plain_table()
    add_columns(
        table,
        left=["model"],
        right=["params", "layers", "width", "fp32", "16 bit", "int8", "nf4"],
    )
    add_columns(table, left=["fits"])
    table.add_column("source", overflow="fold")
    for row in rows:
        sizes = [row["memory"][name] for name in ("fp32", "bf16", "int8", "nf4")]
        table.add_row(
            row["name"],
            _parameters(row["parameters"]),
            str(row["layers"]),
            str(row["width"]),
            *(f"{size / _GIB:.1f}" for size in sizes),
            row["fits"] or "no",
            Text(row["source"].partition(":")[0]),
            style=None if row["fits"] else "dim",
        )
    show(table)
    devices = " + ".join(f"{size / _GIB:.0f}" for size in machine.devices)
    memory = "GPU memory" if machine.gpu else "main memory"
    show_line(
        f"Weights in GiB. 'fits' is the most exact precision that fits in {devices} GiB of {memory}."
    )
    show_line(
        "Any other decoder-only model can be given by its hub id (owner/name), its folder, or a GGUF file"
        " (model.gguf, owner/repo:file.gguf)."
    )
    packaged = [row for row in rows if ":" in row["source"]]
    licenses = "; ".join(f"{row['name']}: {row['license']}" for row in packaged)
    show_line(f"Licenses of the packaged models: {licenses}. Others: --json.")


def show_pipelines(rows: Sequence[dict[str, Any]]) -> None:
    """Print the pipelines with their commands and descriptions."""
    table = Table(title="pipelines", title_justify="left")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))
    show(table)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what is installed and available, and the advice on what is missing."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("", ratio=1)
    topic = ""
    for finding in findings:
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n-> {finding.advice}", style="yellow")
        table.add_row("" if finding.topic == topic else finding.topic, Text(finding.name), text)
        topic = finding.topic
    show(table)


def _parameters(count: int) -> str:
    return f"{count / 1e6:.0f}M" if count < 999.5e6 else f"{count / 1e9:.1f}B"
