"""Plans for end-to-end tests, as the contract's document (what a caller would send as JSON)."""

from __future__ import annotations

from typing import Any

Plan = dict[str, Any]

PASSES = "def test_passes():\n    print('a line from the test')\n"

API = """
import http.server, os, socket, sys, time

class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("api is up", flush=True)
http.server.ThreadingHTTPServer(("", 8080), Api).serve_forever()
"""

SMALL = {"cpu": "50m", "memory": "64Mi", "cpu_limit": "1", "memory_limit": "256Mi"}


def suite(name: str = "unit", **given: Any) -> Plan:
    """A PYTEST suite that installs pytest by the package relay."""
    base: Plan = {
        "name": name,
        "type": "PYTEST",
        "image": "python:3-slim",
        "install": [["pip", "install", "-q", "pytest"]],
        "resources": SMALL,
        "timeout": "60s",
    }
    return {**base, **given}


def custom(name: str, *command: str, **given: Any) -> Plan:
    """A CUSTOM suite of one command; starts in well under a second."""
    base: Plan = {"name": name, "type": "CUSTOM", "image": "busybox:1", "command": list(command), "resources": SMALL}
    return {**base, **given}


def shell(name: str, script: str, **given: Any) -> Plan:
    """A CUSTOM suite of one shell script."""
    return custom(name, "sh", "-c", script, **given)


def hook(name: str, script: str, **given: Any) -> Plan:
    """A hook of one shell script."""
    base: Plan = {
        "name": name,
        "image": "busybox:1",
        "command": ["sh", "-c", script],
        "resources": SMALL,
        "timeout": "30s",
    }
    return {**base, **given}


def api(name: str = "api", **given: Any) -> Plan:
    """The application of `API`, ready when it answers."""
    base: Plan = {
        "name": name,
        "image": "python:3-slim",
        "command": ["python", "-u", "/srv/api.py"],
        "ports": [{"name": "http", "port": 8080}],
        "readiness": {"http": {"path": "/", "port": 8080}, "period": "1s", "failure_threshold": 20},
        "resources": SMALL,
    }
    return {**base, **given}


def plan(*suites: Plan, tests: str = PASSES, **given: Any) -> Plan:
    """A plan of these suites over one inline test file; `setup`, `teardown`, `strategy` go into the test plan."""
    inside = {k: given.pop(k) for k in ("setup", "teardown", "strategy") if k in given}
    source = {"inline": {"files": [{"path": "test_it.py", "content": tests}]}}
    base: Plan = {
        "name": "e2e",
        "test_plan": {"source": source, "suites": list(suites) or [suite()], **inside},
        "policy": {"timeout": "2m", "ttl": "10m"},
    }
    return {**base, **given}


def with_api(*suites: Plan, application: Plan | None = None, **given: Any) -> Plan:
    """A plan with the application."""
    environment = {"files": [{"path": "/srv/api.py", "content": API}], "applications": [application or api()]}
    return plan(*suites, environment=environment, **given)
