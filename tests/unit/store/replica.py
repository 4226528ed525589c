"""One real process on a data folder, for tests: accepts executions, says so, then does what its second argument says.

python replica.py FOLDER accept N    accepts N, prints the owner and the ids, waits to be killed
python replica.py FOLDER churn       changes everything that is its own for ever, to be killed at any moment
python replica.py FOLDER cancel ID   asks for the cancellation of an execution that is another's, and ends
"""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from k8s_execution.store.sqlite import SqlStore
from unit.store.made import acceptance, warn


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def churn(store: SqlStore) -> None:
    accepted = [await store.accept(acceptance()) for _ in range(10)]
    say(store.owner)
    number = 0
    while True:
        await asyncio.gather(*(store.change(e.id, warn(str(number))) for e in accepted))
        number += 1


async def main(folder: Path, what: str, argument: str) -> None:
    with ThreadPoolExecutor(2) as executor:
        async with SqlStore.open(folder, executor) as store:
            if what == "accept":
                say([store.owner, *[(await store.accept(acceptance())).id for _ in range(int(argument))]])
                await asyncio.Event().wait()
            elif what == "churn":
                await churn(store)
            else:
                await store.change(argument, lambda e, _: replace(e, cancel_requested=True))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
