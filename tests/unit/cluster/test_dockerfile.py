"""The harness reads the project's own Dockerfile, so that the image of the service has one list of what goes in."""

from __future__ import annotations

import pytest

from cluster import dockerfile, service_image
from cluster.dockerfile import Copy, Run
from cluster.faults import ClusterFault

TEXT = """\
# a comment
FROM base:1 AS first
COPY a/ /a/
RUN one && \\
    # between
    two
FROM base:2 AS second
ENV PATH=/first:$PATH \\
    NAME="two words"
COPY --from=first /a /b
RUN three
USER 1:2
WORKDIR /tmp
EXPOSE 80
VOLUME /data
ENTRYPOINT ["x", "-c", "y; z"]
CMD ["--help"]
"""


def test_stages_have_their_steps_in_order() -> None:
    found = dockerfile.parse(TEXT)
    assert found["first"].base == "base:1"
    assert found["first"].steps == [Copy("a/", "/a/"), Run("one && two", ())]
    assert found["second"].steps[0] == Copy("/a", "/b", "first")


def test_the_configuration_is_that_of_the_image_specification() -> None:
    assert dockerfile.parse(TEXT)["second"].config == {
        "User": "1:2",
        "WorkingDir": "/tmp",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Entrypoint": ["x", "-c", "y; z"],
        "Cmd": ["--help"],
    }


def test_variables_are_put_on_top_of_the_bases() -> None:
    found = dockerfile.environment(dockerfile.parse(TEXT)["second"], {"PATH": "/bin", "LANG": "C"})
    assert found == {"PATH": "/first:/bin", "LANG": "C", "NAME": "two words"}


def test_an_unknown_instruction_is_refused() -> None:
    with pytest.raises(ClusterFault, match="does not know: HEALTHCHECK"):
        dockerfile.parse("FROM a AS b\nHEALTHCHECK NONE\n")


def test_the_projects_own_is_understood_and_its_files_are_all_there() -> None:
    found = service_image.stages()
    service = found[service_image.SERVICE_STAGE]
    assert {step.stage for step in service.steps if isinstance(step, Copy)} - {""} == {"packages", "agent-build"}
    names = {path.relative_to(service_image.CHECKOUT).as_posix() for path in service_image.copied(service)}
    assert {"server/k8s_execution/app.py", "templates/job.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_a_stage_without_a_name_is_refused() -> None:
    with pytest.raises(ClusterFault, match="must name its stage"):
        dockerfile.parse("FROM a\nCOPY x y\n")
