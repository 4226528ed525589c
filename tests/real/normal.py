"""Makes what kubectl printed on two clusters comparable: names, uids, times, addresses and versions become words.

Pure. What is a fact of Kubernetes stays: fields, reasons, messages, their order, exit codes. Documents (`-o yaml`,
`-o json`) become one line for each value, with its path, so that a difference can be named by its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

RULES: tuple[tuple[str, str], ...] = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4}( UTC)?", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\bweb-(simulated|[a-z0-9]{5})(?=\s+IPv4)", "web-SLICE"),
    (r"\b(containerd|simulated)://[0-9a-f]{64}", "CONTAINER"),
    (r"[\w./:-]*@?sha256:[0-9a-f]{64}(#.*)?", "DIGEST"),
    (r"start exec \"[0-9a-f]{64}\"", "start exec ID"),
    (r"(?<![\d.])\d{1,3}(\.\d{1,3}){3}(?![\d.])", "IP"),
    (r"\b(LIVE|MERGED)-\d+", r"\1"),
    (r"(?<=web-)[a-z0-9]{6,10}-[a-z0-9]{5}\b", "HASH-SUFFIX"),
    (r"(?<=web-)(?=[a-z0-9]*\d)[a-z0-9]{6,10}\b", "HASH"),
    (r"(?<=pod-template-hash[=:])\s?[a-z0-9]{6,10}", "HASH"),
    (r"\b(good|bad)-[a-z0-9]{5}\b", r"\1-SUFFIX"),
    (r"(resourceVersion: )\"?\d+\"?", r"\1VERSION"),
    (r"\b(\d+[smh])+ ago\b", "AGO"),
    (r"\b(\d+[smh])+ \(x\d+ over (\d+[smh])+\)", "AGE"),
    (r"(?<=\s)<invalid>|\b(\d+m)?\d+(\.\d+)?m?s(?=\s|$)", "AGE"),
    (r"[ \t]+$", ""),
    (r"(?<=\S)[ \t]{2,}", "  "),
)
RAW = 8  # so many rules come before the cluster's own names are replaced: they know those names
COMPILED = tuple((re.compile(pattern, re.MULTILINE), word) for pattern, word in RULES)


def normal(text: str, names: Mapping[str, str]) -> list[str]:
    """The lines of a text; `names` are this cluster's own words and what to call them."""
    for pattern, word in COMPILED[:RAW]:
        text = pattern.sub(word, text)
    for name, word in sorted(names.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(name, word)
    for pattern, word in COMPILED[RAW:]:
        text = pattern.sub(word, text)
    return text.splitlines()


def flat(document: str) -> str:
    """A YAML or JSON document as lines of `path: value`; timestamps as they were written."""
    loaded = yaml.load(document, Loader=yaml.BaseLoader)
    return "\n".join(f"{path}: {value}" for path, value in _leaves(loaded, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _leaves(value[key], f"{path}.{key}")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, str(value)
