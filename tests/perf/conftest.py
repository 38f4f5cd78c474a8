"""The laboratory is no package that is installed: its scripts find it beside themselves."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "perf"))
