"""The table of `mlops backtest`: one row per plan."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table


def table_of_plans(rows: Sequence[Mapping[str, object]], title: str) -> Table:
    """It fits into 80 columns, the width of a pipe: numbers without the name of their plan say nothing."""
    shown = Table(title=title, box=SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    for name in rows[0]:
        if name == "plan":
            shown.add_column(name, overflow="fold")
        else:
            shown.add_column(name.replace(" ", "\n"), no_wrap=True, justify="right")
    for row in rows:
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    return shown
