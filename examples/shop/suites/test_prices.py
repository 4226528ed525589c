"""The shop's prices."""

import pytest


@pytest.mark.parametrize(("name", "price"), [("apple", 3), ("pear", 4)])
def test_price(ask, name, price):
    assert ask(name) == (200, {"name": name, "price": price})


def test_unknown_goods(ask):
    status, body = ask("melon")
    assert status == 404
    assert "melon" in body["error"]
