"""The process of a simulated cluster: control plane here, the node in a child, until a signal or a failure.

Start order: API server, kubeconfig (0600), node, and when the node is Ready the ready file. Whatever ends unexpectedly,
node or controllers, ends the whole. The data folder holds the node's files and is emptied of them at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from k8s_simulation.children import spawn, terminate
from k8s_simulation.controlplane import ControlPlane, Delays
from k8s_simulation.faults import BadFault, FaultBook, load_file
from k8s_simulation.signals import until_signalled

NODE_NAME = "simulated"
_START_SECONDS = 60.0


class CannotStart(Exception):
    """The cluster cannot start; the message says why."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m k8s_simulation", description="A simulated Kubernetes cluster.")
    made.add_argument("--port", type=int, default=0, help="port of the API server on 127.0.0.1; 0 picks one")
    made.add_argument("--kubeconfig", type=Path, required=True, help="where to write the kubeconfig (0600)")
    made.add_argument("--data", type=Path, required=True, help="folder for the node's pods, volumes and logs")
    made.add_argument("--faults", type=Path, help="a fault script, JSON or YAML")
    made.add_argument("--image", action="append", default=[], metavar="REF=DIR", help="run an image from a folder")
    made.add_argument("--agent", type=Path, help="the k8s-execution-agent program")
    made.add_argument("--allow-unisolated", action="store_true", help="run pods as plain processes if need be")
    made.add_argument("--cpu", default="", help="the node's CPU capacity, default the machine's")
    made.add_argument("--memory", default="", help="the node's memory capacity, default the machine's")
    made.add_argument("--log-rotation", type=int, default=0, metavar="BYTES", help="size at which logs are rotated")
    made.add_argument("--no-node", action="store_true", help="control plane only: pods stay Pending")
    made.add_argument("--namespace-delay", type=float, default=0.0, metavar="SECONDS",
                      help="before a deleted namespace is emptied (5 in a real cluster)")  # fmt: skip
    made.add_argument("--ready-file", type=Path, help="written as JSON when the node is Ready")
    made.add_argument("--audit", type=Path, help="append an audit log (audit.k8s.io/v1, JSON lines) to this file")
    made.add_argument("--verbose", action="store_true", help="log retries of the controllers too")
    return made


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def node_command(options: argparse.Namespace, plane: ControlPlane, secrets: Path) -> list[str]:
    """The node's command line; its tokens go through files, never through arguments."""
    write_private(secrets / "node.token", plane.node_token)
    write_private(secrets / "kubelet.token", plane.kubelet_token)
    write_private(secrets / "ca.crt", plane.ca_pem.decode())
    command = [sys.executable, "-m", "k8s_simulation.node", "--api", plane.url, "--name", NODE_NAME,
               "--token-file", str(secrets / "node.token"), "--ca", str(secrets / "ca.crt"),
               "--kubelet-token-file", str(secrets / "kubelet.token"), "--data",
               str(options.data / "node")]  # fmt: skip
    for image in options.image:
        command += ["--image", image]
    for flag, value in (("--agent", options.agent), ("--cpu", options.cpu), ("--memory", options.memory),
                        ("--log-rotation", options.log_rotation)):  # fmt: skip
        if value:
            command += [flag, str(value)]
    if options.allow_unisolated:
        command.append("--allow-unisolated")
    if options.verbose:
        command.append("--verbose")
    return command


def _read_faults(path: Path | None) -> FaultBook:
    try:
        return FaultBook(load_file(path) if path else ())
    except (BadFault, OSError, ValueError) as error:
        raise CannotStart(f"--faults {path}: {error}") from error


async def run(options: argparse.Namespace) -> None:
    """Start everything and run until cancelled. Raises CannotStart."""
    faults = _read_faults(options.faults)
    options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        audit = stack.enter_context(options.audit.open("ab", buffering=0)) if options.audit else None
        plane = ControlPlane(faults, Delays(namespace=options.namespace_delay), audit=audit)
        stack.push_async_callback(plane.stop)
        try:
            await plane.start(options.port)
        except OSError as error:
            raise CannotStart(
                f"port {options.port} of 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}"
            ) from error
        write_private(options.kubeconfig, plane.kubeconfig())
        stack.callback(options.kubeconfig.unlink, missing_ok=True)
        waits = [asyncio.ensure_future(plane.controllers_ended())]
        stack.callback(lambda: [w.cancel() for w in waits])
        if not options.no_node:
            (options.data / "node").mkdir(exist_ok=True)
            secrets = options.data / "secrets"
            node = await spawn(node_command(options, plane, secrets))
            stack.push_async_callback(terminate, node)
            for name in ("node.token", "kubelet.token", "ca.crt"):
                stack.callback((secrets / name).unlink, missing_ok=True)
            waits.append(asyncio.ensure_future(_node_ended(node)))
            await _first(waits, asyncio.ensure_future(plane.node_ready()), _START_SECONDS)
        ready = {"server": plane.url, "kubeconfig": str(options.kubeconfig), "pid": os.getpid()}
        if options.ready_file:
            write_private(options.ready_file, json.dumps(ready) + "\n")
            stack.callback(options.ready_file.unlink, missing_ok=True)
        sys.stderr.write(f"simulated cluster ready: {plane.url}, kubeconfig {options.kubeconfig}\n")
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for done in waits:
            if done.done():
                done.result()


async def _node_ended(node: asyncio.subprocess.Process) -> None:
    code = await node.wait()
    raise CannotStart(f"the node ended with exit code {code}")


async def _first(failures: Sequence[asyncio.Future[None]], success: asyncio.Future[None], seconds: float) -> None:
    """Wait for the success. Raises what failed before it, or CannotStart when the time is up."""
    try:
        done, _ = await asyncio.wait({*failures, success}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for failed in done - {success}:
            failed.result()
        if success not in done:
            raise CannotStart(f"no node was Ready after {seconds:.0f} s")
    finally:
        success.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 with one sentence when the cluster cannot run."""
    options = parser().parse_args(arguments)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="cluster %(levelname)s %(message)s", stream=sys.stderr)
    options.data, options.kubeconfig = options.data.resolve(), options.kubeconfig.resolve()
    try:
        asyncio.run(until_signalled(run(options)))
    except (CannotStart, OSError) as error:
        sys.stderr.write(f"the simulated cluster cannot run: {error}\n")
        return 1
    return 0
