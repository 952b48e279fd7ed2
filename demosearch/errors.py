"""The one exception that stands for a user's mistake."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: a file, an option, a missing package.

    The message is one line: the rule, what came, where (file and row), and what to do. The command
    line prints it without a traceback and exits with status 2.
    """
