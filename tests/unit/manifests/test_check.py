"""Everything wrong with a plan is said at once, with its place, its rule and a way out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import (
    Application,
    BundleSource,
    ConfigFile,
    EgressRule,
    Environment,
    ImageSource,
    InlineSource,
    Policy,
    Port,
    Quota,
    Readiness,
    ReadinessKind,
    Resources,
    Security,
    Specification,
    Step,
    StepKind,
    Strategy,
    SuiteType,
    TestPlan,
    Volume,
)
from k8s_execution.manifests.check import Checker, check
from k8s_execution.manifests.rules import findings
from k8s_execution.manifests.rules.findings import TextRule
from k8s_execution.ports.manifests import PlanChecker
from unit.manifests.samples import (
    API,
    DUMP,
    MIGRATE,
    SECRETS,
    SMALLEST,
    SPECIFICATION,
    SUITE,
    everything,
    with_application,
    with_environment,
    with_suite,
)

APP, SUITE_AT = "environment.applications[0]", "test_plan.suites[0]"


def with_plan(**changes: Any) -> Specification:
    return replace(SPECIFICATION, test_plan=replace(SPECIFICATION.test_plan, **changes))


def with_policy(**changes: Any) -> Specification:
    return replace(SPECIFICATION, policy=replace(Policy(), **changes))


def egress(cidr: str, *ports: int) -> Specification:
    return with_environment(egress=(EgressRule(cidr, ports),))


def readiness(kind: ReadinessKind, **changes: Any) -> Specification:
    return with_application(readiness=Readiness(kind, **changes))


def volume(name: str = "data", path: str = "/data", size: str = "1Gi") -> Specification:
    return with_application(volumes=(Volume(name, path, size),))


def files(*paths: str, content: str = "x") -> Specification:
    return with_environment(files=tuple(ConfigFile(p, content) for p in paths))


def inline(*paths: str) -> Specification:
    return with_plan(source=InlineSource(tuple(ConfigFile(p, "x") for p in paths)))


def test_good_plans_have_no_problem() -> None:
    assert check(SPECIFICATION, SECRETS) == []
    assert check(SMALLEST, {}) == []
    assert check(replace(SMALLEST, test_plan=replace(SMALLEST.test_plan, source=ImageSource())), {}) == []


def test_the_checker_fulfils_its_port() -> None:
    checker: PlanChecker = Checker()
    assert checker.prepare(SPECIFICATION, SECRETS) == (SPECIFICATION, [])


CASES: list[tuple[Specification, str, str]] = [
    # names and order
    (with_application(name="Api"), f"{APP}.name", "name.form"),
    (with_application(name="1api"), f"{APP}.name", "name.form"),
    (with_application(name="api\n"), f"{APP}.name", "name.form"),
    (with_application(name="param"), f"{APP}.name", "name.form"),
    (with_application(name="a" * 41), f"{APP}.name", "name.form"),
    (with_application(name="аpi"), f"{APP}.name", "name.form"),  # a Cyrillic letter
    (with_suite(name=""), f"{SUITE_AT}.name", "name.form"),
    (with_environment(applications=(API, replace(API, after=()))), "environment.applications[1].name", "name.unique"),
    (with_plan(setup=(MIGRATE, replace(MIGRATE, name="api"))), "test_plan.setup[1].name", "name.unique"),
    (with_plan(suites=(SUITE, SUITE)), "test_plan.suites[1].name", "name.unique"),
    (with_plan(teardown=(DUMP, DUMP)), "test_plan.teardown[1].name", "name.unique"),
    (with_application(after=("migrat",)), f"{APP}.after[0]", "after.known"),
    (with_application(after=("unit",)), f"{APP}.after[0]", "after.known"),
    (with_suite(after=("api",)), f"{SUITE_AT}.after[0]", "after.known"),
    (with_application(after=("api",)), f"{APP}.after", "after.circle"),
    (with_plan(setup=(replace(MIGRATE, after=("api",)),)), f"{APP}.after", "after.circle"),
    (with_suite(after=("unit",)), f"{SUITE_AT}.after", "after.circle"),
    # applications
    (with_application(image="no spaces"), f"{APP}.image", "image.form"),
    (with_application(image="Shop:1"), f"{APP}.image", "image.form"),
    (with_application(image=""), f"{APP}.image", "image.form"),
    (with_application(image="shop:1.4\n"), f"{APP}.image", "image.form"),
    (with_application(image="shop@sha256:12"), f"{APP}.image", "image.form"),
    (with_application(command=("",)), f"{APP}.command[0]", "command.word"),
    (with_application(args=("a\0",)), f"{APP}.args[0]", "text.process"),
    (with_application(args=("a" * 32_769,)), f"{APP}.args[0]", "text.process"),
    (with_application(args=("a",) * 257), f"{APP}.args", "items.most"),
    (with_application(working_dir="srv"), f"{APP}.working_dir", "path.absolute"),
    (with_application(working_dir="/srv/../etc"), f"{APP}.working_dir", "path.absolute"),
    (with_application(replicas=0), f"{APP}.replicas", "number.range"),
    (with_application(replicas=51), f"{APP}.replicas", "number.range"),
    (with_application(ports=(Port("http", 0),)), f"{APP}.ports[0].port", "number.range"),
    (with_application(ports=(Port("http", 65_536),)), f"{APP}.ports[0].port", "number.range"),
    (with_application(ports=(Port("HTTP", 80),)), f"{APP}.ports[0].name", "port.name"),
    (with_application(ports=(Port("80", 80),)), f"{APP}.ports[0].name", "port.name"),
    (with_application(ports=(Port("a", 80), Port("b", 80))), f"{APP}.ports[1].port", "ports.unique"),
    (with_application(ports=(Port("a", 80), Port("a", 81))), f"{APP}.ports[1].name", "ports.unique"),
    (with_application(env={"1X": "a"}), f'{APP}.env["1X"]', "variable.form"),
    (with_application(env={"A-B": "a"}), f'{APP}.env["A-B"]', "variable.form"),
    (with_application(env={"K8S_EXECUTION_STEP": "a"}), f'{APP}.env["K8S_EXECUTION_STEP"]', "variable.form"),
    (with_application(env={"X": "a\0"}), f'{APP}.env["X"]', "text.process"),
    (with_application(env={f"X{i}": "" for i in range(257)}), f"{APP}.env", "items.most"),
    (with_application(env={f"X{i}": "a" * 30_000 for i in range(20)}), APP, "container.size"),
    (readiness(ReadinessKind.HTTP), f"{APP}.readiness.http.port", "number.range"),
    (readiness(ReadinessKind.HTTP, port=80, path="healthz"), f"{APP}.readiness.http.path", "http.path"),
    (readiness(ReadinessKind.TCP, port=70_000), f"{APP}.readiness.tcp.port", "number.range"),
    (readiness(ReadinessKind.EXEC), f"{APP}.readiness.exec.command", "items.least"),
    (readiness(ReadinessKind.TCP, port=1, failure_threshold=0), f"{APP}.readiness.failure_threshold", "number.range"),
    (readiness(ReadinessKind.TCP, port=1, period_ms=0), f"{APP}.readiness.period", "duration.range"),
    (readiness(ReadinessKind.TCP, port=1, timeout_ms=301_000), f"{APP}.readiness.timeout", "duration.range"),
    (with_application(resources=Resources(cpu="2")), f"{APP}.resources.cpu", "resources.limit"),
    (with_application(resources=Resources(memory="1Gi")), f"{APP}.resources.memory", "resources.limit"),
    (with_application(resources=Resources(memory="256m")), f"{APP}.resources.memory", "resources.size"),
    (with_application(resources=Resources(cpu="0")), f"{APP}.resources.cpu", "resources.cpu"),
    (with_application(resources=Resources(cpu="-1")), f"{APP}.resources.cpu", "resources.cpu"),
    (with_application(resources=Resources(cpu_limit="1e999999999")), f"{APP}.resources.cpu_limit", "resources.cpu"),
    (with_application(resources=Resources(cpu="١")), f"{APP}.resources.cpu", "resources.cpu"),  # an Arabic digit
    (with_application(resources=Resources(shm_size="1Gi")), f"{APP}.resources.shm_size", "resources.shm"),
    (with_application(resources=Resources(shm_size="much")), f"{APP}.resources.shm_size", "resources.size"),
    (volume(name="shm"), f"{APP}.volumes[0].name", "volumes.reserved"),
    (volume(name="A"), f"{APP}.volumes[0].name", "name.form"),
    (volume(path="data"), f"{APP}.volumes[0].mount_path", "path.absolute"),
    (volume(path="/"), f"{APP}.volumes[0].mount_path", "path.absolute"),
    (volume(path="/proc/x"), f"{APP}.volumes[0].mount_path", "mount.reserved"),
    (volume(path="/k8s-execution"), f"{APP}.volumes[0].mount_path", "mount.reserved"),
    (volume(path="/etc/shop/config.yaml"), "environment.files[0].path", "mount.conflict"),
    (volume(path="/etc/shop/config.yaml/x"), f"{APP}.volumes[0].mount_path", "mount.conflict"),
    (volume(path="/dev/shm"), f"{APP}.volumes[0].mount_path", "mount.conflict"),
    (volume(size="1"), "", ""),
    (volume(size="big"), f"{APP}.volumes[0].size", "resources.size"),
    (with_application(volumes=(Volume("a", "/a"), Volume("a", "/b"))), f"{APP}.volumes[1].name", "volumes.unique"),
    (with_application(volumes=(Volume("a", "/a"), Volume("b", "/a/"))), f"{APP}.volumes[1].mount_path",
     "mount.conflict"),
    (with_application(security=Security(run_as_user=0)), f"{APP}.security.run_as_user", "security.user"),
    (with_application(security=Security(run_as_user=2**31)), f"{APP}.security.run_as_user", "security.user"),
    # environment
    (with_environment(env={"": "x"}), 'environment.env[""]', "variable.form"),
    (with_environment(env={f"X{i}": "a" * 30_000 for i in range(9)}), "environment.env", "container.size"),
    (with_environment(env={"API_TOKEN": "x"}), 'environment.secrets["API_TOKEN"]', "secret.twice"),
    (with_suite(env={"API_TOKEN": "x"}), 'environment.secrets["API_TOKEN"]', "secret.twice"),
    (with_environment(secrets=("OTHER",)), 'environment.secrets["OTHER"]', "secret.value"),
    (with_environment(secrets=("API_TOKEN", "a b")), 'environment.secrets["a b"]', "variable.form"),
    (files("etc/x"), "environment.files[0].path", "path.absolute"),
    (files("/etc/x/"), "environment.files[0].path", "path.file"),
    (files("/etc/../x"), "environment.files[0].path", "path.absolute"),
    (files("/dev/x"), "environment.files[0].path", "mount.reserved"),
    (files("/a", "/a"), "environment.files[1].path", "mount.conflict"),
    (files("/a", "/a/b"), "environment.files[1].path", "mount.conflict"),
    (files("/a", content="x" * 262_145), "environment.files[0].content", "file.size"),
    (files(*(f"/{i}" for i in range(5)), content="x" * 262_000), "environment.files", "file.size"),
    (files(*(f"/{i}" for i in range(65))), "environment.files", "items.most"),
    (egress("203.0.113.7"), "environment.network.egress[0].cidr", "egress.cidr"),
    (egress("203.0.113.7/24"), "environment.network.egress[0].cidr", "egress.cidr"),
    (egress("203.0.113.0/33"), "environment.network.egress[0].cidr", "egress.cidr"),
    (egress("example.org/24"), "environment.network.egress[0].cidr", "egress.cidr"),
    (egress("0x7f.0.0.0/8"), "environment.network.egress[0].cidr", "egress.cidr"),
    (egress("169.254.169.254/32"), "environment.network.egress[0].cidr", "egress.forbidden"),
    (egress("127.0.0.0/8"), "environment.network.egress[0].cidr", "egress.forbidden"),
    (egress("::1/128"), "environment.network.egress[0].cidr", "egress.forbidden"),
    (egress("fd00:ec2::254/128"), "environment.network.egress[0].cidr", "egress.forbidden"),
    (egress("::ffff:169.254.169.254/128"), "environment.network.egress[0].cidr", "egress.cidr"),
    (egress("::ffff:a9fe:a9fe/128"), "environment.network.egress[0].cidr", "egress.forbidden"),
    (egress("203.0.113.0/24", 0), "environment.network.egress[0].ports[0]", "number.range"),
    (with_environment(quota=Quota(cpu="1m")), "environment.quota.cpu", "quota.room"),
    (with_environment(quota=Quota(memory="1Gi", cpu="8")), "", ""),
    (with_environment(quota=Quota(memory="100Mi")), "environment.quota.memory", "quota.room"),
    (with_environment(quota=Quota(pods=2)), "environment.quota.pods", "quota.room"),
    (with_environment(quota=Quota(pods=501)), "environment.quota.pods", "number.range"),
    (with_environment(quota=Quota(ephemeral_storage="much")), "environment.quota.ephemeral_storage", "resources.size"),
    # steps and source
    (with_suite(suite_type=SuiteType.CUSTOM), f"{SUITE_AT}.command", "command.required"),
    (with_plan(setup=(replace(MIGRATE, command=()),)), "test_plan.setup[0].command", "command.required"),
    (with_suite(command=("a" * 30_000,) * 4), f"{SUITE_AT}.command", "command.size"),
    (with_suite(install=((),)), f"{SUITE_AT}.install[0]", "items.least"),
    (with_suite(install=(("pip", "\0"),)), f"{SUITE_AT}.install[0][1]", "text.process"),
    (with_suite(reports=("/abs",)), f"{SUITE_AT}.reports[0]", "glob.form"),
    (with_suite(artifacts=("../up",)), f"{SUITE_AT}.artifacts[0]", "glob.form"),
    (with_suite(artifacts=("",)), f"{SUITE_AT}.artifacts[0]", "glob.form"),
    (with_suite(timeout_ms=0), f"{SUITE_AT}.timeout", "duration.range"),
    (with_suite(timeout_ms=31 * 60_000), f"{SUITE_AT}.timeout", "timeout.policy"),
    (with_plan(teardown=(replace(DUMP, timeout_ms=6 * 60_000),)), "test_plan.teardown[0].timeout", "timeout.policy"),
    (with_suite(resources=Resources(memory="x")), f"{SUITE_AT}.resources.memory", "resources.size"),
    (with_plan(suites=()), "test_plan.suites", "items.least"),
    (with_plan(strategy=Strategy(parallel=0)), "test_plan.strategy.parallel", "number.range"),
    (with_plan(strategy=Strategy(parallel=65)), "test_plan.strategy.parallel", "number.range"),
    (inline("/etc/passwd"), "test_plan.source.inline.files[0].path", "path.relative"),
    (inline("../x"), "test_plan.source.inline.files[0].path", "path.relative"),
    (inline("a\\..\\b"), "test_plan.source.inline.files[0].path", "path.relative"),
    (inline("a//b"), "test_plan.source.inline.files[0].path", "path.relative"),
    (inline("a\0"), "test_plan.source.inline.files[0].path", "path.relative"),
    (inline("a", "a"), "test_plan.source.inline.files[1].path", "source.unique"),
    (inline("a", "a/b"), "test_plan.source.inline.files[1].path", "source.conflict"),
    (inline(), "test_plan.source.inline.files", "items.least"),
    # policy and identity
    (with_policy(timeout_ms=0), "policy.timeout", "duration.range"),
    (with_policy(timeout_ms=61 * 60_000), "policy.ttl", "ttl.timeouts"),
    (with_policy(ttl_ms=60_000, timeout_ms=60_000), "policy.ttl", "ttl.timeouts"),
    (with_policy(ttl_ms=73 * 3_600_000), "policy.ttl", "duration.range"),
    (with_policy(priority=101), "policy.priority", "number.range"),
    (replace(SPECIFICATION, name="Shop regression"), "name", "identity.form"),
    (replace(SPECIFICATION, project=""), "project", "identity.form"),
    (replace(SPECIFICATION, labels={"kubernetes.io/x": "y"}), 'labels["kubernetes.io/x"]', "label.key"),
    (replace(SPECIFICATION, labels={"pod-security.kubernetes.io/enforce": "y"}),
     'labels["pod-security.kubernetes.io/enforce"]', "label.key"),
    (replace(SPECIFICATION, labels={"k8s-execution.maestro/project": "y"}),
     'labels["k8s-execution.maestro/project"]', "label.key"),
    (replace(SPECIFICATION, labels={"APP": "y"}), 'labels["APP"]', "label.key"),
    (replace(SPECIFICATION, labels={"a": "x\ny"}), 'labels["a"]', "text.line"),
    (replace(SPECIFICATION, parameters={"a.b": "x"}), 'parameters["a.b"]', "variable.form"),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "field", "rule"), CASES, ids=[f"{f}-{r}" for _, f, r in CASES])
def test_a_bad_field_is_named_with_its_rule_and_a_way_out(plan: Specification, field: str, rule: str) -> None:
    problems = check(plan, SECRETS)
    if not field:
        assert problems == []
        return
    assert (field, rule) in {(p.field, p.rule) for p in problems}
    assert all(p.message and p.hint and len(p.value) <= 80 for p in problems)


def test_a_bad_field_gives_no_other_problem() -> None:
    """One cause, one problem, except where a field's form is shared by what is made of it."""
    many = [(f, r) for plan, f, r in CASES if len({(p.field, p.rule) for p in check(plan, SECRETS)}) > 1]
    assert len(many) <= 20, many


