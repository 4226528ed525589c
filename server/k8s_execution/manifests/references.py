"""References in a plan: `${param.NAME}`, `${app.host}`, `${app.port}`, `${app.url}`, `${app.port.NAME}`; `$${` is `${`.

They are replaced once, when a plan is accepted, in one pass over the text as the caller wrote it: a parameter's value
is never read again, so it cannot form a new reference. Images take parameters only, because an image is chosen before
an application has an address. Replaced are env values, commands, arguments, install commands, file contents and
images; test code is never touched. Pure.

It must not judge anything but references; the values that come out are judged by `check`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import Application, ConfigFile, Environment, Specification, Step
from k8s_execution.manifests.rules.findings import entry

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_SHOWN = 80
_LONGEST = 4 * 1024 * 1024
"""Bounds what a long parameter, named many times, can grow to."""


def address_of(application: Application) -> dict[str, str]:
    """`host`, `port`, `url` of an application and `port.NAME` of each port; empty where it has no ports.

    The first port counts for `port` and `url`; the scheme is https for a port named so or numbered 443, else http.
    """
    if not application.ports:
        return {}
    first = application.ports[0]
    scheme = "https" if first.name == "https" or first.port == 443 else "http"
    found = {
        "host": application.name,
        "port": str(first.port),
        "url": f"{scheme}://{application.name}:{first.port}",
    }
    return {**found, **{f"port.{p.name}": str(p.port) for p in application.ports}}


def resolve(specification: Specification) -> tuple[Specification, list[Problem]]:
    """The plan with every reference replaced, and a problem for each that names nothing (it stays as written)."""
    resolver = _Resolver(specification)
    environment = specification.environment
    resolved = replace(
        environment,
        env=resolver.mapping(environment.env, "environment.env"),
        files=tuple(
            ConfigFile(f.path, resolver.text(f.content, f"environment.files[{i}].content"))
            for i, f in enumerate(environment.files)
        ),
        applications=tuple(
            resolver.application(a, f"environment.applications[{i}]") for i, a in enumerate(environment.applications)
        ),
    )
    plan = specification.test_plan
    steps = {
        kind: tuple(resolver.step(s, f"test_plan.{kind}[{i}]") for i, s in enumerate(given))
        for kind, given in (("setup", plan.setup), ("suites", plan.suites), ("teardown", plan.teardown))
    }
    result = replace(
        specification,
        environment=resolved,
        test_plan=replace(plan, setup=steps["setup"], suites=steps["suites"], teardown=steps["teardown"]),
    )
    return result, resolver.problems


class _Resolver:
    """Replaces references in texts and gathers what is wrong with them."""

    def __init__(self, specification: Specification) -> None:
        self.problems: list[Problem] = []
        self._length = 0
        self._parameters = {f"param.{name}": value for name, value in specification.parameters.items()}
        self._known = {**self._parameters, **_addresses(specification.environment)}
        self._silent = {a.name for a in specification.environment.applications if not a.ports}

    def application(self, application: Application, path: str) -> Application:
        readiness = application.readiness
        if readiness is not None:
            readiness = replace(readiness, command=self.texts(readiness.command, f"{path}.readiness.exec.command"))
        return replace(
            application,
            image=self.image(application.image, f"{path}.image"),
            command=self.texts(application.command, f"{path}.command"),
            args=self.texts(application.args, f"{path}.args"),
            env=self.mapping(application.env, f"{path}.env"),
            readiness=readiness,
        )

    def step(self, step: Step, path: str) -> Step:
        return replace(
            step,
            image=self.image(step.image, f"{path}.image"),
            command=self.texts(step.command, f"{path}.command"),
            install=tuple(self.texts(words, f"{path}.install[{i}]") for i, words in enumerate(step.install)),
            env=self.mapping(step.env, f"{path}.env"),
        )

    def mapping(self, values: Mapping[str, str], path: str) -> dict[str, str]:
        return {name: self.text(value, entry(path, name)) for name, value in values.items()}

    def texts(self, values: Iterable[str], path: str) -> tuple[str, ...]:
        return tuple(self.text(value, f"{path}[{i}]") for i, value in enumerate(values))

    def text(self, value: str, path: str) -> str:
        return self._replace(value, path, self._known)

    def image(self, value: str, path: str) -> str:
        return self._replace(value, path, self._parameters)

    def _replace(self, value: str, path: str, known: Mapping[str, str]) -> str:
        if "${" not in value:
            return value
        if not self._fits(value, path, known):
            return value
        return _REFERENCE.sub(self._replacement(value, path, known), value)

    def _fits(self, value: str, path: str, known: Mapping[str, str]) -> bool:
        before = self._length
        self._length += sum(len(known.get(found.group(1) or "", "")) for found in _REFERENCE.finditer(value))
        if before <= _LONGEST < self._length:
            message = f"references make more than {_LONGEST} characters of the plan"
            self.problems.append(Problem(path, value[:_SHOWN], "reference.size", message, "shorten the parameters"))
        return self._length <= _LONGEST

    def _replacement(self, value: str, path: str, known: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
        def replacement(found: re.Match[str]) -> str:
            name = found.group(1)
            if found.group() == "$${":
                return "${"
            if name in known:
                return known[name]
            self._report(path, value, name, known)
            return found.group()

        return replacement

    def _report(self, path: str, value: str, name: str | None, known: Mapping[str, str]) -> None:
        shown = value[:_SHOWN]
        if name is None:
            message, hint = "holds a '${' that no '}' ends", "write $${ for a literal ${"
            self.problems.append(Problem(path, shown, "reference.syntax", message, hint))
            return
        if known is self._parameters and name in self._known:
            message, hint = f"${{{name}}} cannot stand in an image", "only ${param.NAME} can"
            self.problems.append(Problem(path, shown, "reference.image", message, hint))
            return
        self.problems.append(
            Problem(path, shown, "reference.known", f"${{{name}}} names nothing", self._hint(name, known))
        )

    def _hint(self, name: str, known: Mapping[str, str]) -> str:
        application, _, attribute = name.partition(".")
        if application in self._silent and attribute:
            return f"application {application} has no ports, so it has no address; give it ports"
        near = difflib.get_close_matches(name, known, n=1)
        if near:
            return f"did you mean ${{{near[0]}}}?"
        if name.startswith("param."):
            return f"add {name.removeprefix('param.')} to parameters"
        if "." not in name:
            return f"for a variable of the shell write $${{{name}}}"
        return f"known are {', '.join(sorted(known)[:8])}" if known else "there are no parameters or applications"


def _addresses(environment: Environment) -> dict[str, str]:
    return {f"{a.name}.{name}": text for a in environment.applications for name, text in address_of(a).items()}
