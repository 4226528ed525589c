"""The life of pods on a node with namespaces: phases, restarts, init containers, ends."""

from __future__ import annotations

import time

from k8s_simulation.faults import EvictPod, ImagePullError, OutOfMemory
from unit.simulation_node.harness import Cluster, condition, eventually, shell, state


async def test_a_command_that_ends_with_zero_makes_the_pod_succeed(cluster: Cluster) -> None:
    await cluster.pod("ok", shell("echo done"), restartPolicy="Never")
    pod = await cluster.phase("ok", "Succeeded")
    ended = state(pod)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert condition(pod, "Initialized") == "True" and condition(pod, "Ready") == "False"
    assert await cluster.log("ok") == "done\n"


async def test_a_pod_whose_command_ends_is_seen_to_succeed(cluster: Cluster) -> None:
    await cluster.pod("short", shell("true"), restartPolicy="Never")
    pod = await cluster.phase("short", "Succeeded")
    assert (state(pod)["terminated"]["exitCode"], state(pod)["terminated"]["reason"]) == (0, "Completed")


async def test_a_failing_command_makes_the_pod_fail_with_its_exit_code(cluster: Cluster) -> None:
    await cluster.pod("bad", shell("exit 7"), restartPolicy="Never")
    pod = await cluster.phase("bad", "Failed")
    assert (state(pod)["terminated"]["exitCode"], state(pod)["terminated"]["reason"]) == (7, "Error")


async def test_events_tell_pull_creation_and_start(cluster: Cluster) -> None:
    await cluster.pod("told", shell("true"), restartPolicy="Never")
    await cluster.phase("told", "Succeeded")
    await cluster.until_event("told", "Started")
    events = await cluster.events("told")
    assert {e["reason"] for e in events} == {"Pulling", "Pulled", "Created", "Started"}
    assert events[0]["involvedObject"]["fieldPath"] == "spec.containers{main}"
    assert events[0]["source"] == {"component": "kubelet", "host": "test-node"}


async def test_restart_always_backs_off_and_keeps_the_last_state(cluster: Cluster) -> None:
    await cluster.pod("loop", shell("echo run; exit 1"))
    pod = await cluster.until("loop", lambda p: "CrashLoopBackOff" in str(p["status"]))
    assert state(pod)["waiting"]["message"].startswith("back-off ")
    assert pod["status"]["phase"] == "Running"
    pod = await cluster.until("loop", lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 2)
    assert state(pod, key="lastState")["terminated"]["exitCode"] == 1
    await cluster.until_event("loop", "BackOff")


async def test_on_failure_restarts_until_success(cluster: Cluster) -> None:
    script = "test -e /shared/again && exit 0; touch /shared/again; exit 1"
    mounts = [{"name": "v", "mountPath": "/shared"}]
    await cluster.pod(
        "again", shell(script, volumeMounts=mounts), restartPolicy="OnFailure", volumes=[{"name": "v", "emptyDir": {}}]
    )
    pod = await cluster.phase("again", "Succeeded")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


