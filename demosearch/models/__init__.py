"""Known models, and loading weights at a precision."""

from demosearch.models.known import KNOWN_MODELS, parse_devices, resolve
from demosearch.models.precision import Precision

__all__ = ["KNOWN_MODELS", "Precision", "parse_devices", "resolve"]
