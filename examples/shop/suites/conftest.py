"""What both suites need: a way to ask the shop."""

import json
import os
import urllib.error
import urllib.request

import pytest


@pytest.fixture
def ask():
    """Ask the shop for a path; gives status and body."""

    def get(path):
        try:
            with urllib.request.urlopen(f"{os.environ['API_URL']}/{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return get
