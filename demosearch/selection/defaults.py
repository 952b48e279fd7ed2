"""What a search is called, and what it chooses among, where nothing else is said."""

from __future__ import annotations

from typing import Literal

# A study's name in its storage.
STUDY_NAME = "demosearch"
# In place of layers: all of them.
AUTO: Literal["auto"] = "auto"
