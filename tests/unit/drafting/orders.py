"""A stranger's table: orders of a shop, an hour apart, late more often in the north and when they are heavy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.drafting.draft import Draft, Wishes, draft_product
from mlops_assets.drafting.origin import read_origin
from mlops_assets.drafting.questions import Question

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 60 * 24


def orders(rows: int = HOURS, **columns: Any) -> pl.DataFrame:
    draw = np.random.default_rng(7)
    region, weight = draw.choice(["north", "south", "west"], rows), draw.gamma(2.0, 2.0, rows).round(2)
    late = draw.random(rows) < 1 / (1 + np.exp(3 - 0.6 * weight - 1.5 * (region == "north")))
    moments = pl.Series([FIRST + timedelta(hours=number) for number in range(rows)], dtype=pl.Datetime("us", "UTC"))
    table = pl.DataFrame({"ordered_at": moments, "region": region, "weight": weight, "late": late})
    return table.with_columns(
        **{name: value if isinstance(value, pl.Expr) else pl.Series(value) for name, value in columns.items()}
    )


def take(question: Question) -> str:
    return question.assumption


def draft(rows: pl.DataFrame | str, place: Path, **wishes: Any) -> Draft:
    """The draft of "shop" from a table, or from the text of a CSV, that lies in `place`."""
    path = place / ("orders.csv" if isinstance(rows, str) else "orders.parquet")
    if isinstance(rows, str):
        path.write_text(rows, encoding="utf-8")
    else:
        rows.write_parquet(path)
    return draft_of(str(path), **wishes)


def draft_of(source: str, key: Sequence[str] = (), **wishes: str) -> Draft:
    return draft_product("shop", read_origin(source), Wishes(key=tuple(key), **wishes), take)
