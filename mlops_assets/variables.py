"""Numbers from environment variables, or an error that names the variable."""

import math
from collections.abc import Mapping

from mlops_assets.errors import DeclarationError


def number(environment: Mapping[str, str], name: str, default: float) -> float:
    """Raises DeclarationError: it is not a finite number."""
    text = environment.get(name) or f"{default:g}"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DeclarationError(f"{name} is {text!r}, which is not a finite number. Leave it out for {default:g}.")
    return value


def whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Raises DeclarationError: it is not a whole number."""
    value = number(environment, name, default)
    if value != int(value):
        raise DeclarationError(
            f"{name} is {environment[name]!r}, which is not a whole number. Leave it out for {default}."
        )
    return int(value)