def test_all_problems_are_told_at_once() -> None:
    application = Application("A", "X Y", replicas=0, ports=(Port("!", 0),), after=("nobody",))
    step = Step("S!", StepKind.SUITE, "", timeout_ms=-1, suite_type=SuiteType.CUSTOM)
    plan = Specification(
        "N!", TestPlan(BundleSource("b"), (step,)), Environment(applications=(application,)), Policy(ttl_ms=1)
    )
    fields = {p.field for p in check(plan, {})}
    assert fields >= {
        "name", f"{APP}.name", f"{APP}.image", f"{APP}.replicas", f"{APP}.ports[0].port", f"{APP}.ports[0].name",
        f"{APP}.after[0]", f"{SUITE_AT}.name", f"{SUITE_AT}.image", f"{SUITE_AT}.timeout", f"{SUITE_AT}.command",
        "policy.ttl",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("secrets", "rule"),
    [({}, "secret.value"), ({"API_TOKEN": "x" * 16_385}, "secret.form"), ({"API_TOKEN": "a\0b"}, "secret.form"),
     ({"API_TOKEN": "x", **{f"S{i}": "y" * 16_384 for i in range(64)}}, "secret.size")],
)  # fmt: skip
def test_secrets_are_judged_without_being_shown(secrets: dict[str, str], rule: str) -> None:
    (problem,) = check(SPECIFICATION, secrets)
    assert problem.rule == rule and problem.value in {"", "***", "1048577"}


