"""Known models, and loading weights at a precision."""

from demosearch.models.known import KNOWN_MODELS, Precision, parse_devices, resolve

__all__ = ["KNOWN_MODELS", "Precision", "parse_devices", "resolve"]
