"""The agent's builder and its binary, for the tests of this folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def build_agent() -> ModuleType:
    """`tools/build_agent.py` as a module: tools are scripts, not a package."""
    spec = importlib.util.spec_from_file_location("build_agent", ROOT / "tools" / "build_agent.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def agent(build_agent: ModuleType) -> Path:
    """The built binary; fails with the builder's sentence where it cannot be built."""
    binary = build_agent.build()
    assert isinstance(binary, Path)
    return binary
