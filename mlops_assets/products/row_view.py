"""The features that a table's columns are as they stand."""

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.feature_view import CalendarPart, Feature, FeatureView, calendar, categories, numbers
from mlops_assets.products.source import Kind, Table


def row_view(
    table: Table, *, leave_out: tuple[str, ...] = (), calendar_parts: tuple[CalendarPart, ...] = (), name: str = "row"
) -> FeatureView:
    """A view of the row itself: each column of the table but its timestamps is a feature, texts as categories.

    leave_out: columns that are none, as the label is, and numbers that only identify a row.
    calendar_parts: of the event timestamp, as features of their own: hour, weekday, month, year."""
    if unknown := [column for column in leave_out if not table.has(column)]:
        known = [column.name for column in table.columns]
        raise DeclarationError(
            f"table {table.name!r} has no column {unknown[0]!r} to leave out. {choices(unknown[0], known)}"
        )
    features: list[Feature] = []
    for column in table.columns:
        if column.kind is not Kind.TIMESTAMP and column.name not in leave_out:
            features += (
                categories(column.name) if column.kind is Kind.STRING else numbers(column.name, unit=column.unit)
            )
    return FeatureView(name, (*features, *calendar(table.event_timestamp, *calendar_parts)))
