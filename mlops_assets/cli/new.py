"""`mlops new`: one product file from a table."""

import keyword
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt
from rich.status import Status

from mlops_assets.drafting.questions import Ask, Question, Remarks, listed
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import FOLDER, USUAL_FOLDER, catalog, shown_path


def new(
    name: str,
    source: str,
    *,
    time: Annotated[str, Parameter(help="Column that says when a row happened.")] = "",
    label: Annotated[str, Parameter(help="Column that is predicted.")] = "",
    key: Annotated[str, Parameter(help="Columns that identify a row, separated by commas.")] = "",
    task: Annotated[str, Parameter(help="binary, multiclass or regression.")] = "",
    zone: Annotated[str, Parameter(help="Time zone of timestamps without one, such as Europe/Berlin.")] = "",
    known_after: Annotated[
        str, Parameter(help="How long after its event the outcome of a row is known: 30m, 6h, 2d.")
    ] = "",
    yes: Annotated[bool, Parameter(negative="", help="Accept every assumption without asking.")] = False,
    force: Annotated[bool, Parameter(negative="", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a product file for a table: a path or glob (Parquet, CSV, JSON; s3://…), postgresql://…?table=…, or an SQLite file."""
    from mlops_assets.addresses import is_of_postgres
    from mlops_assets.drafting.draft import Wishes, draft_product
    from mlops_assets.drafting.origin import read_origin
    from mlops_assets.drafting.source_text import variable_of

    place = Path(os.environ.get(FOLDER) or USUAL_FOLDER) / f"{name}.py"
    _require_free(name, place, force)
    console = Console()
    with console.status(f"reading {escape('the database' if is_of_postgres(source) else source)}"):
        origin = read_origin(source)
    if origin.is_postgres:  # the file names a variable, because an address contains a password
        os.environ.setdefault(variable_of(name), source.partition("?")[0])
    wishes = Wishes(
        time, label, tuple(part.strip() for part in key.split(",") if part.strip()), task, zone, known_after
    )
    remarks = Remarks()
    status = console.status("")
    try:
        draft = draft_product(name, origin, wishes, _asking(yes, console, remarks), lambda step: _show(status, step))
    finally:
        status.stop()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(draft.text, encoding="utf-8")
    for what, why in (*remarks.assumed, *draft.remarks.assumed):
        console.print(f"  {escape(what)} [dim]({escape(why)})[/dim]", soft_wrap=True)
    for line in draft.remarks.warnings:
        console.print(f"  [yellow]![/yellow] {escape(line)}", soft_wrap=True)
    console.print(
        f"[bold]{escape(shown_path(place))}[/bold] is written ({len(draft.text.splitlines())} lines). Next: mlops check {name}",
        soft_wrap=True,
    )
    if origin.is_postgres:
        console.print(
            f"Set {variable_of(name)} to the address of the database wherever the product runs.", soft_wrap=True
        )


def _show(status: Status, step: str) -> None:
    """Starts with the first step, when every question was answered; earlier it would overwrite a prompt."""
    status.start()
    status.update(escape(step))


def _require_free(name: str, place: Path, force: bool) -> None:
    """Raises DeclarationError: the product cannot have this name, or its file exists."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or keyword.iskeyword(name):
        raise DeclarationError(
            f"a product cannot be named {name!r}: use lower-case letters, digits and underscores, at most 100 of them, beginning with "
            "a letter, and no Python keyword."
        )
    spec = find_spec(name)
    if spec is not None and spec.origin not in (None, str(place.absolute())):
        raise DeclarationError(
            f"Python finds another module {name!r} ({spec.origin}) and would import that one. Choose another name."
        )
    products = catalog().products if place.parent.is_dir() or not os.environ.get(FOLDER) else ()
    other = next((product for product in products if product.name == name), None)
    if other is not None and Path(other.declared_at.file) != place.absolute():
        raise DeclarationError(
            f"a product {name!r} is declared in {shown_path(Path(other.declared_at.file))} already. Choose another name."
        )
    if place.exists() and not force:
        raise DeclarationError(
            f"{shown_path(place)} exists already. Choose another name, or overwrite it with --force."
        )


def _asking(yes: bool, console: Console, remarks: Remarks) -> Ask:
    def ask(question: Question) -> str:
        if yes:
            remarks.assume(
                f"{question.sentence} {question.assumption}", f"{question.why}; {question.option} says otherwise"
            )
            return question.assumption
        if not sys.stdin.isatty():
            options_known = f" Known: {listed(question.options, shown=20)}." if question.options else ""
            raise DeclarationError(
                f"{question.sentence} Answer with {question.option}, or accept {question.assumption!r} with --yes ({question.why})."
                f"{options_known}"
            )
        options = list(question.options) if question.options else None
        return Prompt.ask(
            f"{escape(question.sentence)} [dim]({escape(question.why)})[/dim]",
            choices=options,
            show_choices=len(question.options) <= 20,
            default=question.assumption,
            console=console,
        )

    return ask
