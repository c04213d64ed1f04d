"""Trials of a search, in Optuna's own storage.

So a killed search can be resumed, on this machine or, where Optuna's storage has a URL, on another one.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.addresses import reason, shown
from mlops_assets.errors import StoreError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class Trials:
    """The trials of one product. journals: folder of this machine for Optuna's journals. database: the URL of its storage
    instead, where several machines search."""

    product: str
    journals: Path
    database: str = field(default="", repr=False)  # may hold a password

    def storage(self, study: str) -> "BaseStorage":
        """Raises StoreError: the database cannot be reached."""
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend
        from sqlalchemy.exc import SQLAlchemyError

        if not self.database:
            folder = self.journals / self.product / study
            folder.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
        try:
            return RDBStorage(self.database)
        except (SQLAlchemyError, ImportError, ValueError) as error:  # ImportError: a driver is not installed
            raise StoreError(
                f"Optuna's storage at {shown(self.database)} cannot be used: {reason(error, self.database)}. Check that it is up and "
                "that MLOPS_OPTUNA_STORAGE is right, then run it again."
            ) from None
