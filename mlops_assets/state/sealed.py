"""Sealed events: Parquet objects by product and day, `<kind>/<product>/<day>/<segment>.parquet`; days are of UTC."""

from collections.abc import Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import polars as pl

from mlops_assets.addresses import reason
from mlops_assets.errors import DataError
from mlops_assets.state.objects import Objects

SUFFIX = ".parquet"
MOST_LISTED = 62  # days, each in its own request
READERS = 16  # objects that are fetched at once, as a bucket answers many parallel requests as fast as one
_INSTANT = timedelta(microseconds=1)


def seal(objects: Objects, folder: str, segment: str, rows: pl.DataFrame, clock: str) -> None:
    """Write the rows of a segment as one object for each day of `clock`. A repetition writes the same objects.

    Raises StoreError: some of them may be missing."""
    days = rows[clock].dt.date()
    for day in days.unique().sort():
        content = BytesIO()
        rows.filter(days == day).write_parquet(content)
        objects.put(f"{folder}/{day.isoformat()}/{segment}{SUFFIX}", content.getvalue())


def read_sealed(
    objects: Objects, folder: str, start: datetime | None, end: datetime | None, excluded: Collection[str]
) -> list[pl.DataFrame]:
    """Every object of the days that overlap [start, end), oldest day first, without those of the `excluded` segments.

    Raises DataError: an object is damaged. Raises StoreError."""
    with ThreadPoolExecutor(READERS) as pool:
        names = _names(objects, folder, start, end, pool)
        parquet = [name for name in names if name.endswith(SUFFIX) and _segment(name) not in excluded]
        frames = pool.map(lambda name: _read(objects, name), parquet)
        return [frame for frame in frames if frame is not None]


def _names(objects: Objects, folder: str, start: datetime | None, end: datetime | None, pool: Executor) -> list[str]:
    """Names of the objects of these days. Earlier days are not listed, as their number grows every day.

    A few days are listed one by one, so that later days are not listed either."""
    first = start.astimezone(UTC).date() if start else date.min
    last = (end - _INSTANT).astimezone(UTC).date() if end else date.max
    count = (last - first).days + 1
    if count <= MOST_LISTED:
        folders = [f"{folder}/{first + timedelta(days=number)}" for number in range(count)]
        return [name for of_day in pool.map(objects.names, folders) for name in of_day]
    names = objects.names(folder, after=f"{folder}/{first}" if start else "")
    return [name for name in names if (day := _day(name, folder)) is not None and day <= last]


def _day(name: str, folder: str) -> date | None:
    """None where the name contains no day."""
    try:
        return date.fromisoformat(name.removeprefix(f"{folder}/").partition("/")[0])
    except ValueError:
        return None


def _segment(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(SUFFIX)


def _read(objects: Objects, name: str) -> pl.DataFrame | None:
    """None where the object was removed after it was listed."""
    content = objects.get(name)
    if content is None:
        return None
    try:
        return pl.read_parquet(BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{objects.address(name)} is damaged: {reason(error, lines=1)}. Restore it from a copy, or delete it so that the "
            "others can be read."
        ) from error
