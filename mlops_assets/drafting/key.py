"""The key: the columns that identify a row, which are an id of its own, its time alone, or its time and its subject."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import polars as pl

from mlops_assets.drafting.columns import Profile
from mlops_assets.drafting.questions import Remarks, known_columns
from mlops_assets.errors import DeclarationError
from mlops_assets.products.source import Kind

_NAMED_ID = re.compile(r"(^|[_\W])(id|uuid|guid|key|no|nr|number)$|[a-z](Id|ID)$", re.IGNORECASE)
_MOST_TRIED = 12  # columns that are tried together with the time
_MOST_COLUMNS = 3


def choose_key(
    profiles: Sequence[Profile], time: Profile, label: str, named: Sequence[str], remarks: Remarks
) -> tuple[Profile, ...]:
    """The columns beside the time; () where the time alone identifies a row.

    named: by the user. Raises DeclarationError: nothing identifies a row, or what was named does not."""
    if named:
        return _named(profiles, time, named)
    usable = [
        item
        for item in profiles
        if item.kind in (Kind.STRING, Kind.INTEGER)
        and not item.nulls
        and item.source_name not in (time.source_name, label)
    ]
    for item in usable:
        if _NAMED_ID.search(item.source_name) and item.distinct == len(item.values):
            remarks.assume(
                f"{item.source_name} identifies a row", "it has the usual name of a key, and no value occurs twice"
            )
            return (item,)
    if time.distinct == len(time.values):
        remarks.assume("one series without a key", f"no two rows have the same {time.source_name}")
        return ()
    texts = sorted(usable, key=lambda item: (item.kind is not Kind.STRING, item.distinct))
    tried = [item for item in texts if not item.is_constant][:_MOST_TRIED]
    for count in range(1, _MOST_COLUMNS + 1):
        for group in combinations(tried, count):
            if not _twice(time, group):
                names = ", ".join(item.source_name for item in group)
                remarks.assume(f"{names} and {time.source_name} identify a row", "no two rows have the same")
                return (*group, time)
    for item in usable:
        if item.distinct == len(item.values):
            remarks.assume(f"{item.source_name} identifies a row", "no value occurs twice")
            return (item,)
    raise DeclarationError(
        f"no columns identify a row: {_examples(time, tried[:_MOST_COLUMNS])}. Remove the duplicate rows, add a column in which they "
        "differ, or name the columns with --key."
    )


def _named(profiles: Sequence[Profile], time: Profile, named: Sequence[str]) -> tuple[Profile, ...]:
    by_name = {item.source_name: item for item in profiles}
    for name in named:
        if name not in by_name:
            raise DeclarationError(f"the table has no column {name!r} for --key. {known_columns(name, by_name)}")
        item = by_name[name]
        if item.kind is None or item.nulls or item.kind in (Kind.FLOAT, Kind.BOOLEAN):
            what = f"is null in {item.nulls:,} rows" if item.nulls else f"is {item.kind or item.fault}"
            raise DeclarationError(
                f"--key {name}: it {what} and cannot identify a row. Name whole numbers, texts or the time."
            )
    key = tuple(by_name[name] for name in named)
    if duplicates := _twice(key[0], key[1:]):
        raise DeclarationError(
            f"--key {','.join(named)}: {duplicates:,} rows have the key of another one, such as {_example(key)}. Remove them from the "
            "source, or name further columns."
        )
    return () if key == (time,) else key


def _frame(columns: Sequence[Profile]) -> pl.DataFrame:
    return pl.DataFrame([item.values.alias(item.source_name) for item in columns])


def _twice(first: Profile, others: Sequence[Profile]) -> int:
    frame = _frame((first, *others))
    return frame.height - frame.n_unique()


def _example(columns: Sequence[Profile]) -> str:
    frame = _frame(columns)
    row = frame.filter(frame.is_duplicated()).row(0, named=True)
    return ", ".join(f"{name} {value}" for name, value in row.items())


def _examples(time: Profile, tried: Sequence[Profile]) -> str:
    columns = (time, *tried)
    names = ", ".join(item.source_name for item in columns)
    return f"{_twice(time, tried):,} rows have the same {names} as another one, such as {_example(columns)}"
