"""Settings: where they come from, and that whatever is wrong is told at once, with the way out."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from k8s_execution.settings import AGENT_NAMES, CLIENT_NAMES, SOURCES, Settings, SettingsError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where `.env` would be looked for."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem(**environment: str) -> str:
    """What is said of a wrong environment."""
    with pytest.raises(SettingsError) as refused:
        Settings.load({}, environment)
    return str(refused.value)


def test_nothing_given_is_the_defaults() -> None:
    """Those of the contract's old names among them."""
    settings = Settings.load({}, {})
    assert settings == Settings()
    assert (settings.namespace_prefix, settings.ttl_minutes, settings.timeout_minutes) == ("quality-fabric", 60, 30)
    assert settings.max_environments == 10


def test_flags_win_over_environment_over_env_file(folder: Path) -> None:
    """An unset flag (None) wins over nothing, an empty value is none."""
    (folder / ".env").write_text("K8S_TTL_MINUTES=1\nDEFAULT_TIMEOUT_MINUTES=2\nMAX_CONCURRENT_ENVIRONMENTS=3\n")
    environment = {"DEFAULT_TIMEOUT_MINUTES": "4", "MAX_CONCURRENT_ENVIRONMENTS": "5", "SERVICE_NAME": ""}
    settings = Settings.load({"max_environments": 6, "ttl_minutes": None}, environment)
    assert (settings.ttl_minutes, settings.timeout_minutes, settings.max_environments) == (1, 4, 6)
    assert settings.service_name == Settings().service_name


def test_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is given."""
    for name in SOURCES.values():
        monkeypatch.delenv(name.name, raising=False)
    monkeypatch.setenv("K8S_EXECUTION_QUEUE_LIMIT", "7")
    assert Settings.load({}).queue_limit == 7


def test_an_env_file_may_have_comments_quotes_and_exports(folder: Path) -> None:
    """As shells and other tools write it; names of others are theirs."""
    (folder / ".env").write_text(
        "# SERVICE_NAME=no\n\n  export SERVICE_NAME = 'a name' \nK8S_NAMESPACE_PREFIX=\"qf\"\n"
        "K8S_EXECUTION_DNS_CIDRS=10.0.0.1/32, 10.0.0.2/32\nPOSTGRES_PASSWORD=x\nno sign\n"
        "K8S_EXECUTION_INSTALLATION='a\n"
    )
    settings = Settings.load({}, {})
    assert (settings.service_name, settings.namespace_prefix) == ("a name", "qf")
    assert settings.dns_cidrs == ("10.0.0.1/32", "10.0.0.2/32")
    assert settings.installation == "'a"


def test_a_folder_called_env_is_no_env_file(folder: Path) -> None:
    """Some name a virtual environment so."""
    (folder / ".env").mkdir()
    assert Settings.load({}, {}) == Settings()


def test_an_env_file_that_is_no_text_is_told(folder: Path) -> None:
    """With its name."""
    (folder / ".env").write_bytes(b"SERVICE_NAME=\xff\n")
    assert problem().startswith(".env cannot be read")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("K8S_EXECUTION_QUEUE_LIMT", "K8S_EXECUTION_QUEUE_LIMIT"),
        ("K8S_EXECUTION_DATA_DIR", "K8S_EXECUTION_DATA"),
        ("K8S_EXECUTION_LOGLEVEL", "K8S_EXECUTION_LOG_LEVEL"),
        ("K8S_EXECUTION_SERVR", "K8S_EXECUTION_SERVER"),
    ],
)
def test_a_misspelt_name_is_told_with_the_right_one(name: str, meant: str) -> None:
    """A setting that is passed over in silence is worse than none."""
    assert problem(**{name: "1"}) == f"{name} is no setting of this service; did you mean {meant}?"


def test_a_misspelt_name_in_the_env_file_is_told(folder: Path) -> None:
    """There too."""
    (folder / ".env").write_text("K8S_EXECUTION_TEMPLATE=x\n")
    assert "did you mean K8S_EXECUTION_TEMPLATES?" in problem()


def test_a_name_like_no_other_is_told_without_a_guess() -> None:
    """No suggestion is better than a wrong one."""
    assert problem(K8S_EXECUTION_ZZZZZZZZZZZZZZZZZZZZZZZZ="1").endswith("is no setting of this service")


def test_the_names_of_client_and_agent_are_known() -> None:
    """One shell may hold the client's, a step's pod holds the agent's."""
    assert Settings.load({}, dict.fromkeys(CLIENT_NAMES | AGENT_NAMES, "x")) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("K8S_EXECUTION_PORT", "tcp://10.0.0.1:50051"),
        ("K8S_EXECUTION_SERVICE_HOST", "10.0.0.1"),
        ("K8S_EXECUTION_SERVICE_PORT", "50051"),
        ("K8S_EXECUTION_SERVICE_PORT_GRPC", "50051"),
        ("K8S_EXECUTION_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("K8S_EXECUTION_GRPC_ADDRESS", "tcp://10.0.0.1:50051"),
        ("K8S_EXECUTION_QUEUE_LIMIT", "tcp://10.0.0.1:50051"),
    ],
)
def test_what_kubernetes_sets_for_services_is_told_so(name: str, value: str) -> None:
    """By name or by value; with the field of the pod that switches it off."""
    assert "enableServiceLinks: false" in problem(**{name: value})


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("10.0.0.0/24", (("10.0.0.0/24", ()),)),
        ("10.0.0.7/32:443, fd00::/64:8443", (("10.0.0.7/32", (443,)), ("fd00::/64", (8443,)))),
        ("2001:db8::1/128", (("2001:db8::1/128", ()),)),
    ],
)
def test_egress_is_networks_with_or_without_a_port(value: str, meant: object) -> None:
    """And is shown as it was written."""
    settings = Settings.load({}, {"K8S_EXECUTION_EGRESS": value})
    assert settings.egress == meant
    assert dict(settings.shown())["K8S_EXECUTION_EGRESS"] == value.replace(" ", "")


