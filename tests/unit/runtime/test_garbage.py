"""When the cyclic collector rests: in a process of our own only, until the last context is left, and out of sight then.

Each in a process of its own, since what is changed is the process's.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAD = "import gc\nfrom k8s_execution.runtime import garbage\n"
PROGRAMS = {
    "an embedded service leaves the collector alone": """
with garbage.resting():
    assert gc.isenabled()
assert gc.get_freeze_count() == 0
""",
    "it rests until the last context is left, however that ends": """
garbage.own()
outer = garbage.resting()
outer.__enter__()
try:
    with garbage.resting():
        assert not gc.isenabled()
        raise ValueError
except ValueError:
    assert not gc.isenabled()
outer.__exit__(None, None, None)
assert gc.isenabled()
""",
    "what was made meanwhile is not walked over again": """
garbage.own()
with garbage.resting():
    kept = [[] for _ in range(50_000)]
assert gc.get_freeze_count() > 50_000
assert len(gc.get_objects()) < 10_000
""",
    "after a fault nothing goes out of sight, and the next context may take it": """
garbage.own()
try:
    with garbage.resting():
        kept = [[] for _ in range(50_000)]
        raise ValueError
except ValueError:
    pass
assert gc.get_freeze_count() == 0
with garbage.resting():
    more = [[] for _ in range(50_000)]
assert gc.get_freeze_count() > 50_000
""",
    "little goes on to be looked after": """
garbage.own()
with garbage.resting():
    kept = [[] for _ in range(100)]
assert gc.get_freeze_count() == 0
""",
    "garbage that was frozen before is given back when the process is settled": """
import weakref
class Node:
    pass
garbage.own()
with garbage.resting():
    node = Node()
    node.itself, seen = node, weakref.ref(node)
    kept = [[] for _ in range(50_000)]
    del node
gc.collect()
assert seen() is not None
garbage.settle()
assert seen() is None
""",
    "what start-up made is out of sight once the process is settled": """
kept = [[] for _ in range(50_000)]
garbage.settle()
assert gc.get_freeze_count() > 50_000
""",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_the_collector(what: str) -> None:
    program = HEAD + PROGRAMS[what]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
