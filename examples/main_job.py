"""The main job, as `make run` runs it: the shop example through the command line, on the simulated cluster.

Where pods cannot be isolated from each other, it says so, passes --allow-unisolated and takes one replica.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "shop"
PROBE = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]


def isolated() -> bool:
    """Whether bubblewrap can make namespaces here."""
    try:
        return subprocess.run(PROBE, capture_output=True, timeout=20, check=False).returncode == 0
    except OSError:
        return False


def main() -> int:
    """Run the example; the exit code is the command's."""
    program = Path(sys.executable).with_name("k8s-execution")
    command = [str(program), "run", str(FOLDER / "plan.yaml")]
    if not isolated():
        print(
            "Pods cannot be isolated here (bubblewrap with user namespaces is missing): they run as plain processes, "
            "so the application takes one replica.",
            file=sys.stderr,
        )
        command += ["--allow-unisolated", "--set", "applications.api.replicas=1"]
        command += ["--set", "environment.env.EXPECTED_REPLICAS=1"]
    code = subprocess.run([*command, *sys.argv[1:]], env=os.environ, check=False).returncode
    if shutil.which("k8s-execution") is None:
        print(f"k8s-execution is not on your PATH yet: . {program.with_name('activate')}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