def test_a_problem_never_shows_a_secret() -> None:
    plan = with_application(image="registry.example/S3CRET-value x", env={"S3CRET-value": "x"})
    _, problems = Checker().prepare(plan, {"API_TOKEN": "S3CRET-value"})
    assert len(problems) == 2
    assert "S3CRET" not in "".join(f"{p.field}{p.value}{p.message}{p.hint}" for p in problems)


def test_references_are_replaced_before_a_plan_is_judged() -> None:
    plan = replace(with_application(image="shop:${param.TAG}"), parameters={"TAG": "a b"})
    prepared, problems = Checker().prepare(plan, SECRETS)
    assert prepared.environment.applications[0].image == "shop:a b"
    assert [(p.field, p.rule) for p in problems] == [(f"{APP}.image", "image.form")]


def test_an_unknown_reference_is_one_problem_of_its_field() -> None:
    _, problems = Checker().prepare(with_application(image="shop:${param.TAG}"), SECRETS)
    assert [(p.field, p.rule) for p in problems] == [(f"{APP}.image", "reference.known")]


def test_an_installation_can_close_more_networks() -> None:
    (problem,) = Checker(["203.0.0.0/16"]).prepare(SPECIFICATION, SECRETS)[1]
    assert problem.rule == "egress.forbidden"


