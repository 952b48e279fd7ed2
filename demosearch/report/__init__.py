"""Reports of finished runs: one HTML file that works offline, and figures as PNG files."""

from demosearch.report.page import write_report
from demosearch.report.runs import FinishedRun, read_runs

__all__ = ["FinishedRun", "read_runs", "write_report"]
