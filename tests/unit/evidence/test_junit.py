"""Reports of the common tools to test cases; hostile ones to a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.testcase import TestStatus, count
from k8s_execution.evidence import junit

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="2" tests="99" time="0.1">
<testcase classname="test_a" name="test_ok" time="0.001" />
<testcase classname="test_a" name="test_bad[a&amp;b]" time="0.002"><failure message="assert 1 == 2
 more">def test_bad():
&gt;       assert 1 == 2</failure></testcase>
<testcase classname="test_a" name="test_skip" time="0">
<skipped type="pytest.skip" message="why">x.py:3: why</skipped></testcase>
<testcase classname="test_a" name="test_xfail" time="0"><skipped type="pytest.xfail" message="known"/></testcase>
<testcase classname="test_a" name="test_ok" time="0.5">
<error message="failed on teardown with &quot;x&quot;">trace</error></testcase>
</testsuite></testsuites>"""

SUREFIRE = b"""<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="com.shop.CartTest" tests="2">
<properties><property name="java.version" value="21"/></properties>
<testcase name="adds" classname="com.shop.CartTest" time="1,234.5"><system-out><![CDATA[out]]></system-out></testcase>
<testcase name="flaky" classname="com.shop.CartTest" time="0.1"><flakyFailure message="once"/></testcase>
<testcase name="both" classname="com.shop.CartTest">
<failure type="java.lang.AssertionError">a</failure><error>b</error></testcase>
</testsuite>"""

JEST = b"""<testsuites name="jest"><testsuite name="outer">
<testsuite name="inner">
<testcase classname="a b" name="c" file="a.test.js" time="NaN"/></testsuite>
<testcase name="d"/></testsuite></testsuites>"""


def test_pytest_counts_elements_and_not_the_attribute() -> None:
    counts = count(junit.parse(PYTEST))
    assert (counts.total, counts.passed, counts.failed, counts.errors, counts.skipped) == (5, 1, 1, 1, 2)


def test_a_failure_keeps_its_message_in_one_line_and_its_text() -> None:
    case = junit.parse(PYTEST)[1]
    assert (case.suite, case.class_name, case.name) == ("pytest", "test_a", "test_bad[a&b]")
    assert (case.message, case.details) == ("assert 1 == 2 more", "def test_bad():\n>       assert 1 == 2")
    assert case.duration == 0.002


def test_surefire_is_read() -> None:
    cases = junit.parse(SUREFIRE)
    assert [(c.name, c.status) for c in cases] == [
        ("adds", TestStatus.PASSED),
        ("flaky", TestStatus.PASSED),
        ("both", TestStatus.ERROR),
    ]
    assert cases[0].duration == 1234.5


def test_nested_suites_and_missing_attributes_are_read() -> None:
    assert [(c.suite, c.name, c.file, c.duration) for c in junit.parse(JEST)] == [
        ("inner", "c", "a.test.js", 0.0),
        ("outer", "d", "", 0.0),
    ]


def test_an_empty_suite_has_no_cases() -> None:
    assert junit.parse(b"<testsuites/>") == []


def test_details_are_cut() -> None:
    data = b"<testsuite><testcase name='n'><failure>" + b"x" * 100_000 + b"</failure></testcase></testsuite>"
    assert len(junit.parse(data)[0].details) == junit.DETAILS_LENGTH


def test_other_xml_is_told_apart() -> None:
    with pytest.raises(junit.NotJUnit, match="coverage"):
        junit.parse(b"<coverage line-rate='1'/>")


ENTITIES = b"<!DOCTYPE x [" + b"".join(
    b"<!ENTITY l%d '%s'>" % (i, b"&l%d;" % (i - 1) * 10 if i else b"lol") for i in range(10)
)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not well-formed"),
        (b"<testsuite><testcase name='cut'", "not well-formed"),
        (b"<testsuite></testsuites>", "not well-formed"),
        (ENTITIES + b"]><testsuite name='&l9;'/>", "DTD"),
        (b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><testsuite>&e;</testsuite>", "DTD"),
        (b"<!DOCTYPE testsuite SYSTEM 'http://127.0.0.1/x.dtd'><testsuite/>", "DTD"),
        (b"<testsuite>" * 100, "nested"),
        (b"<?xml version='1.0' encoding='no-such'?><testsuite/>", "encoding|well-formed"),
        (b"<testsuite name='\xff'/>", "well-formed|encoding"),
        (b"<testsuite name='" + b"x" * junit.LARGEST + b"'/>", "bytes"),
        (b"<testsuite>" + b"<testcase/>" * (junit.MOST_CASES + 1) + b"</testsuite>", "more than"),
    ],
)
def test_what_is_broken_or_hostile_is_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        junit.parse(data)


@given(st.binary(max_size=200), st.integers(0, len(PYTEST)))
def test_any_bytes_give_cases_or_a_sentence(noise: bytes, at: int) -> None:
    for data in (noise, PYTEST[:at] + noise + PYTEST[at:]):
        try:
            junit.parse(data)
        except ValueError as error:
            sentence = str(error)
            if not sentence:
                raise