@pytest.mark.parametrize(
    "wrong", ["10.0.0.7", "10.0.0.7:443", "10.0.0.7/24", "10.0.0.7/33", "nexus.example:443", "10.0.0.7/32:",
              "10.0.0.7/32:0", "10.0.0.7/32:65536", "10.0.0.7/32:https", "10.0.0.7/32:٤", "/32"]
)  # fmt: skip
def test_wrong_egress_is_told_at_start(wrong: str) -> None:
    """With the setting's name, the value, the rule and the way out."""
    said = problem(K8S_EXECUTION_EGRESS=f"10.0.0.0/24,{wrong}")
    assert said.startswith("K8S_EXECUTION_EGRESS=")
    assert f"holds {wrong!r}: must be CIDR or CIDR:PORT" in said
    assert "write for example 10.0.0.7/32:443" in said


@pytest.mark.parametrize("wrong", ["10.0.0.7", "10.0.0.0/255.0.0.0"])
def test_a_wrong_network_of_dns_is_told_at_start(wrong: str) -> None:
    """Kubernetes would refuse every environment's network policy for it."""
    assert f"holds '{wrong}': must be networks in CIDR form" in problem(K8S_EXECUTION_DNS_CIDRS=wrong)


@pytest.mark.parametrize("wrong", ["nexus.example/simple", "ftp://nexus.example", "https://", "http://[::1"])
def test_a_package_index_is_a_url(wrong: str) -> None:
    """Else every install step would fail far from the cause."""
    assert "must be an http or https URL with a host" in problem(K8S_EXECUTION_PIP_INDEX_URL=wrong)


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("https://nexus.example/simple", {"PIP_INDEX_URL": "https://nexus.example/simple"}),
        ("http://10.0.0.7:80/simple", {"PIP_INDEX_URL": "http://10.0.0.7:80/simple", "PIP_TRUSTED_HOST": "10.0.0.7"}),
        ("", {}),
    ],
)
def test_pip_trusts_an_index_without_tls_by_name(url: str, variables: dict[str, str]) -> None:
    """It refuses one otherwise."""
    assert Settings.load({}, {"K8S_EXECUTION_PIP_INDEX_URL": url}).package_index == variables


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "١", "1 "])
def test_a_number_that_is_none_is_told(value: str) -> None:
    """With name, value and rule."""
    assert problem(K8S_TTL_MINUTES=value) == f"K8S_TTL_MINUTES={value!r} must be a whole number"


@pytest.mark.parametrize(
    ("value", "meant"), [("true", True), ("1", True), ("Yes", True), ("false", False), ("NO", False)]
)
def test_a_switch_is_read(value: str, meant: bool) -> None:
    """In the usual spellings."""
    assert Settings.load({}, {"K8S_EXECUTION_ALLOW_UNISOLATED": value}).allow_unisolated is meant


def test_a_switch_that_is_none_is_told() -> None:
    """With the rule."""
    assert "must be true or false" in problem(K8S_EXECUTION_ALLOW_UNISOLATED="maybe")


