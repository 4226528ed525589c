"""Every name, label and annotation that we put on Kubernetes objects; made here, parsed here, nowhere else.

Names are deterministic, so a second try meets 409 instead of a second object. Lengths: a namespace and a Service are
DNS labels (63), a Job's name becomes a pod label and its pods add 6 characters (so at most 57).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string

from k8s_execution.domain.execution import StepKey

LABEL_EXECUTION = "k8s-execution.maestro/execution-id"
LABEL_INSTALLATION = "k8s-execution.maestro/installation"
LABEL_PROJECT = "k8s-execution.maestro/project"
LABEL_STEP_KIND = "k8s-execution.maestro/step-kind"
LABEL_STEP = "k8s-execution.maestro/step"
LABEL_SHARD = "k8s-execution.maestro/shard"
LABEL_ATTEMPT = "k8s-execution.maestro/attempt"
LABEL_APPLICATION = "k8s-execution.maestro/application"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "k8s-execution"
ANNOTATION_EXPIRES_AT = "k8s-execution.maestro/expires-at"
RESERVED_PREFIXES = ("k8s-execution.maestro/", "k8s-simulation/", "kubernetes.io/", "k8s.io/")

AGENT_INIT_CONTAINER = "agent"
STEP_CONTAINER = "step"
COLLECTOR_CONTAINER = "collector"
APPLICATION_CONTAINER = "application"
SHARED_VOLUME = "k8s-execution"
SHARED_PATH = "/k8s-execution"
WORK_DIR = "/k8s-execution/work"
REPORT_DIR = "/k8s-execution/report"
ARTIFACT_DIR = "/k8s-execution/artifact"

SERVICE_ACCOUNT = "k8s-execution"
ROLE_BINDING = "k8s-execution"
SECRET_ENV = "environment-secrets"  # noqa: S105 - the name of an object, not a secret
CONFIG_FILES = "environment-files"

_ID_ALPHABET = string.ascii_lowercase + string.digits
ID_LENGTH = 26
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def new_execution_id() -> str:
    """A fresh execution id: 26 characters of [a-z0-9], over 128 bits from the operating system."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_LENGTH))


def namespace(prefix: str, execution_id: str) -> str:
    """The environment's namespace, `{prefix}-{execution id}`."""
    return f"{prefix}-{execution_id}"


def job(key: StepKey) -> str:
    """The Job of one try of one step: readable, and unique by a hash of the whole key."""
    text = f"{key.kind}/{key.name}/{key.shard}/{key.attempt}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{key.kind.lower()}-{key.name[:30].rstrip('-')}-{digest}"


def is_dns_label(text: str) -> bool:
    """RFC 1123 label: 1 to 63 of [a-z0-9-], letters or digits at both ends (ASCII only, no trailing newline)."""
    return DNS_LABEL.fullmatch(text) is not None


def env_prefix(name: str) -> str:
    """The environment-variable prefix of an application: upper case, `-` to `_`."""
    return name.upper().replace("-", "_")


def label_value(text: str) -> str:
    """Free text as a label value: unfit characters become `-`, cut to 63, never empty at the ends."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("-._")
