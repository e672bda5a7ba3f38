"""Search the protocol of a job, and that with each rule left out: `python -m tests.model`."""

import time

from tests.model.protocol import Mutation
from tests.model.search import Found, rules, search


def _told(found: Found, seconds: float) -> str:
    said = f"{found.states:>8,} states {found.moves:>9,} moves {seconds:6.1f} s"
    if found.violation is None:
        return f"{said}  no promise is broken"
    way = " > ".join(found.violation.trace)
    return f"{said}  {found.violation.promise}, in {len(found.violation.trace)} moves: {way}"


def main() -> None:
    for broken in (None, *Mutation):
        started = time.perf_counter()
        found = search(rules(broken))
        print(f"{broken or 'the protocol'}\n    {_told(found, time.perf_counter() - started)}")


if __name__ == "__main__":
    main()