def test_the_list_of_problems_is_bounded() -> None:
    plan = with_environment(env={f"1{i}": "x" for i in range(1_000)})
    assert len(Checker().prepare(plan, SECRETS)[1]) == 200


def test_a_suite_may_be_called_as_an_application_is() -> None:
    assert check(with_suite(name="api"), SECRETS) == []


@pytest.mark.parametrize("image", [
    "python:3-slim", "postgres", "registry.example/shop-api:1.4", "localhost:5000/a/b_c__d---e:T.1",
    "python@sha256:" + "0" * 64, "python:3@sha256:" + "0" * 64, "gcr.io/a.b/c",
])  # fmt: skip
def test_images_as_docker_writes_them_are_good(image: str) -> None:
    assert findings.IMAGE.holds(image)


RULES: list[TextRule] = [rule for rule in vars(findings).values() if isinstance(rule, TextRule)]
SLOW: list[Callable[[int], str]] = [
    lambda n: "a" * n, lambda n: "a-" * n, lambda n: "a." * n + "!", lambda n: "/a" * n + "\n", lambda n: "_" * n,
    lambda n: "../" * n, lambda n: "a__" * n + "-", lambda n: "1" * n + "x", lambda n: "a/" * n,
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda r: str(r.id))
def test_no_text_makes_a_rule_slow(rule: TextRule) -> None:
    start = time.perf_counter()
    for make in SLOW:
        for size in (100, 400, 20_000):
            rule.holds(make(size))
    assert time.perf_counter() - start < 1.0


