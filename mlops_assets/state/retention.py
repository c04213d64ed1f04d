"""Retention: finds and removes objects that are older than the product's retention times.

Nothing is removed that the ledger, `mlops reproduce` or `mlops why` reads: source tables, features, labels, predictions of
periods, records, and every bundle that was ever deployed. Names and the ledger determine what is expired, so one listing for
each kind finds it, any number of processes may remove it at the same time, and a later run finds what a killed one left.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mlops_assets.errors import BundleError
from mlops_assets.products.keep import KINDS, Keep, in_words
from mlops_assets.products.periods import DAY_KEY, MINUTE_KEY, Period
from mlops_assets.state.manifest import MANIFEST
from mlops_assets.state.workspace import ProductState

REPORT = ".html"
_REQUESTS_AT_ONCE = 16
_DAY, _DAY_LENGTH = timedelta(days=1), len("2013-07-01")
_SEARCH_SECONDS = 86_400.0
DatedName = tuple[date, str]  # the day of an object, and its name


@dataclass(frozen=True)
class Expired:
    """The expired objects of one kind. names: of objects, and paths of journals of searches on this machine. oldest, newest: the
    range of their days; None without any."""

    kind: str
    kept_for: timedelta | None
    names: tuple[str, ...] = ()
    oldest: date | None = None
    newest: date | None = None


def expired(state: ProductState, keep: Keep, now: datetime) -> list[Expired]:
    """The objects of each kind that are older at `now` than its retention time. Raises StoreError, LedgerBroken."""
    return [_expired(state, kind, keep.of(kind), now) for kind in KINDS]


def remove(state: ProductState, expired_kinds: Iterable[Expired]) -> None:
    """Remove these objects, and incomplete files that killed writers left. Objects that no longer exist are skipped.

    Raises StoreError: some may still exist; call it again."""
    names = {name for item in expired_kinds for name in item.names}
    folders = {name for name in names if Path(name).is_absolute()}
    # a bundle without its manifest no longer counts as one, so the manifest is removed last
    manifests = {name for name in names if name.endswith(f"/{MANIFEST}")}
    for group in (names - folders - manifests, manifests):
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            list(threads.map(state.workspace.objects.delete, sorted(group)))
    for folder in folders:
        _remove_folder(Path(folder))
    state.workspace.objects.sweep()


def in_table(expired_kinds: Iterable[Expired]) -> list[dict[str, str]]:
    """A table with one row for each kind."""
    return [
        {
            "kind": item.kind,
            "kept for": in_words(item.kept_for),
            "objects": f"{len(item.names):,}",
            "from": str(item.oldest or ""),
            "to": str(item.newest or ""),
        }
        for item in expired_kinds
    ]


def _expired(state: ProductState, kind: str, kept_for: timedelta | None, now: datetime) -> Expired:
    if kept_for is None:
        return Expired(kind, None)
    objects = sorted(_FINDERS[kind](state, now - kept_for))
    if not objects:
        return Expired(kind, kept_for)
    return Expired(kind, kept_for, tuple(name for _, name in objects), objects[0][0], objects[-1][0])


def _events(kind: str) -> Callable[[ProductState, datetime], Iterator[DatedName]]:
    """Objects of a log, by the day in their name, without those that the loop has not read yet."""

    def find(state: ProductState, before: datetime) -> Iterator[DatedName]:
        folder = f"{kind}/{state.product.name}"
        limit = min(before, _unread_from(state) or before)
        for name in state.workspace.objects.folders(folder):
            day = _day(name)
            if day is not None and _midnight(day) + _DAY <= limit:
                yield from ((day, event) for event in state.workspace.objects.names(f"{folder}/{name}"))

    return find


def _unread_from(state: ProductState) -> datetime | None:
    """The loop reads the logs of a period until it has its labels. None: no period has arrived, so no log is read."""
    asked_ahead = state.product.serving.asked_ahead
    if labelled := _periods(state, state.tables.keys("labels")):
        return labelled[-1].end - asked_ahead
    arrived = _periods(state, state.tables.keys("features"))
    return arrived[0].start - asked_ahead if arrived else None


def _reports(state: ProductState, before: datetime) -> Iterator[DatedName]:
    """HTML pages by the period in their name. Model cards and pictures are small and belong to no period, so they stay."""
    for name in state.workspace.objects.names(f"reports/{state.product.name}"):
        for period in _periods(state, [name.rpartition("/")[2].removesuffix(REPORT)] if name.endswith(REPORT) else []):
            if period.end <= before:
                yield period.start.date(), name


def _training_sets(state: ProductState, before: datetime) -> Iterator[DatedName]:
    """Training sets, except those of the champion, of the newest version, and of a version that is being trained."""
    names = state.workspace.objects.names(f"tables/{state.product.name}/training_set")
    periods = {
        name: period for name in names for period in _periods(state, [name.rpartition("/")[2].partition(".")[0]])
    }
    needed = {item.partition for item in state.ledger.history()[-1:]}
    needed |= {_partition(state, version) for version in state.bundles.versions()[-1:]}
    needed |= {period.key for period in sorted(periods.values())[-1:]}
    for name, period in periods.items():
        if period.key not in needed and period.start <= before:
            yield period.start.date(), name


def _versions(state: ProductState, before: datetime) -> Iterator[DatedName]:
    """Files of bundles that no entry of the ledger names, and that can no longer be deployed because a newer version serves.

    A bundle is at least as old as the first deployment of a newer one. Incomplete bundles of killed writers are included."""
    in_ledger, history = {entry.version for entry in state.ledger.entries()}, state.ledger.history()
    folder = f"bundles/{state.product.name}"
    files: dict[int, list[str]] = {}
    for name in state.workspace.objects.names(folder):
        number = name.removeprefix(f"{folder}/").partition("/")[0]
        if number.isdecimal() and int(number) not in in_ledger:
            files.setdefault(int(number), []).append(name)
    for version in files:
        since = min((item.deployed_at for item in history if item.version > version), default=None)
        if since is None or since > before:
            continue
        champion = history[-1].partition, history[-1].version
        if (_partition(state, version), version) < champion:
            yield from ((since.date(), name) for name in files[version])


def _trials(state: ProductState, before: datetime) -> Iterator[DatedName]:
    """Journals on this machine, of searches whose partition, with which their name begins, is older."""
    for journal in sorted((state.trials.journals / state.product.name).glob("*/")):
        day = _day(journal.name[:_DAY_LENGTH])
        if day is not None and _midnight(day) <= before and not _is_under_way(journal):
            yield day, str(journal)


def _is_under_way(journal: Path) -> bool:
    """Whether it was written to within the last day: an old partition may be searched again now."""
    with suppress(FileNotFoundError):
        return max(path.stat().st_mtime for path in (journal, *journal.iterdir())) > time.time() - _SEARCH_SECONDS
    return False


_FINDERS: dict[str, Callable[[ProductState, datetime], Iterator[DatedName]]] = {
    **{kind: _events(kind) for kind in ("predictions", "shadow", "pinned", "labels")},
    "reports": _reports,
    "training_sets": _training_sets,
    "versions": _versions,
    "trials": _trials,
}


def _partition(state: ProductState, version: int) -> str:
    """Empty where the bundle is not complete."""
    with suppress(BundleError):
        return state.bundles.manifest(version).partition
    return ""


def _remove_folder(folder: Path) -> None:
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()


def _day(name: str) -> date | None:
    """None where the name is not a day; retention never removes such objects."""
    with suppress(ValueError):
        day = date.fromisoformat(name)
        return day if day.isoformat() == name else None
    return None


def _periods(state: ProductState, keys: Iterable[str]) -> list[Period]:
    """The periods of these keys. Texts that are not keys are left out, so retention never removes their objects. A key from
    before the product's periods were changed counts as the period that contains it now."""
    periods = []
    for key in keys:
        for key_format in (DAY_KEY, MINUTE_KEY):
            with suppress(ValueError):
                start = datetime.strptime(key, key_format).replace(tzinfo=UTC)
                if start.strftime(key_format) == key:
                    periods.append(Period(start, state.product.period.containing(start).end, key_format))
    return periods


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
