"""The model described for people, as one page without scripts, and for programs, as OpenAPI.

Names come from whoever trained the model: everything is escaped, and the page may load and run nothing.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from html import escape
from shlex import quote
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from upright.api.artifact import Tensor
from upright.runtime.artifact import ServedModel
from upright.runtime.batch import is_date, is_matrix
from upright.runtime.openapi import ERRORS, TIME, document, infer_example, predict_example
from upright.runtime.predictor import FURTHER
from upright.runtime.response import response
from upright.runtime.unread import Unread

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{white-space:pre-wrap;border:1px solid;padding:.5rem}"
    "h1,pre{overflow-wrap:anywhere}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"x-content-type-options": "nosniff"}


class Documentation:
    """Of one model; written when somebody asks for it, beside the loop: a model may have thousands of columns."""

    def __init__(self, served: ServedModel, unread: Unread) -> None:
        self._served = served
        self._unread = unread

    def routes(self) -> list[Route]:
        """`/docs` and `/openapi.json`."""
        return [Route("/docs", self._docs), Route("/openapi.json", self._openapi)]

    async def _docs(self, _: Request) -> Response:
        page = await asyncio.to_thread(lambda: self._page)
        return response(self._unread, page, "text/html", {**_HEADERS, "content-security-policy": _POLICY})

    async def _openapi(self, _: Request) -> Response:
        content = await asyncio.to_thread(lambda: self._document)
        return response(self._unread, content, "application/json", _HEADERS)

    @cached_property
    def _page(self) -> bytes:
        return page(self._served).encode()

    @cached_property
    def _document(self) -> bytes:
        return to_json(document(self._served))


def page(served: ServedModel) -> str:
    """The page, as HTML."""
    signature, predictor = served.predictor.signature, served.predictor
    title = escape(f"{served.model}, version {served.version}")
    routes = [
        [f"<code>{verb.upper()} {escape(path)}</code>", escape(operation["summary"])]
        for path, verbs in document(served)["paths"].items()
        for verb, operation in verbs.items()
    ]
    outputs = [
        [*_told(tensor), escape(", ".join(map(str, predictor.classes_of(tensor.name) or ())))]
        for tensor in signature.outputs
    ]
    parts = [
        f"<h1>{title}</h1>",
        f"<p>A model of {escape(served.platform)}, served by Upright.</p>",
        '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1). $URL: where this page is.</p>',
        *_examples(served),
        "<h2>Inputs</h2>",
        _table(("name", "type", "may be missing", "example"), _inputs(served)),
        *(["<h2>Outputs</h2>", _table(("name", "type", "of the classes"), outputs)] if outputs else []),
        "<h2>Routes</h2>",
        _table(("route", "what"), routes),
        "<h2>Refusals and errors</h2>",
        '<p>Each is <code>{"error": "a sentence"}</code>.</p>',
        _table(("status", "what"), [[str(status), escape(what)] for status, what in ERRORS.items()]),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>"
    )


def _examples(served: ServedModel) -> list[str]:
    rows, tensors = predict_example(served), infer_example(served)
    if rows is None or tensors is None:
        return []
    v1, v2 = f"/v1/models/{served.model}:predict", f"/v2/models/{served.model}/infer"
    further = [tensor.name for tensor in served.predictor.signature.outputs if tensor.name in FURTHER]
    return [
        f"<h2>{title}</h2><pre>{escape(_curl(path, body))}</pre>"
        for title, path, body in (
            ("Rows (KServe V1)", v1, rows),
            ("Tensors (Open Inference Protocol V2)", v2, tensors),
            *((f"{name} (V1)", v1, {**rows, "method": name}) for name in further),
            *((f"{name} (V2)", v2, {**tensors, "outputs": [{"name": name}]}) for name in further),
        )
    ]


def _curl(path: str, body: Mapping[str, Any]) -> str:
    """To be pasted into a shell, whatever the names in it are. `$URL`: where this page came from."""
    return f'curl "$URL"{quote(path)} -H "content-type: application/json" -d {quote(to_json(body).decode())}'


def _inputs(served: ServedModel) -> Iterable[list[str]]:
    signature = served.predictor.signature
    row = served.example or ()
    examples = [list(row)] if is_matrix(signature) else row
    for number, tensor in enumerate(signature.inputs):
        example = escape(to_json(examples[number]).decode()) if row else ""
        yield [*_told(tensor), "yes" if tensor.missing else "", f"<code>{example}</code>"]


def _told(tensor: Tensor) -> list[str]:
    shape = f", {tensor.shape[1]} values a row" if len(tensor.shape) == 2 else ""
    kind = f": {TIME}" if is_date(tensor) else ""
    return [f"<code>{escape(tensor.name)}</code>", escape(f"{tensor.type or 'any'}{shape}{kind}")]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Of cells that are HTML."""
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
