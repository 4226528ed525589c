"""The shop behind its service name."""

import os


def test_every_replica_answers(ask):
    wanted = int(os.environ.get("EXPECTED_REPLICAS", "2"))
    seen = {ask("whoami")[1]["replica"] for _ in range(60)}
    assert len(seen) == wanted


def test_the_environment_reaches_the_application(ask):
    assert ask("whoami")[1]["log_level"] == "info"


def test_the_service_is_named_by_the_plan():
    assert os.environ["API_HOST"]
    assert os.environ["API_PORT"] == "8080"
