"""`/docs` and `/redoc`: the OpenAPI document to read and to try, with all that it takes on board.

FastAPI's own pages have the browser fetch scripts from elsewhere. Without the Internet they stay
empty; with it, a page that keys are typed into runs whatever somebody else's server sends.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

ASSETS: Final = "/docs/assets"
SCRIPTS: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js")
_PACKAGE: Final = "fastapi_offline"
"""Brings the scripts; nothing of it is imported."""
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Serve both pages and their scripts."""
    assert app.openapi_url is not None
    swagger = get_swagger_ui_html(
        openapi_url=app.openapi_url,
        title=app.title,
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url="data:,",
        # it would show the document to a validator on the Internet
        swagger_ui_parameters={"validatorUrl": None, "docExpansion": "none"},
    )
    redoc = get_redoc_html(
        openapi_url=app.openapi_url,
        title=app.title,
        redoc_js_url=f"{ASSETS}/redoc.standalone.js",
        redoc_favicon_url="data:,",
        with_google_fonts=False,
    )
    app.router.routes += [
        *(Route(f"{ASSETS}/{name}", _sent(_folder() / name), name="docs") for name in SCRIPTS),
        Route("/docs", _shown(swagger), name="docs"),
        Route("/redoc", _shown(redoc), name="redoc"),
    ]


def _folder() -> Path:
    found = find_spec(_PACKAGE)
    assert found is not None, f"the extra `server` brings {_PACKAGE}"
    assert found.origin is not None
    return Path(found.origin).parent / "static"


def _sent(file: Path) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def sent(_: Request) -> Response:
        return FileResponse(file, headers={"Cache-Control": "max-age=3600"})

    return sent


def _shown(page: HTMLResponse) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    body = bytes(page.body)
    headers = {"Content-Security-Policy": policy_of(body)}

    async def shown(_: Request) -> Response:
        return HTMLResponse(body, headers=headers)

    return shown


def policy_of(page: bytes) -> str:
    """What a page may do: run scripts of this server and those that stand in it, ask this server,
    and nobody else."""
    digests = (hashlib.sha256(each).digest() for each in _INLINE.findall(page))
    inline = "".join(f" 'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self'{inline}",
            "style-src 'self' 'unsafe-inline'",  # both write styles as they go
            "img-src 'self' data:",
            "worker-src 'self' blob:",  # ReDoc's search
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
