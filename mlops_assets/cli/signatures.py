"""`mlops approve`, `reject` and `sign`: what a person answers for, with a signature."""

import os
import pwd
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named

Who = Annotated[str, Parameter(help="Who answers (default: your account; it is recorded in any case).")]


def approve(product: str, version: int, *, note: str, by: Who = "", home: InHome = "") -> None:
    """Sign an approval of a version that waits; the approvals sensor deploys it."""
    _answer(product, version, "approved", by, note, home)


def reject(product: str, version: int, *, reason: str, by: Who = "", home: InHome = "") -> None:
    """Turn a version that waits down; the reason is recorded with your name."""
    _answer(product, version, "rejected", by, reason, home)


def sign(product: str, version: int, *, home: InHome = "") -> None:
    """Sign the bundle of a version of before MLOPS_APPROVAL_KEY was set, once you know where it comes from."""
    state = opened(home).of(product_named(product))
    if not state.workspace.approval_key:
        raise DeclarationError("MLOPS_APPROVAL_KEY is not set. Set it to the key that bundles are signed with.")
    state.bundles.sign(version)
    Console().print(f"version {version} of {product} is signed", soft_wrap=True)


def _answer(product: str, version: int, verdict: str, by: str, note: str, home: str) -> None:
    from mlops_assets.records.acceptance import Verdict
    from mlops_assets.testing.run import answer_version

    account = _account()
    by, through = by or account, f"said on the command line by the account {account}"
    given = answer_version(opened(home).of(product_named(product)), version, Verdict(verdict), by, note, through)
    until = f", counts until {given.expires_at:%Y-%m-%d %H:%M} UTC" if verdict == Verdict.APPROVED else ""
    Console().print(
        f"version {version} of {product} {verdict} by {by}{until}; signature {given.signature[:12]}", soft_wrap=True
    )


def _account() -> str:
    """Of whoever runs this process; not what the environment says, which anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"number {os.getuid()}"
