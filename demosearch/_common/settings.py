"""The base class of settings that are given as one value, as keywords, or as both."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from demosearch.errors import UserError, first_error


class Settings(BaseModel):
    """Frozen settings without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_unicode(cls, value: Any) -> Any:
        """Refuse half of a surrogate pair, which cannot be written to a file."""
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"must be valid Unicode but got {value!r}") from None
        return value

    @classmethod
    def of(cls, settings: BaseModel | None = None, **keywords: Any) -> Self:
        """Return settings from a value, from keywords, or from both; keywords win.

        Args:
            settings: settings with fields of this class, e.g. of a subclass; other fields are ignored.
                None means the defaults.
            **keywords: fields of this class.

        Raises:
            UserError: a keyword is unknown or has a wrong value.
        """
        values = {} if settings is None else dict(settings)
        known = {name: values[name] for name in cls.model_fields if name in values}
        try:
            return cls.model_validate(known | keywords)
        except ValidationError as error:
            raise UserError(first_error(error, model=cls)) from None
