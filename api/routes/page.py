"""`/`: a small page to try the search with. No build step, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

WEB: Final = Path(__file__).parents[1] / "web"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

router = APIRouter(include_in_schema=False)
assets = StaticFiles(directory=WEB / "assets")
"""Scripts and styles of the page, to be mounted at /assets."""


@router.get("/")
async def page() -> FileResponse:
    """The search page."""
    return FileResponse(
        WEB / "index.html",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
    )
