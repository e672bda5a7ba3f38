"""Take each guard out once, and see that tests notice: `python -m tests.mutations [--only NAME] [--json]`."""

import argparse
import json
import sys
from dataclasses import asdict

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.gate import GateError, judge


def main() -> int:
    """Return 0 if every mutation was killed, 1 if one lives, 2 if that cannot be said."""
    parser = argparse.ArgumentParser(prog="tests.mutations", description=__doc__)
    parser.add_argument("--only", action="append", choices=[each.name for each in MUTATIONS])
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    options = parser.parse_args()
    chosen = [each for each in MUTATIONS if options.only is None or each.name in options.only]
    verdicts = []
    try:
        for verdict in judge(chosen):
            verdicts.append(verdict)
            if not options.json:
                said = f"killed by {verdict.killed_by}" if verdict.killed_by else "LIVES"
                print(f"{verdict.name:<30} {verdict.seconds:6.1f} s  {said}", flush=True)
    except GateError as error:
        print(error, file=sys.stderr)
        return 2
    killed = sum(verdict.killed_by is not None for verdict in verdicts)
    if options.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    else:
        print(f"{killed} of {len(verdicts)} killed")
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
