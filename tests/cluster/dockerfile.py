"""Reads a Dockerfile, as far as this project's own goes: stages of COPY, RUN, ENV and what describes the image (pure).

So the image that the harness makes is made of the same files and by the same commands as the one that `docker build`
makes, and there is one list of them.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from cluster.faults import ClusterFault


@dataclass(frozen=True, slots=True)
class Copy:
    """`COPY [--from=STAGE] SOURCE DESTINATION`; the source is in the checkout where no stage is named."""

    source: str
    destination: str
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """`RUN COMMAND`: a command for the shell, and the environment that it sees beside the image's own."""

    command: str
    environment: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Stage:
    """One stage: what it starts from, its steps in order, its environment, and the members of its OCI configuration."""

    base: str
    steps: list[Copy | Run] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def parse(text: str) -> dict[str, Stage]:
    """The named stages. Raises ClusterFault for an instruction that this module does not know."""
    stages: dict[str, Stage] = {}
    stage = Stage("")
    joined = re.sub(r"\s*\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            named = re.fullmatch(r"(\S+) AS (\S+)", rest.strip())
            if named is None:
                raise ClusterFault(f"Dockerfile: FROM {rest.strip()} must name its stage (FROM base AS name)")
            base, name = named.groups()
            stage = stages[name] = Stage(base)
        else:
            _instruction(stage, word, rest.strip())
    return stages


def _instruction(stage: Stage, word: str, rest: str) -> None:
    """Add one instruction to its stage."""
    match word:
        case "COPY":
            *options, source, destination = rest.split()
            stage.steps.append(Copy(source, destination, "".join(options).removeprefix("--from=")))
        case "RUN":
            stage.steps.append(Run(rest, tuple(stage.environment.items())))
        case "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                stage.environment[name] = value
        case "ENTRYPOINT" | "CMD":
            stage.config[{"ENTRYPOINT": "Entrypoint", "CMD": "Cmd"}[word]] = json.loads(rest)
        case "USER":
            stage.config["User"] = rest
        case "WORKDIR":
            stage.config["WorkingDir"] = rest
        case "VOLUME":
            stage.config["Volumes"] = {path: {} for path in rest.split()}
        case "EXPOSE":
            stage.config["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
        case _:
            raise ClusterFault(f"the Dockerfile has an instruction that the harness does not know: {word}")


def environment(stage: Stage, base: dict[str, str]) -> dict[str, str]:
    """The stage's environment on top of its base's; `$NAME` is the base's value."""
    result = dict(base)
    for name, value in stage.environment.items():
        result[name] = re.sub(r"\$(\w+)", lambda found: result.get(found[1], ""), value)
    return result
