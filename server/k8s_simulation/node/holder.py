"""Owner of the pod network: a script that lives in its own user and network namespace and hands out sockets.

Started by `network` as `unshare --user --map-root-user --net python -I -S holder.py FD`; it must import nothing of the
project and decide nothing. Over the socket FD it gets one JSON request a packet and answers with JSON and, where asked,
a file descriptor: a pod's network namespace, or a socket made inside the pod network for the node to use from outside.
It ends when the node's end of the socket closes, however the node died; with it go the addresses and links.

Pods are routed, not bridged: each has a veth pair, a /32 address and a default route through 10.244.0.1, as the CNI
plugin `ptp` does it. That needs no bridge module, and every packet passes the holder's namespace.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

GATEWAY = "10.244.0.1"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def ip(commands: list[str], within: int | None = None) -> None:
    """Run `ip` commands as one batch, in a network namespace given by its descriptor or in ours."""
    argv = ["ip", "-batch", "-"]
    if within is not None:
        argv = ["nsenter", f"--net=/proc/self/fd/{within}", *argv]
    done = subprocess.run(
        argv,
        input="\n".join(commands) + "\n",
        text=True,
        capture_output=True,
        pass_fds=[] if within is None else [within],
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    if done.returncode != 0:
        raise OSError(f"ip: {done.stderr.strip() or done.stdout.strip()}")


def new_namespace() -> int:
    """A descriptor of a fresh network namespace in which ports below 1024 need no privilege."""
    ready, ready_child = os.pipe()
    done_child, done = os.pipe()
    child = os.fork()
    if child == 0:
        status = b"x" if _LIBC.unshare(_CLONE_NEWNET) == 0 else b""
        if status:
            Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
        os.write(ready_child, status)
        os.close(ready_child)
        os.close(done)
        os.read(done_child, 1)
        os._exit(0)
    os.close(ready_child)
    os.close(done_child)
    try:
        if os.read(ready, 1) != b"x":
            raise OSError("the kernel refused a network namespace")
        return os.open(f"/proc/{child}/ns/net", os.O_RDONLY)
    finally:
        os.close(ready)
        os.close(done)
        os.waitpid(child, 0)


def add_pod(address: str) -> int:
    """Make a pod's namespace, link and routes; its descriptor."""
    link = _link(address)
    space = new_namespace()
    try:
        ip([f"link add {link} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{space}"])
    except OSError:
        # iproute2 before 6 takes a process or a name here, not a path: give the far end to a process inside.
        _add_by_process(link, space)
    ip([f"link set {link} up", f"route add {address}/32 dev {link}"])
    ip(
        [
            "link set lo up",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY}/32 dev eth0 scope link src {address}",
            f"route add default via {GATEWAY}",
        ],
        within=space,
    )
    return space


def _add_by_process(link: str, space: int) -> None:
    inside = subprocess.Popen(
        ["nsenter", f"--net=/proc/self/fd/{space}", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[space],
    )
    try:
        assert inside.stdin is not None and inside.stdout is not None
        inside.stdin.write(b"\n")
        inside.stdin.flush()
        inside.stdout.read(1)  # cat answers, so nsenter has entered
        ip([f"link add {link} type veth peer name eth0 netns {inside.pid}"])
    finally:
        inside.communicate()


def _link(address: str) -> str:
    return "v" + "".join(f"{int(part):02x}" for part in address.split("."))


def open_socket(request: dict[str, Any]) -> int:
    """A TCP or UDP socket of the pod network, bound and listening as asked."""
    kind = socket.SOCK_DGRAM if request["kind"] == "udp" else socket.SOCK_STREAM
    made = socket.socket(socket.AF_INET, kind)
    try:
        if request.get("bind"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((request["bind"][0], int(request["bind"][1])))
        if request.get("listen"):
            made.listen(512)
        return made.detach()
    finally:
        made.close()


def answer(request: dict[str, Any]) -> int | None:
    """Do one request; the descriptor to send back, if any. Raises OSError with the reason."""
    match request["op"]:
        case "start":
            ip(["link set lo up", f"addr add {GATEWAY}/32 dev lo"])
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
        case "pod":
            return add_pod(request["address"])
        case "release":
            ip([f"link del {_link(request['address'])}"])
        case "socket":
            return open_socket(request)
        case "address":
            ip([f"addr {request['do']} {request['address']}/32 dev lo"])
        case other:
            raise OSError(f"unknown request {other}")
    return None


def serve(control: socket.socket) -> None:
    """Answer requests until the other end closes."""
    while packet := control.recv(65536):
        reply: dict[str, str] = {}
        descriptor: int | None = None
        try:
            descriptor = answer(json.loads(packet))
        except OSError as error:
            reply = {"error": str(error)}
        if descriptor is None:
            control.send(json.dumps(reply).encode())
        else:
            socket.send_fds(control, [json.dumps(reply).encode()], [descriptor])
            os.close(descriptor)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
