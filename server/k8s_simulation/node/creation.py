"""From a container's spec and an image to a plan that a sandbox can start: command, environment, user, mounts, files.

Rules are kubelet's and containerd's, named at each function. Must not start anything or change a record.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k8s_simulation.node import python_image
from k8s_simulation.node.images import Image, system_mounts
from k8s_simulation.node.logs import ContainerLog, _Strip
from k8s_simulation.node.memory import events_text
from k8s_simulation.node.node import Node
from k8s_simulation.node.objects import ConfigProblem, References
from k8s_simulation.node.references import expand
from k8s_simulation.node.sandbox import Mount, Place, Plan, SandboxFault, source_of
from k8s_simulation.node.unisolated import names_hook
from k8s_simulation.node.volumes import container_mounts

Object = dict[str, Any]
_MESSAGE_LIMIT, _FALLBACK_LIMIT = 4096, 2048
_KEEP_RUNS = 2  # the present run and the previous one, whose log can be asked for


@dataclass(slots=True)
class PodRun:
    """What the containers of one pod share while it runs. `object` is the newest version the API has shown."""

    object: Object
    references: References
    folder: Path
    tasks: asyncio.TaskGroup
    place: Place = field(default_factory=lambda: Place("", ""))
    volumes: dict[str, Path] = field(default_factory=dict)
    _pulled: set[str] = field(default_factory=set)

    @property
    def spec(self) -> Object:
        """The pod's spec."""
        spec: Object = self.object["spec"]
        return spec

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self.object["metadata"]["uid"])

    def pulled(self, reference: str) -> bool:
        """Whether this pod has already pulled the image."""
        return reference in self._pulled

    def note_pulled(self, reference: str) -> None:
        """Remember that it has."""
        self._pulled.add(reference)


@dataclass(frozen=True, slots=True)
class Creation:
    """One run of a container, ready to be started."""

    plan: Plan
    log_folder: Path
    memory_events: Path

    @staticmethod
    def memory_file(node: Node, pod: PodRun, container: str, run: int) -> Path:
        """Where the memory.events of a run is on the host."""
        return node.pods_folder / pod.uid / "runs" / container / str(run) / "cgroup" / "memory.events"

    @staticmethod
    async def prepare(node: Node, pod: PodRun, spec: Object, image: Image, run: int) -> Creation:
        """Decide everything. Raises ConfigProblem, VolumeProblem, SandboxFault."""
        uid, gid = user(pod.object, spec, image)
        links = await _service_links(node, pod)
        env = await pod.references.environment(spec, links)
        folder = pod.folder / "runs" / spec["name"] / str(run)
        await asyncio.to_thread(_forget_old_runs, folder.parent, run)
        mounts, path = await asyncio.to_thread(_furnish, node, pod, image, folder, uid)
        full = {"PATH": path, "HOSTNAME": pod.place.hostname, "HOME": "/root" if uid == 0 else "/", **image.env, **env}
        if image.python is not None and node.index_url:
            full = _package_index(full, node)
        mounts += container_mounts(pod.object, spec, pod.volumes, full)
        mounts += await asyncio.to_thread(_termination_mount, spec, folder)
        layer = folder / "layer"
        plan = Plan(
            argv=command(spec, image, full),
            env=full,
            cwd=str(spec.get("workingDir") or image.workdir or "/"),
            uid=uid,
            gid=gid,
            place=pod.place,
            layer=layer,
            mounts=tuple(mounts),
            links=system_mounts()[1] if node.sandbox.isolated else {},
            owner=f"{pod.namespace}/{pod.name}",
            ports=tuple(int(p["containerPort"]) for p in spec.get("ports") or []),
            read_only_root=bool((spec.get("securityContext") or {}).get("readOnlyRootFilesystem")),
        )
        return Creation(plan, folder / "log", folder / "cgroup" / "memory.events")


async def _service_links(node: Node, pod: PodRun) -> dict[str, str]:
    if pod.spec.get("enableServiceLinks") is False:
        return {}
    return node.services.links(pod.namespace, None if node.sandbox.isolated else node.network.gateway)


def command(spec: Object, image: Image, env: dict[str, str]) -> tuple[str, ...]:
    """ENTRYPOINT and CMD as command and args override them, variables expanded. Raises ConfigProblem when empty."""
    entrypoint = tuple(spec.get("command") or ())
    arguments = tuple(spec.get("args") or ())
    if not entrypoint:
        arguments = arguments or image.cmd
        entrypoint = image.entrypoint
    argv = tuple(expand(str(word), env) for word in (*entrypoint, *arguments))
    if not argv:
        raise SandboxFault("no command specified")
    return argv


