"""The columns of a table as features."""

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.feature_view import CalendarPart, Feature, FeatureView, calendar, categories, numbers
from mlops_assets.products.source import Kind, Table


def row_view(
    table: Table, *, leave_out: tuple[str, ...] = (), calendar_parts: tuple[CalendarPart, ...] = (), name: str = "row"
) -> FeatureView:
    """An on-demand view in which every column of the table but its timestamps is a feature; strings are categories.

    leave_out: columns that are not features, such as the label and numbers that only identify a row.
    calendar_parts: parts of the event timestamp that become features: hour, weekday, month, year."""
    if unknown := [column for column in leave_out if not table.has(column)]:
        names = [column.name for column in table.columns]
        raise DeclarationError(
            f"table {table.name!r} has no column {unknown[0]!r} to leave out. {choices(unknown[0], names)}"
        )
    features: list[Feature] = []
    for column in table.columns:
        if column.kind is not Kind.TIMESTAMP and column.name not in leave_out:
            features += (
                categories(column.name) if column.kind is Kind.STRING else numbers(column.name, unit=column.unit)
            )
    return FeatureView(name, (*features, *calendar(table.event_timestamp, *calendar_parts)))
