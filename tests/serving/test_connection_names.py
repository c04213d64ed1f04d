"""The file that builds on uvicorn's class takes none of its private names, neither to use nor by chance."""

import ast
import inspect
from pathlib import Path

from uvicorn.protocols.http import httptools_impl

import serving.connection


def private_names(source: str) -> set[str]:
    tree = list(ast.walk(ast.parse(source)))
    attributes = {node.attr for node in tree if isinstance(node, ast.Attribute)}
    defined = {node.name for node in tree if isinstance(node, ast.FunctionDef)}
    return {name for name in attributes | defined if name.startswith("_") and not name.startswith("__")}


def test_no_private_name_of_uvicorn_is_used_or_taken() -> None:
    ours = private_names(Path(serving.connection.__file__).read_text())
    theirs = private_names(inspect.getsource(httptools_impl))

    assert ours
    assert theirs
    assert ours.isdisjoint(theirs)
