"""Commands that use the server's code in their own process: history, settings, and how they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from k8s_execution_client.cli.border import UsageFault
from k8s_execution_client.cli.serve import publish

ROOT = Path(__file__).parents[3]


def cli(data: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a data folder of its own and no service named."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("K8S_EXECUTION_") and k != "KUBECONFIG"}
    environment |= {"K8S_EXECUTION_DATA": str(data), "HOME": str(data), **variables}
    return subprocess.run(
        [sys.executable, "-m", "k8s_execution_client.cli.main", *arguments],
        capture_output=True, text=True, timeout=90, check=False, env=environment, cwd=data,
    )  # fmt: skip


def test_an_empty_history_is_an_empty_list(tmp_path: Path) -> None:
    """No cluster is needed to read."""
    answer = cli(tmp_path, "list", "-o", "json")
    assert (answer.returncode, json.loads(answer.stdout)) == (0, {"executions": []})


def test_the_last_of_none_is_said(tmp_path: Path) -> None:
    """Exit code 2."""
    answer = cli(tmp_path, "status", "@last")
    assert answer.returncode == 2
    assert answer.stderr.startswith("k8s-execution: there is no execution yet here; ")


def test_a_plan_is_validated_without_a_cluster(tmp_path: Path) -> None:
    """By the server's own rules."""
    answer = cli(tmp_path, "validate", str(ROOT / "examples" / "shop" / "plan.yaml"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Deployment/api" in answer.stdout


def test_render_gives_objects_for_kubectl(tmp_path: Path) -> None:
    """A stream of YAML documents."""
    import yaml

    answer = cli(tmp_path, "render", str(ROOT / "examples" / "shop" / "plan.yaml"))
    kinds = [document["kind"] for document in yaml.safe_load_all(answer.stdout)]
    assert kinds[0] == "Namespace"
    assert "Job" in kinds


def test_init_writes_a_plan_that_validates_and_replaces_nothing(tmp_path: Path) -> None:
    """Twice is refused."""
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n")
    assert cli(tmp_path, "init").returncode == 0
    assert cli(tmp_path, "validate", "plan.yaml").returncode == 0
    again = cli(tmp_path, "init")
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["serve"], "--simulate"),
        (["serve", "--simulate", "--context", "x"], "one of them"),
        (["serve", "--kubeconfig", "none.yaml"], "no kubeconfig at none.yaml"),
        (["serve", "--context", "x"], "no kubeconfig at"),
        (["serve", "--kubeconfig", "x", "--faults", "y"], "simulated cluster only"),
        (["cancel", "@last"], "say which"),
        (["sweep"], "say which"),
        (["list", "-o", "xml"], "text, wide, json"),
        (["run", "plan.yaml", "--server", "x:1", "--image", "a=b"], "simulated cluster only"),
        (["nonsense"], "No such command"),
        (["list", "--server", "localhost"], "HOST:PORT"),
        (["simulate", "--kubeconfig", "nowhere/config"], "cannot write nowhere/config"),
        (["serve", "--simulate", "--ready-file", "nowhere/ready"], "cannot write nowhere/ready"),
        (["serve", "--simulate", "--data", "/proc/nothing"], "--data or K8S_EXECUTION_DATA"),
        (["list", "--server", "http://127.0.0.1:50051"], "without a scheme"),
        (["serve", "--simulate", "--image", "shop:1"], "REF=DIR"),
        (["serve", "--simulate", "--image", "shop:1=nowhere"], "DIR a folder"),
        (["list", "--data", "/proc/nothing"], "--data or K8S_EXECUTION_DATA"),
        (["run", "nowhere.yaml"], "k8s-execution init"),
        (["run", "/proc"], "/proc/plan.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_way_out(tmp_path: Path, arguments: list[str], part: str) -> None:
    """Exit code 2, no traceback."""
    answer = cli(tmp_path, *arguments)
    assert answer.returncode == 2
    assert part in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_kubeconfig_that_cannot_be_written_after_all_is_no_defect(tmp_path: Path) -> None:
    """Such as below /proc, which a look at its rights says root may write to."""
    source = tmp_path / "config"
    source.write_text("x")
    with pytest.raises(UsageFault, match="cannot write /proc/config"):
        publish(source, Path("/proc/config"))


def test_a_misspelt_setting_is_refused(tmp_path: Path) -> None:
    """With the one that was meant."""
    answer = cli(tmp_path, "list", K8S_EXECUTION_DTAA="x")
    assert answer.returncode == 2
    assert "K8S_EXECUTION_DATA" in answer.stderr


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    """Names as in the environment."""
    answer = cli(tmp_path, "serve", "--print-settings", "--data", "elsewhere", K8S_EXECUTION_KEY="s3cret")
    assert f"K8S_EXECUTION_DATA={tmp_path / 'elsewhere'}" in answer.stdout.splitlines()
    assert "s3cret" not in answer.stdout


def test_a_kubeconfig_that_is_none_is_a_service_that_cannot_start(tmp_path: Path) -> None:
    """Exit code 6, the reason and no traceback."""
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\n")
    answer = cli(tmp_path, "serve", "--kubeconfig", "config", "--grpc-address", "127.0.0.1:0")
    assert answer.returncode == 6
    assert "could not start" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_variable_of_the_remote_service_yields_to_a_named_cluster(tmp_path: Path) -> None:
    """What is said wins over what is set."""
    answer = cli(tmp_path, "list", "--kubeconfig", "none.yaml", K8S_EXECUTION_SERVER="127.0.0.1:1")
    assert (answer.returncode, "no kubeconfig" in answer.stderr) == (2, True)


def test_doctor_says_a_line_for_each_thing(tmp_path: Path) -> None:
    """Good or missing."""
    answer = cli(tmp_path, "doctor")
    names = [line.split()[1] for line in answer.stdout.splitlines()]
    assert names == ["python:", "server:", "bubblewrap:", "user", "agent:", "kubectl:", "disk:"]
