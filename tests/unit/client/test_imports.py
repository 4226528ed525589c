"""What the command line loads before it knows what to do, and that the client works without the server."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "grpc", "google.protobuf", "yaml", "rich", "pathspec", "asyncio", "aiohttp", "sqlalchemy", "jinja2",
    "cryptography", "kubernetes_asyncio", "k8s_execution", "k8s_simulation", "xml.etree", "k8s_execution_client._gen",
)  # fmt: skip
LIST = "import sys; print('\\n'.join(sys.modules))"
HIDE = """
import importlib.abc, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"k8s_execution", "k8s_simulation"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from k8s_execution_client.cli.main import main
sys.argv = ["k8s-execution", *sys.argv[1:]]
main()
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_loads_nothing_heavy() -> None:
    """Help is there at once because these are not."""
    code = f"""
import sys
from k8s_execution_client.cli.main import app
try:
    app(["run", "--help"])
except SystemExit:
    pass
{LIST}
"""
    loaded = set(python(code).stdout.split())
    assert "k8s_execution_client.cli.run" in loaded
    assert not [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["schema"], ["run", "--help"]])
def test_the_client_works_without_the_server(arguments: list[str]) -> None:
    """It installs alone."""
    answer = python(HIDE, *arguments)
    assert answer.returncode == 0, answer.stderr


def test_a_command_that_needs_the_server_says_how_to_install_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exit code 2 and no traceback."""
    answer = python(HIDE, "list", "--data", str(tmp_path_factory.mktemp("data")))
    assert answer.returncode == 2
    assert "pip install k8s-execution" in answer.stderr
    assert "Traceback" not in answer.stderr
