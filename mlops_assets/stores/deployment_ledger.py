"""Deployment ledger: what served from when, why and by whom; its last line is the champion.

Append-only. One transaction moves the champion and records the reason, so a killed process leaves either the old
champion or the new one, whole.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

from mlops_assets.errors import NoChampion


@dataclass(frozen=True)
class Deployment:
    """One champion: `version` serves from `deployed_at` until the next entry. `bundle` is its folder."""

    product: str
    version: int
    partition: str
    deployed_at: datetime
    bundle: str
    reason: str
    by: str
    run_id: str


@dataclass(frozen=True)
class ReworkFlag:
    """`version` was sent back to development at `flagged_at`; None in `cleared_at` while that stands."""

    product: str
    version: int
    flagged_at: datetime
    reason: str
    cleared_at: datetime | None


class DeploymentLedger:
    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, deployment: Deployment) -> None:
        """Make this deployment the champion."""
        row = list(astuple(deployment))
        row[3] = deployment.deployed_at.isoformat()
        with self._connection() as connection:
            connection.execute("INSERT INTO deployment VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def champion(self, product: str) -> Deployment:
        """What serves now. Raises NoChampion."""
        history = self.history(product)
        if not history:
            raise NoChampion(product)
        return history[-1]

    def champion_at(self, product: str, moment: datetime) -> Deployment | None:
        """What served at `moment`, None before the first deployment."""
        served = [deployment for deployment in self.history(product) if deployment.deployed_at <= moment]
        return served[-1] if served else None

    def history(self, product: str) -> list[Deployment]:
        """Every deployment, oldest first."""
        if not self._path.exists():
            return []
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT * FROM deployment WHERE product = ? ORDER BY rowid", (product,)
            ).fetchall()
        return [Deployment(**{**dict(row), "deployed_at": datetime.fromisoformat(row["deployed_at"])}) for row in rows]

    def position(self) -> int:
        """Rises with every append, for cheap polling."""
        if not self._path.exists():
            return 0
        with self._connection() as connection:
            return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM deployment").fetchone()[0])

    def flag_for_rework(self, product: str, version: int, at: datetime, reason: str) -> None:
        if self.open_flag(product) is None:
            with self._connection() as connection:
                connection.execute(
                    "INSERT INTO rework VALUES (?, ?, ?, ?, NULL)", (product, version, at.isoformat(), reason)
                )

    def clear_rework(self, product: str, at: datetime) -> None:
        """A new recipe left development: automatic retraining is on again."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE rework SET cleared_at = ? WHERE product = ? AND cleared_at IS NULL", (at.isoformat(), product)
            )

    def open_flag(self, product: str) -> ReworkFlag | None:
        """The rework flag that still stands, if any."""
        flags = [flag for flag in self.flags(product) if flag.cleared_at is None]
        return flags[-1] if flags else None

    def flags(self, product: str) -> list[ReworkFlag]:
        if not self._path.exists():
            return []
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM rework WHERE product = ? ORDER BY rowid", (product,)).fetchall()
        return [
            ReworkFlag(
                row[0],
                row[1],
                datetime.fromisoformat(row[2]),
                row[3],
                datetime.fromisoformat(row[4]) if row[4] else None,
            )
            for row in rows
        ]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(
                "CREATE TABLE IF NOT EXISTS deployment (product TEXT NOT NULL, version INTEGER NOT NULL, partition TEXT NOT"
                " NULL, deployed_at TEXT NOT NULL, bundle TEXT NOT NULL, reason TEXT NOT NULL, by TEXT NOT NULL, run_id TEXT"
                " NOT NULL);"
                "CREATE TABLE IF NOT EXISTS rework (product TEXT NOT NULL, version INTEGER NOT NULL, flagged_at TEXT NOT NULL,"
                " reason TEXT NOT NULL, cleared_at TEXT);"
            )
            with connection:
                yield connection
