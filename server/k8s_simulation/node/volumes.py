"""A pod's volumes as folders of the host: emptyDir, configMap, secret, projected, downwardAPI, persistentVolumeClaim.

A claim is a folder that lives as long as the node; sizes (`sizeLimit`, a claim's request) are not enforced. Files are
written once, before the containers start: later changes of a ConfigMap do not reach a running pod (a difference).
Must not start anything; a volume that cannot be made is a `VolumeProblem` with kubelet's text for FailedMount.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8s_simulation.node.objects import References
from k8s_simulation.node.references import container_resource, expand, pod_field
from k8s_simulation.node.sandbox import Mount

Object = dict[str, Any]
_DEFAULT_MODE = 0o644


class VolumeProblem(Exception):
    """A volume cannot be set up yet; kubelet tries again."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    content: bytes
    mode: int


async def make_volumes(references: References, folder: Path, claims: Path) -> dict[str, Path]:
    """Make all volumes of the pod below `folder`; the folder of each by name. Raises VolumeProblem."""
    made: dict[str, Path] = {}
    for volume in references.pod["spec"].get("volumes") or []:
        name = volume["name"]
        made[name] = await _make(references, volume, folder / name, claims)
    return made


async def _make(references: References, volume: Object, folder: Path, claims: Path) -> Path:
    kinds = [k for k in volume if k != "name" and volume[k] is not None]
    kind = kinds[0] if kinds else "emptyDir"
    source: Object = volume.get(kind) or {}
    if kind == "emptyDir":
        return await asyncio.to_thread(_folder, folder)
    if kind == "persistentVolumeClaim":
        return await asyncio.to_thread(_folder, claims / references.namespace / source["claimName"])
    if kind not in {"configMap", "secret", "projected", "downwardAPI"}:
        raise VolumeProblem(
            f'MountVolume.SetUp failed for volume "{volume["name"]}" : the simulated node has no {kind}'
        )
    mode = int(source.get("defaultMode") or _DEFAULT_MODE)
    parts = source.get("sources") or [] if kind == "projected" else [{kind: source}]
    files: list[_File] = []
    for part in parts:
        try:
            files += await _project(references, part, mode)
        except VolumeProblem as problem:
            raise VolumeProblem(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {problem}') from problem
    await asyncio.to_thread(_write, folder, files)
    return folder


async def _project(references: References, part: Object, mode: int) -> list[_File]:
    """The files of one source of a projected volume, or of a volume of its kind."""
    for key, kind in (("secret", "secrets"), ("configMap", "configmaps")):
        if (source := part.get(key)) is not None:
            name = source.get("secretName") or source.get("name")
            data = await references.data(kind, name)
            return _keys(source, data, f'{"secret" if key == "secret" else "configmap"} "{name}" not found', mode)
    if (source := part.get("downwardAPI")) is not None:
        return [_downward(references, item, mode) for item in source.get("items") or []]
    raise VolumeProblem(f"the simulated node cannot project {', '.join(part)}")


def _keys(source: Object, data: dict[str, bytes] | None, missing: str, mode: int) -> list[_File]:
    optional = bool(source.get("optional"))
    if data is None:
        if optional:
            return []
        raise VolumeProblem(missing)
    if not source.get("items"):
        return [_File(name, content, mode) for name, content in data.items()]
    files = []
    for item in source["items"]:
        if item["key"] in data:
            files.append(_File(item["path"], data[item["key"]], int(item.get("mode") or mode)))
        elif not optional:
            raise VolumeProblem(f"references non-existent config key: {item['key']}")
    return files


def _downward(references: References, item: Object, mode: int) -> _File:
    value: str | None
    if reference := item.get("fieldRef"):
        value = pod_field(references.pod, reference["fieldPath"])
    else:
        reference = item["resourceFieldRef"]
        value = container_resource(references.pod, reference, "", references.allocatable)
    if value is None:
        raise VolumeProblem(f"unsupported downward API item {item['path']}")
    return _File(item["path"], value.encode(), int(item.get("mode") or mode))


def _folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    return folder


def _write(folder: Path, files: list[_File]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = folder / file.path
        if ".." in Path(file.path).parts or Path(file.path).is_absolute():
            raise VolumeProblem(f"the path {file.path} leaves its volume")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)


def container_mounts(pod: Object, container: Object, volumes: dict[str, Path], env: dict[str, str]) -> list[Mount]:
    """The mounts of one container. Raises VolumeProblem for a `subPath` that leaves its volume."""
    read_only = {
        v["name"]
        for v in pod["spec"].get("volumes") or []
        if any(v.get(k) is not None for k in ("configMap", "secret", "projected", "downwardAPI"))
    }
    mounts = []
    for mount in container.get("volumeMounts") or []:
        source = volumes[mount["name"]]
        inner = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
        if inner:
            if ".." in Path(inner).parts or inner.startswith("/"):
                raise VolumeProblem(f"the subPath {inner} leaves its volume")
            source = source / inner
            if not source.exists():
                _folder(source)
        writable = not mount.get("readOnly") and mount["name"] not in read_only
        mounts.append(Mount(source, mount["mountPath"].rstrip("/") or "/", writable))
    return mounts
