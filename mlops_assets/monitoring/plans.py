"""Plans that a backtest replays: drift policies and calendars."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.product import ModelProduct


@dataclass(frozen=True)
class Plan:
    """When to retrain: as `policy` decides or, with `every`, by calendar. every: periods between retrainings, 0: never, None: no
    calendar. first: periods before the first retraining, None: `every`. answer_after: periods after which development answers
    a rework with the following partition, at least 1; None: never."""

    name: str
    policy: DriftPolicy
    every: int | None = None
    first: int | None = None
    answer_after: int | None = 1

    def __post_init__(self) -> None:
        if self.answer_after is not None and self.answer_after < 1:
            raise DeclarationError(
                f"answer_after {self.answer_after}: development answers after 1 period or more, or never (None)."
            )

    def is_due(self, periods: int) -> bool:
        """Whether the calendar retrains after this number of periods."""
        if not self.every:
            return False
        since_first = periods - (self.first or self.every)
        return since_first >= 0 and since_first % self.every == 0


def plans_of(product: ModelProduct, policies: Sequence[str], answer_after: int | None = 1) -> list[Plan]:
    """The shipped policy, each of `policies`, and retraining never and in every period."""
    alternatives = [Plan(text, parse_policy(product.drift, text), answer_after=answer_after) for text in policies]
    return [
        Plan("shipped", product.drift, answer_after=answer_after),
        *alternatives,
        calendar(product, "never", 0),
        calendar(product, "every period", 1),
    ]


def calendar(product: ModelProduct, name: str, every: int, first: int | None = None) -> Plan:
    """Retrain every so many periods, whatever the readings. Staleness is switched off, because no decision would use it."""
    return Plan(name, replace(product.drift, staleness_every=0), every=every, first=first)


def parse_policy(base: DriftPolicy, text: str) -> DriftPolicy:
    """`base` with changes such as `retrain=5,rework=10,cooldown=30d,agreeing_periods=1`.

    Raises DeclarationError, with the choices, if a setting or its value is unknown."""
    settings = {field.name for field in fields(DriftPolicy)}
    changes: dict[str, Any] = {}
    for item in text.split(","):
        name, _, value = item.strip().partition("=")
        if name not in settings:
            raise DeclarationError(f"a drift policy has no setting {name!r}. {choices(name, settings)}")
        try:
            is_time = name in ("cooldown", "max_age")
            changes[name] = timedelta(days=float(value.removesuffix("d"))) if is_time else _number(value)
        except ValueError:
            form = f"{name}=30d" if is_time else f"{name}=5"
            raise DeclarationError(f"{name}={value!r} is not a number. Write it as {form}.") from None
    return replace(base, **changes)


def _number(value: str) -> float:
    return int(value) if value.lstrip("-").isdigit() else float(value)
