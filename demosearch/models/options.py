"""Options for loading a model, as one value that every loading function takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, field_validator

from demosearch._common.settings import Settings
from demosearch.errors import UserError
from demosearch.models.known import parse_devices
from demosearch.models.precision import Precision


class LoadOptions(Settings):
    """Precision, devices and adapter of a model.

    Every function that loads a model takes these options, or the same fields as keywords.
    """

    precision: Precision | None = Field(
        None,
        description="number format of the weights; default: the fastest of fp32, bf16 and fp16 on"
        " the device; on a CPU a product is timed",
    )
    device: str | None = Field(
        None, description="torch device, e.g. cpu or cuda:1; default: a GPU if there is one"
    )
    devices: str | None = Field(
        None,
        description="several devices, e.g. 0,1: one replica on each device; a model that is too large"
        " for one device is spread over all of them",
    )
    adapter: str | None = Field(None, description="folder or hub id of a LoRA adapter")
    allow_pickle: bool = Field(
        False, description="also read weights in pickle format, not only safetensors"
    )
    token_budget: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="tokens per forward pass; default: as many as fit in the device's free memory",
    )

    @field_validator("devices", mode="before")
    @classmethod
    def _join(cls, value: Any) -> Any:
        # Python callers pass a list; files and the command line hold a string.
        return value if value is None or isinstance(value, str) else ",".join(value)

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, value: str | None) -> str | None:
        try:
            parse_devices(value)
        except UserError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("adapter", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return None if value is None else str(value)

    @property
    def device_names(self) -> list[str] | None:
        """The devices by torch's names; None if `devices` is not set."""
        return parse_devices(self.devices)

    @property
    def use_safetensors(self) -> bool | None:
        """The argument of that name of transformers: None also accepts weights in pickle format."""
        return None if self.allow_pickle else True

    def on(self, device: str | None, devices: Sequence[str] | None = None) -> Self:
        """Return the same options with other devices."""
        joined = ",".join(devices) if devices else None
        return self.model_copy(update={"device": device, "devices": joined})
