"""The OpenAPI document as one plain page. It loads nothing from elsewhere, so it opens without internet."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

Document = dict[str, Any]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
details{border:1px solid #d0d7de;border-radius:6px;margin:.6rem 0;padding:.5rem 1rem}summary{cursor:pointer}
summary b{display:inline-block;width:4rem;color:#0550ae}code,pre,textarea{font:13px ui-monospace,monospace}
pre{background:#f6f8fa;padding:.7rem;overflow:auto;border-radius:6px}textarea{width:100%;height:13rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;border-top:1px solid #d8dee4;padding:.25rem .6rem .25rem 0;vertical-align:top}
"""
_SCRIPT = """
document.querySelectorAll('button').forEach(button => button.onclick = async () => {
  const {method, path} = button.dataset, body = button.parentElement.querySelector('textarea');
  const options = body ? {method, body: body.value, headers: {'Content-Type': 'application/json'}} : {method};
  const answer = await fetch(path, options);
  let text = await answer.text();
  try { text = JSON.stringify(JSON.parse(text), null, 2) } catch (notJson) {}
  button.nextElementSibling.textContent = answer.status + ' ' + answer.statusText + '\\n' + text;
});
"""


class OpenAPIPage(OpenAPIRenderPlugin):
    """Every route, its fields with units, ranges and examples, and a form to try it."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        # through JSON, so that the page shows what /schema/openapi.json says
        document = json.loads(self.render_json(request, openapi_schema))
        address = str(request.base_url).rstrip("/")
        title = escape(document["info"]["title"])
        parts = [
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
            f"<h1>{title}</h1><p>{escape(document['info'].get('description', ''))} "
            "As a document: <a href=/schema/openapi.json>openapi.json</a>.</p>",
        ]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                parts.append(_operation(document, address, method.upper(), path, operation))
        return "".join([*parts, f"<script>{_SCRIPT}</script></html>"]).encode()


def _operation(document: Document, address: str, method: str, path: str, operation: Document) -> str:
    summary = f"<b>{method}</b><code>{escape(path)}</code> {escape(operation.get('summary', ''))}"
    parts = [f"<details><summary>{summary}</summary><p>{escape(operation.get('description', ''))}</p>"]
    body = operation.get("requestBody")
    if body:
        listed = _listed(document, body["content"]["application/json"]["schema"])
        content = {name: [_example(row)] for name, row in listed}
        example = json.dumps(content, indent=2, ensure_ascii=False)
        command = f"curl {address}{path} --json '{json.dumps(content)}'"
        parts += [
            *(_table(row) for _, row in listed),
            f"<pre>{escape(command)}</pre><textarea>{escape(example)}</textarea>",
        ]
    if "{" not in path:
        parts.append(f"<button data-method={method} data-path='{escape(path)}'>Send</button><pre></pre>")
    return "".join([*parts, "</details>"])


def _listed(document: Document, schema: Document) -> list[tuple[str, Document]]:
    """The list of rows, labels or columns in a body, as its name and schema; empty if the body holds no such list."""
    for name, of_property in _resolve(document, schema).get("properties", {}).items():
        item = _resolve(document, of_property.get("items", {}))
        if item.get("properties"):
            return [(name, item)]
    return []


def _resolve(document: Document, schema: Document) -> Document:
    if "$ref" in schema:
        target: Document = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return target
    return schema


def _table(row: Document) -> str:
    required = set(row.get("required", ()))
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code>{'' if name in required else ' (optional)'}"
        f"<td>{escape(_type(schema))}<td>{escape(schema.get('description', ''))}"
        f"<td><code>{escape(', '.join(map(str, schema.get('examples', []))))}</code>"
        for name, schema in row["properties"].items()
    )
    return f"<table><tr><th>field<th>type<th>meaning<th>example{lines}</table>"


def _type(schema: Document) -> str:
    return " or ".join(dict.fromkeys(_types(schema)))


def _types(schema: Document) -> Iterator[str]:
    for choice in schema.get("oneOf") or schema.get("anyOf") or [schema]:
        if choice is not schema:
            yield from _types(choice)
        elif "enum" in schema:
            yield " | ".join(map(str, schema["enum"]))
        else:
            bounds = [str(schema[name]) for name in ("minimum", "maximum") if name in schema]
            kind = schema.get("format") or schema.get("type", "any")
            yield (" or ".join(kind) if isinstance(kind, list) else kind) + (
                f" {' to '.join(bounds)}" if bounds else ""
            )


def _example(row: Document) -> Document:
    required = set(row.get("required", ()))
    return {
        name: next(iter(schema.get("examples", [])), None)
        for name, schema in row["properties"].items()
        if name in required
    }
