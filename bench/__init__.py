"""Benchmarks: one command each, ratios within one run, JSON on standard output."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the harness of the real cluster lives there
