"""The life of one container: pull, create, start, probe, end, and start again as its restart policy says.

Waiting reasons, back-off and messages are kubelet's (pkg/kubelet/kuberuntime, pkg/kubelet/images). The runner changes
its `Record` and calls `changed`; it must not know phases or the API's status. How the process is made is in `creation`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable
from typing import Any

from k8s_simulation.node import execs, probes
from k8s_simulation.node.creation import Creation, PodRun, termination_message
from k8s_simulation.node.images import Image, PullProblem
from k8s_simulation.node.kube import ApiError, ApiUnreachable
from k8s_simulation.node.logs import ContainerLog
from k8s_simulation.node.memory import kill_for_memory
from k8s_simulation.node.node import Node
from k8s_simulation.node.objects import ConfigProblem
from k8s_simulation.node.references import ceil, quantity
from k8s_simulation.node.runtime import Kind, Record, Running, State, Terminated, Waiting, reason_of
from k8s_simulation.node.sandbox import Plan, Process, SandboxFault
from k8s_simulation.node.volumes import VolumeProblem

Object = dict[str, Any]

log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The pod is ending and this container had not yet been made."""


class Runner:
    """Runs one container of a pod until it ends for good or is stopped."""

    def __init__(self, node: Node, pod: PodRun, spec: Object, record: Record, changed: Callable[[], None]) -> None:
        self.node, self.pod, self.spec, self.record = node, pod, spec, record
        self.logs: list[ContainerLog] = []  # of all runs, oldest first; older than the previous one are deleted
        self.process: Process | None = None
        self.plan: Plan | None = None
        self.settled = asyncio.Event()  # no process runs and the record says how it ended
        self.settled.set()
        self.started = asyncio.Event()  # it has run with its startup probe passed
        self._changed = changed
        self._stopping = False
        self._back_off = 0.0
        self._field = f"spec.{'containers' if record.kind is Kind.MAIN else 'initContainers'}{{{record.name}}}"

    # -- to the end ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the image to the final end. Cancelling it while a process runs needs `stop` first."""
        try:
            image = await self._pull()
            while not self._stopping:
                ended = await self._run_once(image)
                if not self._restarts(ended):
                    return
                await self._wait_to_restart(ended)
        except _Stopped:
            pass  # it had not yet been made, and never will be
        finally:
            self.settled.set()

    def _restarts(self, ended: Terminated) -> bool:
        if self._stopping:
            return False
        policy = self.pod.spec.get("restartPolicy", "Always")
        match self.record.kind:
            case Kind.SIDECAR:
                return True
            case Kind.INIT:
                return ended.exit_code != 0 and policy != "Never"
            case Kind.MAIN:
                return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)

    async def _wait_to_restart(self, ended: Terminated) -> None:
        """The first restart is immediate, then 10 s doubling to 5 min, counted from the end (flowcontrol.Backoff)."""
        times = self.node.times
        if ended.finished_at - ended.started_at > times.back_off_reset:
            self._back_off = 0.0
        wait, self._back_off = self._back_off, min(max(self._back_off * 2, times.back_off), times.back_off_limit)
        if wait > 0:
            pod = f"{self.pod.name}_{self.pod.namespace}({self.pod.uid})"
            text = f"back-off {_go_duration(wait)} restarting failed container={self.record.name} pod={pod}"
            self.record.last = ended
            self._event("warning", "BackOff", f"Back-off restarting failed container {self.record.name} in pod {pod}")
            self._set(Waiting("CrashLoopBackOff", text))
            await asyncio.sleep(wait)
        self.record.last = ended
        self.record.restarts += 1

    # -- image ----------------------------------------------------------------------------------------------------

    async def _pull(self) -> Image:
        """The image, however long it takes; failures back off as kubelet's do."""
        wait = self.node.times.back_off
        reference = str(self.spec["image"])
        while True:
            if self.pod.pulled(reference):
                message = f'Container image "{reference}" already present on machine and can be accessed by the pod'
                self._event("normal", "Pulled", message)
            else:
                self._event("normal", "Pulling", f'Pulling image "{reference}"')
            began = time.monotonic()
            found = await self._pull_once(reference)
            if isinstance(found, Image):
                self._note_pulled(reference, found, time.monotonic() - began)
                return found
            self._event("warning", "Failed", f'Failed to pull image "{reference}": {found.message}')
            self._event("warning", "Failed", f"Error: {found.reason}")
            self._set(Waiting(found.reason, found.message))
            word = min(self.node.times.back_off_word, wait)
            await asyncio.sleep(word)
            if found.reason == "ErrImagePull":
                text = f'Back-off pulling image "{reference}"'
                self._event("normal", "BackOff", text)
                self._event("warning", "Failed", "Error: ImagePullBackOff")
                self._set(Waiting("ImagePullBackOff", f"{text}: ErrImagePull: {found.message}"))
            await asyncio.sleep(wait - word)
            wait = min(wait * 2, self.node.times.back_off_limit)

    async def _pull_once(self, reference: str) -> Image | PullProblem:
        if message := self.node.faults.pull_error(reference):
            return PullProblem("ErrImagePull", message)
        return await self.node.catalogue.pull(reference)

    def _note_pulled(self, reference: str, image: Image, seconds: float) -> None:
        self.record.image_id = image.image_id
        if not self.pod.pulled(reference):
            self.pod.note_pulled(reference)
            took = f"{seconds * 1000:.0f}ms"
            text = f'Successfully pulled image "{reference}" in {took} ({took} including waiting).'
            text += f" It runs as {image.ran_as}."
            self._event("normal", "Pulled", text)

    # -- one run --------------------------------------------------------------------------------------------------

    async def _run_once(self, image: Image) -> Terminated:
        """One process from its creation to its end, with its probes and hooks."""
        try:
            process, plan = await self._create(image)
        except SandboxFault as fault:
            return self._could_not_start(fault)
        self.process, self.plan = process, plan
        self.record.container_id = f"simulated://{secrets.token_hex(32)}"
        self._event("normal", "Started", "Container started")
        self._set(Running(time.time()))
        watch = asyncio.create_task(self._attend(process, plan))
        if self._stopping:
            process.signal(signal.SIGKILL)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.signal(signal.SIGKILL)
            await self._note_end(process, await process.wait())
            raise
        finally:
            watch.cancel()
            (outcome,) = await asyncio.gather(watch, return_exceptions=True)
            if isinstance(outcome, Exception):
                log.error("probes of %s in %s", self.record.name, self.pod.name, exc_info=outcome)
            self.logs[-1].close()
        return await self._note_end(process, code)

    async def _create(self, image: Image) -> tuple[Process, Plan]:
        """A started process. Configuration problems are retried for ever, as kubelet does.

        Raises SandboxFault when its command cannot be executed, _Stopped when the pod ends first.
        """
        while not self._stopping:
            try:
                creation = await Creation.prepare(self.node, self.pod, self.spec, image, self.record.restarts)
                process = await self._launch(creation)
            except ConfigProblem as problem:
                await self._config_problem("CreateContainerConfigError", str(problem))
            except (ApiError, ApiUnreachable) as error:
                await self._config_problem("CreateContainerConfigError", str(error))
            except VolumeProblem as problem:
                await self._config_problem("CreateContainerError", str(problem))
            except SandboxFault as fault:
                if fault.command:
                    raise
                await self._config_problem("CreateContainerError", str(fault))
            else:
                limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
                if limit is not None:
                    self.node.memory.add(process, ceil(quantity(limit)), creation.memory_events)
                return process, creation.plan
        raise _Stopped

    async def _launch(self, creation: Creation) -> Process:
        """Start the process with a log of its own. Raises SandboxFault."""
        made = ContainerLog(creation.log_folder, self.node.faults.rotation or self.node.rotation)
        self.settled.clear()
        try:
            process = await self.node.sandbox.launch(creation.plan, made)
        except BaseException as error:
            made.close()
            self.settled.set()
            if isinstance(error, SandboxFault) and error.command:
                self.logs.append(made)
                self._event("normal", "Created", "Container created")
            raise
        self.logs.append(made)
        self._event("normal", "Created", "Container created")
        return process

    async def _config_problem(self, reason: str, message: str) -> None:
        self._event("warning", "Failed", f"Error: {message}")
        self._set(Waiting(reason, message))
        await asyncio.sleep(self.node.times.retry)
        self.pod.references.forget()

    def _could_not_start(self, fault: SandboxFault) -> Terminated:
        """What containerd says of a command that cannot be executed: exit code 128, reason StartError."""
        prefix = "failed to create containerd task: failed to create shim task: OCI runtime create failed"
        prefix += ": runc create failed"
        message = f"{prefix}: unable to start container process: {_exec_words(str(fault))}: unknown"
        self._event("warning", "Failed", f"Error: {message}")
        self.record.container_id = f"simulated://{secrets.token_hex(32)}"
        ended = Terminated(128, "StartError", 0.0, time.time(), message, self.record.container_id)
        return self._settle(ended)

    async def _note_end(self, process: Process, code: int) -> Terminated:
        state = self.record.state
        started = state.started_at if isinstance(state, Running) else time.time()
        assert self.plan is not None
        message = await asyncio.to_thread(termination_message, self.spec, self.plan, self.logs[-1], code)
        reason = reason_of(code, oom=process.oom_killed)
        code = 137 if process.oom_killed else code
        return self._settle(Terminated(code, reason, started, time.time(), message, self.record.container_id))

    def _settle(self, ended: Terminated) -> Terminated:
        self._set(ended)
        self.settled.set()
        return ended

    # -- while it runs --------------------------------------------------------------------------------------------

    async def _attend(self, process: Process, plan: Plan) -> None:
        """Hooks, probes and scripted faults of a running container."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scripted_kill(process))
            if hook := (self.spec.get("lifecycle") or {}).get("postStart"):
                await self._hook("PostStart", hook, process, plan, 3600.0)
            target = self._target(process, plan)
            probe = self.spec.get("startupProbe")
            if probe and not await probes.repeat(probe, target, self._unhealthy("Startup"), self._started_verdict):
                return
            self.record.started = True
            self.started.set()
            self.record.ready = not self.spec.get("readinessProbe")
            self._changed()
            if probe := self.spec.get("readinessProbe"):
                tasks.create_task(probes.repeat(probe, target, self._unhealthy("Readiness"), self._ready_verdict))
            if probe := self.spec.get("livenessProbe"):
                tasks.create_task(probes.repeat(probe, target, self._unhealthy("Liveness"), self._alive_verdict))

    def _target(self, process: Process, plan: Plan) -> probes.Target:
        async def execute(argv: tuple[str, ...], timeout: float) -> tuple[int, str]:
            return await execs.run(self.node.sandbox.enter(process, plan, argv), timeout)

        ports = {p["name"]: p["containerPort"] for p in self.spec.get("ports") or [] if p.get("name")}
        return probes.Target(self.node.network, self.pod.place.address, ports, execute)

    async def _scripted_kill(self, process: Process) -> None:
        after = self.node.faults.out_of_memory(self.pod.namespace, self.pod.name, self.record.name)
        if after is not None:
            await asyncio.sleep(after)
            kill_for_memory(process, Creation.memory_file(self.node, self.pod, self.record.name, self.record.restarts))

    def _unhealthy(self, word: str) -> Callable[[str], None]:
        return lambda message: self._event("warning", "Unhealthy", f"{word} probe failed: {message}")

    def _ready_verdict(self, good: bool) -> bool:
        if self.record.ready is not good:
            self.record.ready = good
            self._changed()
        return False

    def _alive_verdict(self, good: bool) -> bool:
        return good is False and self._kill_for_probe("liveness")

    def _started_verdict(self, good: bool) -> bool:
        return good or self._kill_for_probe("startup")

    def _kill_for_probe(self, word: str) -> bool:
        text = f"Container {self.record.name} failed {word} probe, will be restarted"
        self._event("normal", "Killing", text)
        grace = float(self.pod.spec.get("terminationGracePeriodSeconds", 30))
        probe = self.spec.get(f"{word}Probe") or {}
        self.pod.tasks.create_task(self._end_process(float(probe.get("terminationGracePeriodSeconds") or grace)))
        return True

    async def _hook(self, name: str, hook: Object, process: Process, plan: Plan, timeout: float) -> None:
        """Run a lifecycle handler; a failed postStart kills the container, as kubelet does."""
        target = self._target(process, plan)
        if (pause := hook.get("sleep")) is not None:
            await asyncio.sleep(min(timeout, float(pause["seconds"])))
            return
        message = await probes.look({**hook, "timeoutSeconds": timeout}, target)
        if message:
            self._event("warning", f"Failed{name}Hook", f"{name}Hook failed: {message}")
            if name == "PostStart":
                process.signal(signal.SIGKILL)

    # -- stopping -------------------------------------------------------------------------------------------------

    async def stop(self, grace: float) -> None:
        """End it for good: hook, SIGTERM, up to `grace` seconds, SIGKILL. Returns when its record says how it ended."""
        self._stopping = True
        if self.process is not None and self.process.running:
            self._event("normal", "Killing", f"Stopping container {self.record.name}")
            await self._end_process(grace)
        await self.settled.wait()

    async def _end_process(self, grace: float) -> None:
        process, plan = self.process, self.plan
        if process is None or plan is None:
            return
        deadline = asyncio.get_running_loop().time() + grace
        try:
            async with asyncio.timeout_at(deadline):
                if hook := (self.spec.get("lifecycle") or {}).get("preStop"):
                    await self._hook("PreStop", hook, process, plan, grace)
                process.signal(signal.SIGTERM)
                await process.wait()
        except TimeoutError:
            pass  # the grace is over
        process.signal(signal.SIGKILL)
        await process.wait()

    # -- small things ---------------------------------------------------------------------------------------------

    def _set(self, state: State) -> None:
        if not isinstance(state, Running):
            self.record.ready = self.record.started = False
        self.record.state = state
        self._changed()

    def _event(self, kind: str, reason: str, message: str) -> None:
        write = self.node.events.normal if kind == "normal" else self.node.events.warning
        write(self.pod.object, reason, message, self._field)


def _go_duration(seconds: float) -> str:
    """A duration as Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


def _exec_words(fault: str) -> str:
    """runc's words for why a command could not be executed, from the sandbox's `execvp NAME: why`."""
    name = fault.partition("execvp ")[2].rpartition(":")[0]
    if "Permission denied" in fault:
        return f'exec: "{name}": permission denied'
    if "/" in name:
        return f'exec: "{name}": stat {name}: no such file or directory'
    return f'exec: "{name}": executable file not found in $PATH'
