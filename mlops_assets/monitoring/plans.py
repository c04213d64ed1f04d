"""Plans that a backtest replays: a drift policy, or a calendar."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.product import ModelProduct


@dataclass(frozen=True)
class Plan:
    """When to retrain: as `policy` decides, or by calendar. every: periods between retrainings, 0: never. first: periods
    before the first of them, None: `every`. answer_after: periods after which development answers a rework, from 1, with
    the partition that follows; None: never."""

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

    def is_due(self, lived: int) -> bool:
        """Whether the calendar retrains after the `lived`-th period, counted from 1."""
        if not self.every:
            return False
        since_first = lived - (self.first or self.every)
        return since_first >= 0 and since_first % self.every == 0


def plans_of(product: ModelProduct, policies: Sequence[str], answer_after: int | None = 1) -> list[Plan]:
    """The shipped policy, each policy asked for, and the two ends: never, and every period."""
    asked = [Plan(text, parse_policy(product.drift, text), answer_after=answer_after) for text in policies]
    return [
        Plan("shipped", product.drift, answer_after=answer_after),
        *asked,
        calendar(product, "never", 0),
        calendar(product, "every period", 1),
    ]


def calendar(product: ModelProduct, name: str, every: int, first: int | None = None) -> Plan:
    """Retrain every so many periods, whatever is read; a fresh model is not tried, since nobody would look at it."""
    return Plan(name, replace(product.drift, staleness_every=0), every=every, first=first)


def parse_policy(base: DriftPolicy, text: str) -> DriftPolicy:
    """`base` with changes such as `retrain=5,rework=10,cooldown=30d,agreeing_periods=1`.

    Raises DeclarationError: no such setting, or a value it cannot take, with the choices."""
    known = {field.name for field in fields(DriftPolicy)}
    changes: dict[str, Any] = {}
    for item in text.split(","):
        name, _, value = item.strip().partition("=")
        if name not in known:
            raise DeclarationError(f"a drift policy has no setting {name!r}. {choices(name, known)}")
        try:
            is_time = name in ("cooldown", "max_age")
            changes[name] = timedelta(days=float(value.removesuffix("d"))) if is_time else _number(value)
        except ValueError:
            form = f"{name}=30d" if is_time else f"{name}=5"
            raise DeclarationError(f"{name}={value!r} is no number. Write it as {form}.") from None
    return replace(base, **changes)


def _number(value: str) -> float:
    return int(value) if value.lstrip("-").isdigit() else float(value)