def test_a_list_of_numbers_is_read() -> None:
    """Commas between them."""
    assert Settings.load({}, {"K8S_EXECUTION_DNS_PORTS": "53, 5353"}).dns_ports == (53, 5353)


def test_all_problems_are_told_at_once(folder: Path) -> None:
    """Whatever their kind and source."""
    (folder / ".env").write_text("K8S_EXECUTION_DNS_PORTS=x\n")
    told = problem(K8S_TTL_MINUTES="x", K8S_EXECUTION_QUEUE_LIMT="1", K8S_EXECUTION_ALLOW_UNISOLATED="?").split("; ")
    named = {found.group() for part in told if (found := re.match(r"[A-Z0-9_]+(?==| is)", part))}
    assert named == {
        "K8S_TTL_MINUTES", "K8S_EXECUTION_QUEUE_LIMT", "K8S_EXECUTION_ALLOW_UNISOLATED", "K8S_EXECUTION_DNS_PORTS"
    }  # fmt: skip


def test_a_home_in_a_path_is_meant() -> None:
    """`~` in a file is not opened by any shell."""
    assert Settings.load({}, {"K8S_EXECUTION_DATA": "~/x"}).data == Path.home() / "x"


def test_the_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG Base Directory Specification."""
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert Settings.load({}, {}).data == Path("/somewhere/k8s-execution")


def test_secrets_are_never_shown() -> None:
    """Neither in the listing nor in a problem."""
    key = "ab" * 32
    shown = dict(Settings.load({}, {"K8S_EXECUTION_KEY": key}).shown())
    assert shown["K8S_EXECUTION_KEY"] == "(hidden)"
    assert key not in str(shown)
    assert dict(Settings().shown())["K8S_EXECUTION_KEY"] == ""


def test_the_password_of_a_package_index_is_not_shown() -> None:
    """Nor its user; neither in the list nor where the value is refused."""
    url = "https://robot:s3cret@packages.example/simple/"
    settings = Settings.load({}, {"K8S_EXECUTION_PIP_INDEX_URL": url})
    assert dict(settings.shown())["K8S_EXECUTION_PIP_INDEX_URL"] == "https://(hidden)@packages.example/simple/"
    with pytest.raises(SettingsError) as refused:
        Settings.load({}, {"K8S_EXECUTION_PIP_INDEX_URL": "ftp://robot:s3cret@packages.example/"})
    assert "s3cret" not in str(refused.value)
    assert "hunter22" not in problem(K8S_EXECUTION_KEY="tcp://hunter22")


def test_every_source_is_a_field() -> None:
    """And all names differ."""
    assert set(SOURCES) <= {f.name for f in fields(Settings)}
    assert len({s.name for s in SOURCES.values()}) == len(SOURCES)


def test_the_example_file_lists_the_same_names() -> None:
    """`.env.example` is the reference; each name once."""
    text = (REPOSITORY / ".env.example").read_text()
    names = re.findall(r"^(?:# )?([A-Z0-9_]+)=", text, re.MULTILINE)
    assert sorted(names) == sorted({s.name for s in SOURCES.values()} | CLIENT_NAMES)
    assert len(names) == len(set(names))


def test_the_example_file_shows_the_defaults(folder: Path) -> None:
    """Used as it is, it changes nothing."""
    (folder / ".env").write_text((REPOSITORY / ".env.example").read_text())
    assert Settings.load({}, {}) == Settings()


def test_a_role_needs_the_account_that_it_is_bound_to() -> None:
    """Both or neither."""
    assert "K8S_EXECUTION_SERVICE_ACCOUNT" in problem(K8S_EXECUTION_ENVIRONMENT_ROLE="r")
    assert "must be namespace/name" in problem(K8S_EXECUTION_SERVICE_ACCOUNT="svc")
    settings = Settings.load({}, {"K8S_EXECUTION_ENVIRONMENT_ROLE": "r", "K8S_EXECUTION_SERVICE_ACCOUNT": "n/svc"})
    assert (settings.environment_role, settings.service_account) == ("r", "n/svc")


def test_the_own_cluster_is_named_by_what_kubernetes_sets() -> None:
    """Host and port of every pod's environment; the old switch."""
    environment = {"K8S_IN_CLUSTER": "true", "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    settings = Settings.load({}, environment)
    assert (settings.in_cluster, settings.api_host, settings.api_port) == (True, "10.96.0.1", "443")
