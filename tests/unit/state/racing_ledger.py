"""One of several processes that change the champion of one product at the same time.

    python -m tests.unit.state.racing_ledger URL CHANGES NAME

waits for a line, makes its changes, and prints the numbers of its entries and how often it had to decide again."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from mlops_assets.errors import ChampionChanged
from mlops_assets.state.ledger import Deployment, Kind, Ledger, deployments_of, standing
from mlops_assets.state.objects import objects_at


def next_change(history: Sequence[Deployment]) -> tuple[Kind, int]:
    """Every third change goes back; each is only right for the history that it was decided on."""
    served = standing(history)
    if len(history) % 3 == 2 and len(served) > 1:
        return Kind.ROLLED_BACK, served[-2].version
    return Kind.DEPLOYED, max((item.version for item in history), default=0) + 1


def race(ledger: Ledger, changes: int, name: str) -> tuple[list[int], int]:
    written: list[int] = []
    decided_again = 0
    while len(written) < changes:
        entries = ledger.entries()
        kind, version = next_change(deployments_of(entries))
        try:
            entry = ledger.append(kind, version, "", datetime.now(UTC), reason="", by=name, after=len(entries))
            written.append(entry.number)
        except ChampionChanged:
            decided_again += 1
    return written, decided_again


if __name__ == "__main__":
    url, changes, name = sys.argv[1:]
    shared = Ledger(objects_at(url), "p")
    shared.position()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(race(shared, int(changes), name)))
