"""Makes text of strangers safe to print on a terminal.

Log lines, test names and messages come from whatever ran in the pods. A terminal obeys escape sequences in them: they
can clear lines, forge output, write the clipboard (OSC 52) or hide text (bidirectional overrides). So every control
character is shown as its escape, except tab. Colours (SGR) are dropped rather than shown: pytest and others write them
on purpose. Apart, because both the log printer and the reports need it.
"""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f"  # C0 without tab, DEL, C1
    "\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]"  # bidirectional marks, separators
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def safe(text: str) -> str:
    """One line without anything a terminal would obey; a trailing carriage return (CRLF output) is taken off."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escaped, _COLOUR.sub("", text.rstrip("\r")))


def safe_lines(text: str) -> list[str]:
    """Several lines, each safe. Only line feeds separate lines."""
    return [safe(line) for line in text.split("\n")]
