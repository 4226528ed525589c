"""A process that is killed while it appends: what it appended is there, whole, and the next one goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from k8s_execution.logs.segments import JournalStore
from unit.logs.test_segments import STREAM, read, write

WRITER = """
import sys
from pathlib import Path
from k8s_execution.logs.resume import Token
from k8s_execution.logs.segments import Journal
from k8s_execution.ports.logs import LogLine, LogLines, LogStream
stream = LogStream(pod="p", container="c", application="api", attempt=2, shard=1, restart=3)
journal = Journal(Path(sys.argv[1]))
number = 0
while True:
    lines = LogLines.of(LogLine(number, b"%d" % (number + i)) for i in range(50))
    journal.append_lines(stream, lines, Token(number, 50, 0, number))
    number += 50
    print(number, flush=True)
"""


def killed_writer(folder: Path) -> int:
    """Let a process append and kill it; how many lines it said it had appended."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = next(n for n in map(int, process.stdout) if n >= 5000)
        process.send_signal(signal.SIGKILL)
    return said


async def test_what_was_appended_before_a_kill_is_there(store: JournalStore, tmp_path: Path) -> None:
    said = killed_writer(tmp_path / "x1")
    journal = await store.open("x1")
    assert journal.lines >= said
    write(journal, b"the next owner's")
    batches = await read(store, "x1")
    lines = [line.data for b in batches for line in b.lines]
    assert lines[:-1] == [b"%d" % i for i in range(journal.lines - 1)]
    assert journal.state(STREAM).next_sequence == journal.lines
    await store.close("x1")