TEXT = st.text(max_size=20) | st.sampled_from(["api", "/a", "1", "250m", "512Mi", "${api.host}", "python:3", "a/b"])
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
NUMBER = st.integers(-(2**40), 2**40)


@settings(deadline=None)
@given(
    st.builds(
        Application,
        name=TEXT, image=TEXT, command=TEXTS, args=TEXTS, working_dir=TEXT, replicas=NUMBER,
        ports=st.lists(st.builds(Port, TEXT, NUMBER), max_size=2).map(tuple),
        env=st.dictionaries(TEXT, TEXT, max_size=2),
        readiness=st.none() | st.builds(Readiness, st.sampled_from(ReadinessKind), NUMBER, TEXT, TEXTS, TEXT, NUMBER),
        resources=st.builds(Resources, TEXT, TEXT, TEXT, TEXT, TEXT),
        volumes=st.lists(st.builds(Volume, TEXT, TEXT, TEXT), max_size=2).map(tuple),
        security=st.builds(Security, st.none() | NUMBER, st.booleans()),
        after=TEXTS,
    ),
    st.builds(EgressRule, TEXT, st.lists(NUMBER, max_size=2).map(tuple)),
    st.builds(Quota, st.none() | TEXT, st.none() | TEXT, st.none() | NUMBER, st.none() | TEXT),
)  # fmt: skip
def test_whatever_a_plan_holds_it_is_judged_and_what_passes_renders(
    application: Application, rule: EgressRule, quota: Quota
) -> None:
    plan = with_environment(applications=(application,), egress=(rule,), quota=quota)
    prepared, problems = Checker().prepare(plan, SECRETS)
    assert all(isinstance(p, Problem) for p in problems)
    if not problems:
        assert everything(prepared)


