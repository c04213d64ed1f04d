"""`mlops approve`, `reject` and `sign`: signed answers of a person."""

import os
import pwd
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.products.catalog import product_named

Who = Annotated[str, Parameter(help="Your name (default: your account, which is always recorded).")]


def approve(product: str, version: int, *, note: str, by: Who = "", home: InHome = "") -> None:
    """Approve a version that waits, with a signature; the approvals sensor deploys it."""
    _answer(product, version, "approved", by, note, home)


def reject(product: str, version: int, *, reason: str, by: Who = "", home: InHome = "") -> None:
    """Reject a version that waits; the reason is recorded with your name."""
    _answer(product, version, "rejected", by, reason, home)


def sign(product: str, version: int, *, home: InHome = "") -> None:
    """Sign the bundle of a version from before MLOPS_APPROVAL_KEY was set, once you have checked its origin."""
    opened(home).of(product_named(product)).bundles.sign(version)
    Console().print(f"version {version} of {product} is signed", soft_wrap=True)


def _answer(product: str, version: int, verdict: str, by: str, note: str, home: str) -> None:
    from mlops_assets.records.acceptance import Verdict
    from mlops_assets.testing.run import answer_version

    account = _account()
    by, through = by or account, f"said on the command line by the account {account}"
    answer = answer_version(opened(home).of(product_named(product)), version, Verdict(verdict), by, note, through)
    until = f", valid until {answer.expires_at:%Y-%m-%d %H:%M} UTC" if verdict == Verdict.APPROVED else ""
    Console().print(
        f"version {version} of {product} {verdict} by {by}{until}; signature {answer.signature[:12]}", soft_wrap=True
    )


def _account() -> str:
    """The account of this process; not that of the environment variables, which anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"number {os.getuid()}"
