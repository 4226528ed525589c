"""The Dockerfile, as far as it can be held against the repository without an engine."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.rules import named
from k8s_execution.settings import SOURCES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def test_what_is_copied_exists_and_is_sent_to_the_engine() -> None:
    """A new folder needs its line in both files."""
    copied = re.findall(r"^COPY (?!--from)(\S+) ", TEXT, re.MULTILINE)
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(path.rstrip("/") for path in copied) == sorted(sent)
    assert all((ROOT / path).exists() for path in copied)


def test_packages_come_locked_with_hashes_only() -> None:
    """Nothing else is installed."""
    assert re.findall(r"pip install ([^\n]*)", TEXT) == [
        "--no-cache-dir --no-deps --require-hashes --only-binary :all: -r /tmp/requirements.txt && \\"
    ]


def test_the_last_stages_run_as_somebody_else_than_root() -> None:
    """The service as the user of its Deployment."""
    users = re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE)
    pod = named("Deployment")["spec"]["template"]["spec"]
    assert users == ["65534:65534", f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"]


def test_its_settings_exist() -> None:
    """An unknown one would end the service at once."""
    given = set(re.findall(r"\b(K8S_EXECUTION_[A-Z_]+)=", TEXT))
    assert given
    assert given <= {source.name for source in SOURCES.values()}


def test_its_go_is_new_enough_for_the_agent() -> None:
    """As the agent's module says."""
    image = re.search(r"^FROM golang:([0-9.]+) ", TEXT, re.MULTILINE)
    module = re.search(r"^go ([0-9.]+)$", (ROOT / "agent" / "go.mod").read_text(), re.MULTILINE)
    assert image is not None
    assert module is not None
    assert [int(n) for n in image[1].split(".")] >= [int(n) for n in module[1].split(".")]