def fitting(rule: TextRule) -> st.SearchStrategy[str]:
    return st.from_regex(rule.pattern, fullmatch=True).filter(rule.holds)


PATH = fitting(findings.ABSOLUTE_PATH)
PORT_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?", fullmatch=True)
IMAGES = st.from_regex(r"(host\.example(:[0-9]{1,5})?/)?[a-z]{1,9}(:[A-Za-z0-9_]{1,9})?", fullmatch=True)
WORDS = st.lists(fitting(findings.WORD), max_size=3).map(tuple)


@settings(deadline=None)
@given(
    st.builds(
        Application,
        name=fitting(findings.NAME), image=IMAGES, command=WORDS, args=WORDS, working_dir=PATH,
        replicas=st.integers(1, 50), ports=st.builds(Port, PORT_NAMES, st.integers(1, 65_535)).map(lambda p: (p,)),
        env=st.dictionaries(fitting(findings.VARIABLE), fitting(findings.PROCESS_TEXT), max_size=2),
        readiness=st.builds(Readiness, st.just(ReadinessKind.HTTP), st.integers(1, 65_535),
                            fitting(findings.HTTP_PATH)),
        resources=st.builds(Resources, fitting(findings.CPU), fitting(findings.SIZE), fitting(findings.CPU),
                            fitting(findings.SIZE), st.just("")),
        volumes=st.builds(Volume, fitting(findings.NAME), PATH, fitting(findings.SIZE)).map(lambda volume: (volume,)),
    ),
    fitting(findings.IDENTITY),
    PATH,
)  # fmt: skip
def test_what_passes_the_checks_can_be_rendered(application: Application, project: str, path: str) -> None:
    files = (ConfigFile(path.rstrip("/"), "x"),)
    plan = replace(with_environment(applications=(application,), files=files), project=project)
    resolved, problems = Checker().prepare(plan, SECRETS)
    if not problems:
        assert len(everything(resolved)) == 12


@settings(deadline=None)
@given(st.sampled_from(CASES))
def test_a_plan_with_a_problem_and_one_without_are_told_apart(case: tuple[Specification, str, str]) -> None:
    plan, field, _ = case
    assert bool(Checker().prepare(plan, SECRETS)[1]) == bool(field)


def test_checking_is_fast_enough_for_the_event_loop() -> None:
    checker = Checker()
    rounds = []
    for _ in range(10):
        start = time.perf_counter()
        checker.prepare(SPECIFICATION, SECRETS)
        rounds.append(time.perf_counter() - start)
    assert min(rounds) < 0.002
