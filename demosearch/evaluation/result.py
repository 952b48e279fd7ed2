"""The contents of `result.json`: what ran, on what, and what came out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from demosearch.demonstration import AdapterRecord, ModelRecord, PromptRecord


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SystemRecord(_Strict):
    """What was evaluated."""

    model: ModelRecord
    prompts: list[PromptRecord]
    adapter: AdapterRecord | None = Field(description="the LoRA, if any")


class TaskResult(_Strict):
    """One task's score."""

    metric: str
    score: float = Field(description="x 100")
    pairs: int
    sha256: str = Field(description="of all sentences and scores")
    subsets: dict[str, float] = Field(description="score of each subset, x 100")


class Result(_Strict):
    """One system's scores."""

    system: SystemRecord
    tasks: dict[str, TaskResult]
    average: float | None = Field(description="over the group, where all of it was there")
    missing: list[str] = Field(description="tasks whose data the folder does not have")
    seconds: float
    versions: dict[str, str]