async def test_init_containers_run_in_order_before_the_containers(cluster: Cluster) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    await cluster.pod(
        "order",
        shell("cat /v/order", volumeMounts=mounts),
        initContainers=[shell(f"echo {n} >> /v/order", n, volumeMounts=mounts) for n in ("one", "two")],
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await cluster.phase("order", "Succeeded")
    assert await cluster.log("order") == "one\ntwo\n"


async def test_a_failing_init_container_fails_a_pod_that_never_restarts(cluster: Cluster) -> None:
    await cluster.pod("init", shell("true"), initContainers=[shell("exit 4", "setup")], restartPolicy="Never")
    pod = await cluster.phase("init", "Failed")
    assert state(pod, "setup")["terminated"]["exitCode"] == 4
    assert state(pod)["waiting"]["reason"] == "PodInitializing"
    assert condition(pod, "Initialized") == "False"


async def test_a_sidecar_runs_beside_and_ends_after_the_containers(cluster: Cluster) -> None:
    sidecar = shell("trap 'exit 0' TERM; while :; do sleep 0.05; done", "side", restartPolicy="Always")
    await cluster.pod("sidecar", shell("sleep 0.1"), initContainers=[sidecar], restartPolicy="Never")
    pod = await cluster.phase("sidecar", "Succeeded")
    assert state(pod, "side")["terminated"]["exitCode"] == 0


async def test_a_command_that_does_not_exist_is_a_start_error(cluster: Cluster) -> None:
    await cluster.pod("nothing", {"name": "main", "image": "busybox", "command": ["nosuch"]}, restartPolicy="Never")
    ended = state(await cluster.phase("nothing", "Failed"))["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert 'exec: "nosuch": executable file not found in $PATH: unknown' in ended["message"]
    assert await cluster.log("nothing") == ""


async def test_an_unknown_image_is_err_image_pull_with_a_hint(cluster: Cluster) -> None:
    await cluster.pod("pull", shell("true", image="registry.example/shop:1"))
    pod = await cluster.until("pull", lambda p: "waiting" in str(p["status"]) and "Image" in str(p["status"]))
    assert "--image registry.example/shop:1=DIR" in state(pod)["waiting"]["message"]
    await cluster.until("pull", lambda p: "ImagePullBackOff" in str(p["status"]))
    assert (await cluster.until_event("pull", "Failed"))["message"].startswith('Failed to pull image "registry.example')


async def test_an_impossible_image_name_is_invalid(cluster: Cluster) -> None:
    await cluster.pod("name", shell("true", image="UPPER:1"))
    pod = await cluster.until("name", lambda p: "InvalidImageName" in str(p["status"]))
    assert "must be lowercase" in state(pod)["waiting"]["message"]


async def test_a_missing_secret_is_a_config_error_until_it_comes(cluster: Cluster) -> None:
    reference = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}
    await cluster.pod("late", shell("echo $X", env=[reference]), restartPolicy="Never")
    pod = await cluster.until("late", lambda p: "CreateContainerConfigError" in str(p["status"]))
    assert state(pod)["waiting"]["message"] == 'secret "late" not found'
    body = {"metadata": {"name": "late"}, "stringData": {"k": "come"}}
    await cluster.client.create("/api/v1/namespaces/default/secrets", body)
    await cluster.phase("late", "Succeeded")
    assert await cluster.log("late") == "come\n"


async def test_deletion_sends_sigterm_and_waits_for_it(cluster: Cluster) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await cluster.pod("polite", shell(script), terminationGracePeriodSeconds=3600)
    await cluster.ready("polite")
    await cluster.logged("polite", "up")
    await cluster.delete("polite")
    await cluster.gone("polite")


async def test_deletion_kills_after_the_grace(cluster: Cluster) -> None:
    ignores = shell("trap '' TERM; while :; do sleep 0.05; done")
    await cluster.pod("stubborn", ignores, terminationGracePeriodSeconds=3600)
    await cluster.ready("stubborn")
    began = time.monotonic()
    await cluster.delete("stubborn", gracePeriodSeconds=1)
    await cluster.gone("stubborn")
    assert time.monotonic() - began > 0.9


async def test_a_pod_deleted_before_it_could_start_goes_at_once(cluster: Cluster) -> None:
    await cluster.pod("stuck", shell("true", image="nosuch:1"))
    await cluster.until("stuck", lambda p: "Image" in str(p["status"]))
    await cluster.delete("stuck")
    await cluster.gone("stuck")


async def test_the_files_of_a_deleted_pod_are_removed(cluster: Cluster) -> None:
    pod = await cluster.pod("files", shell("true"), restartPolicy="Never")
    folder = cluster.node.pods_folder / pod["metadata"]["uid"]
    await cluster.phase("files", "Succeeded")
    assert folder.is_dir()
    await cluster.delete("files")
    await cluster.gone("files")
    await eventually(lambda: not folder.exists())


async def test_active_deadline_fails_the_pod(cluster: Cluster) -> None:
    await cluster.pod("slow", shell("sleep 60"), restartPolicy="Never", activeDeadlineSeconds=1)
    pod = await cluster.phase("slow", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_memory_beyond_the_limit_is_oom_killed(cluster: Cluster) -> None:
    hog = {
        "name": "main",
        "image": "python:3-slim",
        "command": ["python", "-c", "x = b'x' * (200 << 20); import time; time.sleep(30)"],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    await cluster.pod("hog", hog, restartPolicy="Never")
    ended = state(await cluster.phase("hog", "Failed"))["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


async def test_run_as_non_root_refuses_an_image_of_root(cluster: Cluster) -> None:
    await cluster.pod("root", shell("true", securityContext={"runAsNonRoot": True}))
    pod = await cluster.until("root", lambda p: "CreateContainerConfigError" in str(p["status"]))
    assert state(pod)["waiting"]["message"].startswith("container has runAsNonRoot and image will run as root")


async def test_the_security_context_sets_the_uid_and_a_read_only_root(cluster: Cluster) -> None:
    context = {"runAsUser": 1000, "runAsGroup": 1000, "readOnlyRootFilesystem": True}
    script = "id -u; id -g; touch /tmp/x 2>&1; touch /v/x && echo volume"
    await cluster.pod(
        "user",
        shell(script, securityContext=context, volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await cluster.phase("user", "Succeeded")
    text = await cluster.log("user")
    assert text.startswith("1000\n1000\n") and "Read-only file system" in text and text.endswith("volume\n")


async def test_configmaps_secrets_and_the_downward_api_are_mounted(cluster: Cluster) -> None:
    await cluster.client.create(
        "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}, "data": {"a.txt": "A", "b.txt": "B"}}
    )
    await cluster.client.create(
        "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "S"}}
    )
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    sources = [{"secret": {"name": "s"}}, {"downwardAPI": {"items": [labels]}}]
    volumes = [
        {"name": "c", "configMap": {"name": "c", "items": [{"key": "a.txt", "path": "x/a", "mode": 0o400}]}},
        {"name": "p", "projected": {"sources": sources}},
        {"name": "all", "configMap": {"name": "c"}},
    ]
    mounts = [
        {"name": "c", "mountPath": "/c"},
        {"name": "p", "mountPath": "/p"},
        {"name": "all", "mountPath": "/etc/b.txt", "subPath": "b.txt"},
    ]
    script = "cat /c/x/a; stat -c %a /c/x/a; cat /p/k /p/labels; cat /etc/b.txt; touch /c/no 2>/dev/null || echo sealed"
    await cluster.pod(
        "vols", shell(script, volumeMounts=mounts), volumes=volumes, restartPolicy="Never", labels={"l": "v"}
    )
    await cluster.phase("vols", "Succeeded")
    assert await cluster.log("vols") == 'A400\nSl="v"Bsealed\n'


async def test_environment_references_and_expansion(cluster: Cluster) -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2 $$(A) $(NO)"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "M", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]
    limits = {"limits": {"memory": "64Mi"}}
    container = shell("true", env=env, resources=limits)
    container["command"] = ["sh", "-c", 'echo "$0|$B|$IP|$M"', "$(A)!"]
    await cluster.pod("env", container, restartPolicy="Never")
    pod = await cluster.phase("env", "Succeeded")
    assert await cluster.log("env") == f"1!|12 $(A) $(NO)|{pod['status']['podIP']}|64\n"


async def test_a_pod_without_network_namespace_of_the_host_has_only_its_own_address(cluster: Cluster) -> None:
    script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('10.244.0.1', 9)); "
    script += "print(s.getsockname()[0])"
    container = {"name": "main", "image": "python:3", "command": ["python", "-c", script]}
    await cluster.pod("net", container, restartPolicy="Never")
    pod = await cluster.phase("net", "Succeeded")
    assert (await cluster.log("net")).strip() == pod["status"]["podIP"]


async def test_termination_message_is_reported(cluster: Cluster) -> None:
    await cluster.pod("word", shell("echo -n last > /dev/termination-log; exit 1"), restartPolicy="Never")
    pod = await cluster.phase("word", "Failed")
    assert state(pod)["terminated"]["message"] == "last"


async def test_post_start_and_pre_stop_hooks_run_in_the_container(cluster: Cluster) -> None:
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started > /v/hook"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}},
    }
    mounts = [{"name": "v", "mountPath": "/v"}]
    script = "until test -e /v/hook; do sleep 0.02; done; cat /v/hook; trap 'exit 0' TERM; while :; do sleep 0.05; done"
    await cluster.pod(
        "hooks", shell(script, lifecycle=hooks, volumeMounts=mounts), volumes=[{"name": "v", "emptyDir": {}}]
    )
    await cluster.ready("hooks")
    await cluster.logged("hooks", "started")


async def test_scripted_faults_fail_pulls_kill_for_memory_and_evict(cluster: Cluster) -> None:
    cluster.faults.add([ImagePullError("busybox", "no such thing", times=1), OutOfMemory("victim", after_seconds=0.1)])
    await eventually(lambda: cluster.node.faults._faults)
    await cluster.pod("victim", shell("sleep 60"), restartPolicy="Never")
    assert state(await cluster.phase("victim", "Failed"))["terminated"]["reason"] == "OOMKilled"
    assert "no such thing" in str([e["message"] for e in await cluster.events("victim")])
    await cluster.pod("evicted", shell("sleep 60"), restartPolicy="Never")
    await cluster.ready("evicted")
    cluster.faults.replace([EvictPod("evicted")])
    failed = await cluster.phase("evicted", "Failed")
    assert failed["status"]["reason"] == "Evicted"
    (target,) = [c for c in failed["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")


async def test_the_image_id_says_what_the_image_ran_as(cluster: Cluster) -> None:
    await cluster.pod("id", shell("true"), restartPolicy="Never")
    pod = await cluster.phase("id", "Succeeded")
    image_id = pod["status"]["containerStatuses"][0]["imageID"]
    assert image_id.startswith("simulated://docker.io/library/busybox:latest@sha256:")
    assert image_id.partition("#")[2].startswith("the host's /bin/sh")


async def test_shared_memory_is_a_writable_mount(cluster: Cluster) -> None:
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]
    await cluster.pod("shm", shell("echo x > /dev/shm/f && cat /dev/shm/f", volumeMounts=mounts), volumes=volumes,
                      restartPolicy="Never")  # fmt: skip
    await cluster.phase("shm", "Succeeded")
    assert await cluster.log("shm") == "x\n"


async def test_a_forced_deletion_kills_at_once_and_the_name_can_be_used_again(cluster: Cluster) -> None:
    await cluster.pod("forced", shell("trap '' TERM; sleep 60"), terminationGracePeriodSeconds=60)
    old = await cluster.ready("forced")
    folder = cluster.node.pods_folder / old["metadata"]["uid"]
    await cluster.delete("forced", gracePeriodSeconds=0)
    await cluster.gone("forced")
    await cluster.pod("forced", shell("echo new"), restartPolicy="Never")
    await cluster.phase("forced", "Succeeded")
    assert await cluster.log("forced") == "new\n"
    await eventually(lambda: not folder.exists())


async def test_a_shorter_grace_given_later_counts(cluster: Cluster) -> None:
    await cluster.pod("hurry", shell("trap '' TERM; while :; do sleep 0.05; done"), terminationGracePeriodSeconds=3600)
    await cluster.ready("hurry")
    await cluster.delete("hurry")
    await cluster.until("hurry", lambda p: p["metadata"].get("deletionTimestamp"))
    await cluster.delete("hurry", gracePeriodSeconds=1)
    await cluster.gone("hurry")
