"""The names a product file needs, so that it has one import line: `from mlops_assets import Column, ModelProduct, …`.

Each is loaded on first use: `import mlops_assets` itself loads none of them. `ModelProductComponent` is for projects created
with Dagster's `dg`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import narwhals as nw

    from mlops_assets.component import ModelProductComponent
    from mlops_assets.products.candidates import Candidate, dummy, forest, gradient_boosting, lightgbm, linear, own
    from mlops_assets.products.feature_view import (
        CREATED_TIME,
        EVENT_TIME,
        Feature,
        FeatureKind,
        FeatureView,
        Role,
        Tables,
        calendar,
        categories,
        numbers,
    )
    from mlops_assets.products.gates import (
        at_least,
        at_most,
        bundle_size,
        latency_p99,
        leakage_probe,
        not_worse_than_champion,
        onnx_parity,
        slice_gap,
    )
    from mlops_assets.products.keep import Keep
    from mlops_assets.products.periods import (
        cron,
        daily,
        days,
        hourly,
        hours,
        minutes,
        monthly,
        months,
        weekly,
        weeks,
    )
    from mlops_assets.products.policy import Acceptance, DriftPolicy, Retries, Serving, automatic, manual
    from mlops_assets.products.probation import Probation
    from mlops_assets.products.product import Label, ModelProduct
    from mlops_assets.products.row_view import row_view
    from mlops_assets.products.search import OneOf, Real, Search, Whole
    from mlops_assets.products.source import Column, ForeignKey, Kind, Source, Table
    from mlops_assets.products.task import Task
    from mlops_assets.products.trailing import COUNT, trailing_view
    from mlops_assets.sources.file_source import Files
    from mlops_assets.sources.sql_source import Sql

_NAMES_OF_MODULES = {
    "component": ("ModelProductComponent",),
    "products.candidates": ("Candidate", "dummy", "forest", "gradient_boosting", "lightgbm", "linear", "own"),
    "products.feature_view": (
        *("CREATED_TIME", "EVENT_TIME", "Feature", "FeatureKind", "FeatureView", "Role", "Tables"),
        *("calendar", "categories", "numbers"),
    ),
    "sources.file_source": ("Files",),
    "products.gates": (
        *("at_least", "at_most", "bundle_size", "latency_p99", "leakage_probe"),
        *("not_worse_than_champion", "onnx_parity", "slice_gap"),
    ),
    "products.keep": ("Keep",),
    "products.periods": ("cron", "daily", "days", "hourly", "hours", "minutes", "monthly", "months", "weekly", "weeks"),
    "products.policy": ("Acceptance", "DriftPolicy", "Retries", "Serving", "automatic", "manual"),
    "products.probation": ("Probation",),
    "products.product": ("Label", "ModelProduct"),
    "products.row_view": ("row_view",),
    "products.search": ("OneOf", "Real", "Search", "Whole"),
    "products.source": ("Column", "ForeignKey", "Kind", "Source", "Table"),
    "sources.sql_source": ("Sql",),
    "products.task": ("Task",),
    "products.trailing": ("COUNT", "trailing_view"),
}
_MODULE_OF = {name: f"mlops_assets.{module}" for module, names in _NAMES_OF_MODULES.items() for name in names}

__all__ = [
    "COUNT",
    "CREATED_TIME",
    "EVENT_TIME",
    "Acceptance",
    "Candidate",
    "Column",
    "DriftPolicy",
    "Feature",
    "FeatureKind",
    "FeatureView",
    "Files",
    "ForeignKey",
    "Keep",
    "Kind",
    "Label",
    "ModelProduct",
    "ModelProductComponent",
    "OneOf",
    "Probation",
    "Real",
    "Retries",
    "Role",
    "Search",
    "Serving",
    "Source",
    "Sql",
    "Table",
    "Tables",
    "Task",
    "Whole",
    "at_least",
    "at_most",
    "automatic",
    "bundle_size",
    "calendar",
    "categories",
    "cron",
    "daily",
    "days",
    "dummy",
    "forest",
    "gradient_boosting",
    "hourly",
    "hours",
    "latency_p99",
    "leakage_probe",
    "lightgbm",
    "linear",
    "manual",
    "minutes",
    "monthly",
    "months",
    "not_worse_than_champion",
    "numbers",
    "nw",
    "onnx_parity",
    "own",
    "row_view",
    "slice_gap",
    "trailing_view",
    "weekly",
    "weeks",
]


def __getattr__(name: str) -> Any:
    if name == "nw":
        return import_module("narwhals")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mlops_assets' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