def user(pod: Object, spec: Object, image: Image) -> tuple[int, int]:
    """The uid and gid: container's security context, then the pod's, then the image's.

    Raises ConfigProblem in kubelet's words for runAsNonRoot with uid 0 (kuberuntime/security_context.go).
    """
    outer, inner = pod["spec"].get("securityContext") or {}, spec.get("securityContext") or {}
    context = {**outer, **{k: v for k, v in inner.items() if v is not None}}
    asked = context.get("runAsUser")
    uid = image.user if asked is None else int(asked)
    if context.get("runAsNonRoot") and uid == 0:
        where = f'(pod: "{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}({pod["metadata"]["uid"]})"'
        where += f", container: {spec['name']})"
        if asked is None:
            raise ConfigProblem(f"container has runAsNonRoot and image will run as root {where}")
        raise ConfigProblem(f"container's runAsUser breaks non-root policy {where}")
    group = context.get("runAsGroup")
    return uid, int(group) if group is not None else 0


def _package_index(env: dict[str, str], node: Node) -> dict[str, str]:
    """Point pip at the relay unless the pod chose an index itself."""
    if "PIP_INDEX_URL" in env or "PIP_CONFIG_FILE" in env:
        return env
    return {"PIP_INDEX_URL": node.index_url, "PIP_TRUSTED_HOST": node.network.gateway, **env}


def _forget_old_runs(folder: Path, run: int) -> None:
    old = folder / str(run - _KEEP_RUNS)
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    previous = folder / str(run - 1) / "layer"
    if previous.is_dir():
        shutil.rmtree(previous, ignore_errors=True)


def _furnish(node: Node, pod: PodRun, image: Image, folder: Path, uid: int) -> tuple[list[Mount], str]:
    """The files and mounts that every container has, and its PATH. Blocking."""
    layer = folder / "layer"
    for name in ("etc", "tmp", "var/tmp", "run", "root", "home", "opt", "srv", "mnt", "usr"):
        (layer / name).mkdir(parents=True, exist_ok=True)
    (layer / "tmp").chmod(0o1777)
    cgroup = folder / "cgroup"
    cgroup.mkdir(parents=True, exist_ok=True)
    (cgroup / "memory.events").write_text(events_text(0))
    mounts = list(image.mounts)
    if not node.sandbox.isolated:
        return mounts, _private_environment(node, image, folder)
    (layer / "etc/passwd").write_text(_passwd(uid))
    (layer / "etc/group").write_text(f"root:x:0:\nnogroup:x:65534:\n{f'user:x:{uid}:' if uid else ''}\n")
    (layer / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    mounts += [Mount(pod.folder / "etc" / name, f"/etc/{name}") for name in ("hosts", "resolv.conf", "hostname")]
    mounts += system_mounts()[0]
    mounts.append(Mount(cgroup, "/sys/fs/cgroup"))
    if image.python is None:
        return mounts, python_image.SYSTEM_PATH
    more, path = python_image.furnish(image.python, folder / "python", root=uid == 0, extra_site=image.extra_site)
    return [*mounts, *more], path


def _private_environment(node: Node, image: Image, folder: Path) -> str:
    """Without namespaces: a virtual environment for Python images."""
    if image.python is None:
        return python_image.SYSTEM_PATH
    home = folder / "python"
    if home.exists():
        shutil.rmtree(home)
    path = python_image.make_environment(image.python, home, image.extra_site)
    names_hook(home / "lib" / f"python{image.python.minor}" / "site-packages", node.names_file)
    return path


def _passwd(uid: int) -> str:
    lines = ["root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"]
    if uid not in {0, 65534}:
        # Real images rarely have it, but bubblewrap's single-uid map makes a name harmless and getpwuid useful.
        lines.append(f"user:x:{uid}:0::/:/bin/sh")
    return "\n".join(lines) + "\n"


def _termination_mount(spec: Object, folder: Path) -> list[Mount]:
    """The file at terminationMessagePath. Blocking."""
    file = folder / "termination-log"
    file.touch()
    file.chmod(0o666)
    return [Mount(file, str(spec.get("terminationMessagePath") or "/dev/termination-log"), writable=True)]


def termination_message(spec: Object, plan: Plan, log: ContainerLog, code: int) -> str:
    """What the container left as its last word, or with FallbackToLogsOnError the end of its log. Blocking."""
    path = source_of(str(spec.get("terminationMessagePath") or "/dev/termination-log"), plan)
    try:
        with path.open("rb") as file:
            message = file.read(_MESSAGE_LIMIT).decode("utf-8", "replace")
    except OSError:
        message = ""
    if not message and code != 0 and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        raw = log.path(log.generation).read_bytes()[-65536:]
        begin = raw.find(b"\n") + 1 if len(raw) == 65536 else 0
        message = _Strip()(raw[begin:])[-_FALLBACK_LIMIT:].decode("utf-8", "replace")
    return message
