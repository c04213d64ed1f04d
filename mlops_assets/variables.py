"""Numbers from environment variables, or a sentence that says which variable holds none."""

import math
from collections.abc import Mapping

from mlops_assets.errors import DeclarationError


def number(environment: Mapping[str, str], name: str, default: float) -> float:
    """Raises DeclarationError: it is no number, or none that can be counted with (nan, inf)."""
    text = environment.get(name) or f"{default:g}"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DeclarationError(f"{name} is {text!r}, which is no number. Leave it out for {default:g}.")
    return value


def whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Raises DeclarationError: it is no whole number."""
    value = number(environment, name, default)
    if value != int(value):
        raise DeclarationError(
            f"{name} is {environment[name]!r}, which is no whole number. Leave it out for {default}."
        )
    return int(value)
