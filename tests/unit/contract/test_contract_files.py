"""The contract's files belong together: layout, lint, generated code, names and comments."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as service_pb2

ROOT = Path(__file__).resolve().parents[3]
BUF = Path(sys.executable).parent / "buf"
PACKAGE = "maestro.k8s.execution.v1"
RPCS = {
    "Execute": (False, False),
    "Status": (False, False),
    "StreamLogs": (False, True),
    "Cleanup": (False, False),
    "ListActive": (False, False),
    "SweepOrphans": (False, False),
    "Validate": (False, False),
    "Watch": (False, True),
    "UploadBundle": (True, False),
    "DownloadArtifact": (False, True),
    "ListExecutions": (False, False),
    "GetResults": (False, False),
}
"""Each RPC: whether the client streams, whether the server streams."""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "failed without a word"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorSet:
    """All files of the contract with their comments."""
    if not BUF.exists():
        pytest.fail(f"{BUF} is missing; run `make env`")
    path = tmp_path_factory.mktemp("image") / "contract.binpb"
    assert not run(BUF, "build", "-o", path)
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


def test_generated_code_belongs_to_the_contract() -> None:
    assert not run(sys.executable, "tools/generate.py", "--check")


def test_vendored_validate_proto_is_the_one_in_the_wheel() -> None:
    assert not run(sys.executable, "tools/render_validate.py", "--check")


def test_layout_is_that_of_buf_format() -> None:
    assert not run(BUF, "format", "-d", "--exit-code", "proto")


def test_lint_finds_nothing() -> None:
    assert not run(BUF, "lint")


def test_nothing_breaks_against_the_main_branch() -> None:
    contract_check = runpy.run_path(str(ROOT / "tools/contract_check.py"))
    passed, said = contract_check["breaking"]()
    assert passed, said
    if contract_check["base"]()[0] is None:
        pytest.skip(said)


def test_the_service_has_its_rpcs_with_their_shapes() -> None:
    service = service_pb2.DESCRIPTOR.services_by_name["ExecutionService"]
    assert service.full_name == f"{PACKAGE}.ExecutionService"
    assert {m.name: (m.client_streaming, m.server_streaming) for m in service.methods} == RPCS


def test_files_keep_their_names_in_the_descriptor_pool() -> None:
    for name in ("environment", "execution", "execution_service", "logs", "plan", "results", "rules"):
        file = descriptor_pool.Default().FindFileByName(f"maestro/k8s/execution/v1/{name}.proto")
        assert file.package == PACKAGE


def test_importing_the_client_takes_no_foreign_top_level_name() -> None:
    code = (
        "import sys\n"
        "from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc\n"
        "taken = [n for n in ('maestro', 'buf') if n in sys.modules]\n"
        "sys.exit(f'taken: {taken}' if taken else 0)\n"
    )
    assert not run(sys.executable, "-c", code)


def test_every_element_has_a_comment(image: descriptor_pb2.FileDescriptorSet) -> None:
    bare: list[str] = []
    ours = [f for f in image.file if f.package == PACKAGE]
    assert len(ours) == 7
    for file in ours:
        commented = {tuple(at.path) for at in file.source_code_info.location if at.leading_comments.strip()}
        bare += [f"{file.name}: {name}" for path, name in elements(file) if path not in commented]
    assert not bare


def test_comments_say_the_default_of_every_request_field_that_may_be_left_out(
    image: descriptor_pb2.FileDescriptorSet,
) -> None:
    silent: list[str] = []
    for file in image.file:
        if file.name.rsplit("/")[-1] not in {"environment.proto", "plan.proto"}:
            continue
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for i, message in enumerate(file.message_type):
            for j, field in enumerate(message.field):
                text = comments[4, i, 2, j]
                if field.proto3_optional and "efault" not in text and message.name != "Quota":
                    silent.append(f"{message.name}.{field.name}")
    assert not silent


def elements(file: descriptor_pb2.FileDescriptorProto) -> list[tuple[tuple[int, ...], str]]:
    """Source paths (as in google.protobuf.SourceCodeInfo) and names of all that must be commented."""
    found: list[tuple[tuple[int, ...], str]] = []
    for i, message in enumerate(file.message_type):
        found += message_elements((4, i), message)
    for i, enum in enumerate(file.enum_type):
        found += enum_elements((5, i), enum)
    for i, service in enumerate(file.service):
        found.append(((6, i), service.name))
        found += [((6, i, 2, j), method.name) for j, method in enumerate(service.method)]
    found += [((7, i), extension.name) for i, extension in enumerate(file.extension)]
    return found


def message_elements(
    path: tuple[int, ...], message: descriptor_pb2.DescriptorProto
) -> list[tuple[tuple[int, ...], str]]:
    if message.options.map_entry:
        return []
    found = [(path, message.name)]
    found += [((*path, 2, i), f"{message.name}.{field.name}") for i, field in enumerate(message.field)]
    synthetic = {f.oneof_index for f in message.field if f.proto3_optional}
    found += [((*path, 8, i), o.name) for i, o in enumerate(message.oneof_decl) if i not in synthetic]
    for i, nested in enumerate(message.nested_type):
        found += message_elements((*path, 3, i), nested)
    for i, enum in enumerate(message.enum_type):
        found += enum_elements((*path, 4, i), enum)
    return found


def enum_elements(path: tuple[int, ...], enum: descriptor_pb2.EnumDescriptorProto) -> list[tuple[tuple[int, ...], str]]:
    values = [((*path, 2, i), f"{enum.name}.{value.name}") for i, value in enumerate(enum.value)]
    return [(path, enum.name), *values]
