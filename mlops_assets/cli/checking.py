"""`mlops check`: tries a product before anything is stored or started."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from mlops_assets.cli.output import AsJson, write_json
from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.products.catalog import product_named


def check(
    product: str,
    *,
    period: Annotated[str, Parameter(help="The period to try (default: the newest that has arrived).")] = "",
    as_json: AsJson = False,
    home: InHome = "",
) -> None:
    """Try one period of the source: its contract, features, label and a request. Nothing is stored."""
    from mlops_assets.data.checking import check_product
    from mlops_assets.data.next_step import progress_of

    declared, console = product_named(product), Console()
    workspace = opened(home, create=True)
    findings = []
    for finding in check_product(declared, datetime.now(UTC), period):
        findings.append(finding)
        if not as_json:
            mark = "[green]well[/green]" if finding.is_well else "[yellow]note[/yellow]"
            console.print(f"{mark} {finding.what:<12}{escape(finding.seen)}", soft_wrap=True, highlight=False)
    progress = progress_of(workspace.of(declared))
    if as_json:
        document = {"product": product, "checks": [asdict(item) for item in findings], "progress": progress}
        write_json(document)
        return
    console.print(progress, soft_wrap=True)
    if not workspace.of(declared).ledger.history():
        console.print(f"Next: mlops replay {product}", soft_wrap=True)
