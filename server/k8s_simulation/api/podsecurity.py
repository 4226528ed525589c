"""Pod Security admission, levels baseline and restricted, in the words of k8s.io/pod-security-admission.

The namespace's label `pod-security.kubernetes.io/enforce` chooses; all violations are named at once. Linux pods only.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from k8s_simulation.api.objects import Object

ENFORCE = "pod-security.kubernetes.io/enforce"
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
            "secret"}  # fmt: skip
_BASELINE_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip


def violations(level: str, spec: Object) -> list[str]:
    """What the pod spec breaks at that level; empty for `privileged` and for unknown levels."""
    match level:
        case "baseline":
            return _baseline(spec)
        case "restricted":
            return [*_baseline(spec, restricted=True), *_restricted(spec)]
        case _:
            return []


def _all(spec: Object) -> list[Object]:
    return [
        *(spec.get("initContainers") or []),
        *(spec.get("containers") or []),
        *(spec.get("ephemeralContainers") or []),
    ]


def _context(holder: Object) -> Object:
    return holder.get("securityContext") or {}


def _failing(spec: Object, bad: Callable[[Object], bool]) -> list[str]:
    return [str(c.get("name")) for c in _all(spec) if bad(c)]


def _names(names: Iterable[str]) -> str:
    quoted = [f'"{n}"' for n in names]
    return f"container{'s' if len(quoted) > 1 else ''} {', '.join(quoted)}"


def _baseline(spec: Object, *, restricted: bool = False) -> list[str]:
    """In the order of the checks' identifiers, as the real evaluator runs them."""
    checks = [_host_namespaces, _host_paths, _host_ports, _privileged]
    if not restricted:
        checks = [_added_capabilities, *checks]  # the restricted level has a stricter check of its own
    return [problem for check in checks if (problem := check(spec))]


def _host_namespaces(spec: Object) -> str:
    spaces = [f"{n}=true" for n in ("hostNetwork", "hostPID", "hostIPC") if spec.get(n)]
    return f"host namespaces ({', '.join(spaces)})" if spaces else ""


def _privileged(spec: Object) -> str:
    names = _failing(spec, lambda c: bool(_context(c).get("privileged")))
    return f"privileged ({_names(names)} must not set securityContext.privileged=true)" if names else ""


def _host_paths(spec: Object) -> str:
    paths = [str(v.get("name")) for v in spec.get("volumes") or [] if v.get("hostPath") is not None]
    quoted = ", ".join(f'"{p}"' for p in paths)
    return f"hostPath volumes (volume{'s' if len(paths) > 1 else ''} {quoted})" if paths else ""


def _host_ports(spec: Object) -> str:
    ports = [str(p["hostPort"]) for c in _all(spec) for p in c.get("ports") or [] if p.get("hostPort")]
    names = _failing(spec, lambda c: any(p.get("hostPort") for p in c.get("ports") or []))
    many = "s" if len(ports) > 1 else ""
    return f"hostPort ({_names(names)} uses hostPort{many} {', '.join(ports)})" if ports else ""


def _added_capabilities(spec: Object) -> str:
    added = sorted({a for c in _all(spec) for a in _added(c)} - _BASELINE_CAPABILITIES)
    if not added:
        return ""
    names = _failing(spec, lambda c: bool(_added(c) - _BASELINE_CAPABILITIES))
    quoted = ", ".join(f'"{a}"' for a in added)
    return f"non-default capabilities ({_names(names)} must not include {quoted} in securityContext.capabilities.add)"


def _added(container: Object) -> set[str]:
    return set((_context(container).get("capabilities") or {}).get("add") or [])


def _restricted(spec: Object) -> list[str]:
    checks = (_escalation, _capabilities, _volume_types, _non_root, _root_user, _seccomp)
    return [problem for check in checks if (problem := check(spec))]


def _escalation(spec: Object) -> str:
    names = _failing(spec, lambda c: _context(c).get("allowPrivilegeEscalation") is not False)
    if not names:
        return ""
    return (
        f"allowPrivilegeEscalation != false ({_names(names)} must set securityContext.allowPrivilegeEscalation=false)"
    )


def _capabilities(spec: Object) -> str:
    undropped = _failing(spec, lambda c: "ALL" not in ((_context(c).get("capabilities") or {}).get("drop") or []))
    added = _failing(spec, lambda c: bool(_added(c) - {"NET_BIND_SERVICE"}))
    reasons = []
    if undropped:
        reasons.append(f'{_names(undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if added:
        extra = sorted({a for c in _all(spec) for a in _added(c)} - {"NET_BIND_SERVICE"})
        quoted = ", ".join(f'"{a}"' for a in extra)
        reasons.append(f"{_names(added)} must not include {quoted} in securityContext.capabilities.add")
    return f"unrestricted capabilities ({'; '.join(reasons)})" if reasons else ""


def _non_root(spec: Object) -> str:
    pod_says = _context(spec).get("runAsNonRoot")
    wrong = _failing(spec, lambda c: _context(c).get("runAsNonRoot") is False)
    if pod_says is False or wrong:
        where = (["pod"] if pod_says is False else []) + ([_names(wrong)] if wrong else [])
        return f"runAsNonRoot != true ({' and '.join(where)} must not set securityContext.runAsNonRoot=false)"
    missing = [] if pod_says else _failing(spec, lambda c: not _context(c).get("runAsNonRoot"))
    if not missing:
        return ""
    return f"runAsNonRoot != true (pod or {_names(missing)} must set securityContext.runAsNonRoot=true)"


def _root_user(spec: Object) -> str:
    where = ["pod"] if _context(spec).get("runAsUser") == 0 else []
    if names := _failing(spec, lambda c: _context(c).get("runAsUser") == 0):
        where.append(_names(names))
    return f"runAsUser=0 ({' and '.join(where)} must not set runAsUser=0)" if where else ""


def _seccomp(spec: Object) -> str:
    good = {"RuntimeDefault", "Localhost"}
    pod_type = (_context(spec).get("seccompProfile") or {}).get("type")

    def bad(container: Object) -> bool:
        own = (_context(container).get("seccompProfile") or {}).get("type")
        return (own or pod_type) not in good

    names = _failing(spec, bad)
    if not names:
        return ""
    return (
        f"seccompProfile (pod or {_names(names)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost")'
    )


def _volume_types(spec: Object) -> str:
    bad: list[tuple[str, str]] = []
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if kinds and not kinds & _VOLUMES:
            bad.append((str(volume.get("name")), min(kinds)))
    if not bad:
        return ""
    names = ", ".join(f'"{n}"' for n, _ in bad)
    kinds_text = ", ".join(sorted({f'"{k}"' for _, k in bad}))
    word, verb = ("volumes", "use") if len(bad) > 1 else ("volume", "uses")
    return f"restricted volume types ({word} {names} {verb} restricted volume type {kinds_text})"
