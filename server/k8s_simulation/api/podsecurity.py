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

_SECCOMP = {"RuntimeDefault", "Localhost"}
_SE_LINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS = {"kernel.shm_rmid_forced"} | {
    f"net.ipv4.{name}"
    for name in (
        "ip_local_port_range", "ip_unprivileged_port_start", "tcp_syncookies", "ping_group_range",
        "ip_local_reserved_ports", "tcp_keepalive_time", "tcp_fin_timeout", "tcp_keepalive_intvl",
        "tcp_keepalive_probes", "tcp_rmem", "tcp_wmem",
    )
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
    checks = [_app_armor, _host_namespaces, _host_ports, _privileged, _se_linux, _sysctls]
    if not restricted:  # for these the restricted level has a stricter check of its own
        checks = [_app_armor, _added_capabilities, _host_namespaces, _host_paths, _host_ports, _privileged, _se_linux,
                  _unconfined, _sysctls]  # fmt: skip
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


def _holders(spec: Object, bad: Callable[[Object], object]) -> str:
    """`pod and container "main"`: all whose security context is bad."""
    where = ["pod"] if bad(_context(spec)) else []
    if names := _failing(spec, lambda c: bool(bad(_context(c)))):
        where.append(_names(names))
    return " and ".join(where)


def _contexts(spec: Object) -> list[Object]:
    return [_context(holder) for holder in (spec, *_all(spec))]


def _type_of(context: Object, profile: str) -> str:
    return str((context.get(profile) or {}).get("type") or "")


def _app_armor(spec: Object) -> str:
    def bad(context: Object) -> bool:
        return _type_of(context, "appArmorProfile") == "Unconfined"

    where = _holders(spec, bad)
    return f'forbidden AppArmor profile ({where} must not set AppArmor profile type to "Unconfined")' if where else ""


def _se_linux(spec: Object) -> str:
    def wrong(context: Object) -> bool:
        given = context.get("seLinuxOptions") or {}
        return bool(given.get("user") or given.get("role") or given.get("type", "") not in _SE_LINUX_TYPES)

    where = _holders(spec, wrong)
    if not where:
        return ""
    options = [context.get("seLinuxOptions") or {} for context in _contexts(spec)]
    types = sorted({str(o["type"]) for o in options if o.get("type", "") not in _SE_LINUX_TYPES})
    quoted = ", ".join(f'"{t}"' for t in types)
    problems = [f"type{'s' if len(types) > 1 else ''} {quoted}"] if types else []
    problems += [f"{field} may not be set" for field in ("user", "role") if any(o.get(field) for o in options)]
    return f"seLinuxOptions ({where} set forbidden securityContext.seLinuxOptions: {'; '.join(problems)})"


def _sysctls(spec: Object) -> str:
    names = [str(s.get("name")) for s in _context(spec).get("sysctls") or [] if s.get("name") not in _SYSCTLS]
    return f"forbidden sysctls ({', '.join(names)})" if names else ""


def _unconfined(spec: Object) -> str:
    """The baseline's rule about seccomp; part of the restricted one."""
    where = _holders(spec, lambda context: _type_of(context, "seccompProfile") not in {"", *_SECCOMP})
    if not where:
        return ""
    found = {_type_of(context, "seccompProfile") for context in _contexts(spec)} - {"", *_SECCOMP}
    quoted = ", ".join(f'"{t}"' for t in sorted(found))
    return f"seccompProfile ({where} must not set securityContext.seccompProfile.type to {quoted})"


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
    if unconfined := _unconfined(spec):
        return unconfined
    pod_type = _type_of(_context(spec), "seccompProfile")
    names = _failing(spec, lambda c: not (_type_of(_context(c), "seccompProfile") or pod_type))
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
    types = "types" if "," in kinds_text else "type"
    return f"restricted volume types ({word} {names} {verb} restricted volume {types} {kinds_text})"
