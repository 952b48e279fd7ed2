"""Which weights and which adapter, as files record them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelRecord(_Record):
    """The exact weights of a model."""

    name: str = Field(description="the name the user gave")
    source: str = Field(
        description="hub id, folder or file; of a packaged model the package and the file"
    )
    revision: str = Field(description="commit or content hash of the weights; empty if unknown")
    precision: str = Field(description="fp32, bf16, fp16, int8 or nf4")
    parameters: int | None = Field(
        None, description="of the base model, without language-model head; null if not counted"
    )

    quantization: str | None = Field(
        None,
        description="format of the GGUF file the weights were read from, e.g. Q4_K_M; else null",
    )

    def identity(self) -> dict[str, Any]:
        """Return the fields that identify the weights; the others follow from them."""
        return self.model_dump(exclude={"parameters", "quantization"})


class AdapterRecord(_Record):
    """The exact LoRA on a model."""

    source: str = Field(description="hub id or folder, as the user gave it")
    revision: str = Field(description="commit or content hash")
