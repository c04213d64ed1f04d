"""A program of the tests: it answers ten versions from the named one on as soon as a line comes in.

python -m tests.unit.state.answering <url> <approval key> <first version>"""

import sys
from datetime import UTC, datetime, timedelta

from mlops_assets.records.acceptance import Verdict
from mlops_assets.state.approvals import ApprovalBook
from mlops_assets.state.objects import objects_at
from mlops_assets.state.records import Records


def main(url: str, key: str, first: int) -> None:
    book = ApprovalBook(Records(objects_at(url), "taxi"), None, key)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for version in range(first, first + 10):
        book.answer(
            version=version,
            partition="2013-07-01",
            verdict=Verdict.APPROVED,
            by="ana",
            through="in a test",
            note="slices look right",
            at=datetime(2013, 7, 1, 12, tzinfo=UTC),
            valid_for=timedelta(days=7),
            evidence={},
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
