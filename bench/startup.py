"""Start-up CPU and idle memory of `serve`, on a simulated cluster in another process.

Prints JSON: medians over RUNS of CPU seconds (user + system, from exec to the ready file) and of the resident set one
second after it, beside the same for an interpreter that only imports grpc.aio and SQLAlchemy (the floor).
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
TARGET_CPU_SECONDS, TARGET_MEGABYTES = 1.2, 95.0
COMMAND = Path(sys.executable).with_name("k8s-execution")
FLOOR = "import grpc.aio, sqlalchemy.ext.asyncio, aiohttp, time; print('ready', flush=True); time.sleep(5)"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, with its ended children (the schema's migration runs in one)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(f) for f in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the file is there; a process that ends before is an error."""
    deadline = time.monotonic() + 60
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the process {process.args!r} did not become ready")
        time.sleep(0.005)


def one_start(kubeconfig: Path, data: Path) -> tuple[float, float]:
    """CPU seconds and megabytes of one start on an existing data folder."""
    ready = data.with_suffix(".ready")
    ready.unlink(missing_ok=True)
    command = [COMMAND, "serve", "--kubeconfig", kubeconfig, "--grpc-address", "127.0.0.1:0"]
    process = subprocess.Popen([*map(str, command), "--data", str(data), "--ready-file", str(ready)])
    try:
        wait_for(ready, process)
        used = cpu_seconds(process.pid)
        time.sleep(1)
        return used, megabytes(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def floor() -> tuple[float, float]:
    """The same for an interpreter with the three big libraries and nothing else."""
    process = subprocess.Popen([sys.executable, "-c", FLOOR], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = cpu_seconds(process.pid), megabytes(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    return found


def main() -> int:
    """Measure and print; the exit code tells whether both targets are met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ready = folder / "cluster.ready"
        simulation = [sys.executable, "-m", "k8s_simulation", "--port", "0", "--kubeconfig", str(folder / "kubeconfig")]
        simulation += ["--data", str(folder / "cluster"), "--ready-file", str(ready), "--allow-unisolated"]
        cluster = subprocess.Popen(simulation, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(ready, cluster)
            one_start(folder / "kubeconfig", folder / "data")  # makes the database
            starts = [one_start(folder / "kubeconfig", folder / "data") for _ in range(RUNS)]
            floors = [floor() for _ in range(RUNS)]
        finally:
            cluster.send_signal(signal.SIGTERM)
            cluster.wait(30)
    cpu = round(statistics.median(s[0] for s in starts), 3)
    memory = round(statistics.median(s[1] for s in starts), 1)
    figures = {
        "runs": RUNS,
        "cpu_seconds": cpu,
        "idle_megabytes": memory,
        "floor_cpu_seconds": round(statistics.median(f[0] for f in floors), 3),
        "floor_megabytes": round(statistics.median(f[1] for f in floors), 1),
        "targets": {"cpu_seconds": TARGET_CPU_SECONDS, "idle_megabytes": TARGET_MEGABYTES},
    }
    print(json.dumps(figures, indent=1))
    return int(cpu > TARGET_CPU_SECONDS or memory > TARGET_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
