"""The error message for a missing package that an extra installs."""

from __future__ import annotations

from demosearch.errors import UserError


def missing_extra(purpose: str, extra: str) -> UserError:
    """Return the error for a missing package.

    Args:
        purpose: what requires the package, as the subject of a sentence, e.g. `an adapter`.
        extra: the extra of this package that installs it.
    """
    return UserError(f"{purpose} requires an extra; run: pip install 'demosearch[{extra}]'")
