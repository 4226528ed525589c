"""The simulation's table of fields is what the real API server says of its objects."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from support.kubectl import Kubectl

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_fields_is_that_of_the_real_cluster(kubectl: Kubectl) -> None:
    spec = importlib.util.spec_from_file_location("api_fields", ROOT / "tools" / "api_fields.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    told = json.loads(kubectl.asserted("get", "--raw", "/openapi/v2"))
    assert tool.TARGET.read_text(encoding="utf-8") == tool.rendered(told), "run tools/api_fields.py"
