"""The web app: FastAPI with the pages mounted at its root."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from arena._language import language_of
from arena.api.app import ApiApp
from arena.api.request_ids import RequestIds
from arena.api.service import ApiService, service_of
from arena.web._frame import Page, PageContext, header, static_text, theme
from arena.web._i18n import i18n
from arena.web._middleware import FrameMiddleware
from arena.web.operators import Operators
from arena.web.pages import (
    battle,
    benchmarks,
    datasets,
    judge,
    leaderboard,
    models,
    monitoring,
    playground,
    training,
)

PAGES: tuple[Page, ...] = (
    battle.PAGE,
    leaderboard.PAGE,
    playground.PAGE,
    benchmarks.PAGE,
    judge.PAGE,
    models.PAGE,
    monitoring.PAGE,
    datasets.PAGE,
    training.PAGE,
)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LARGEST_UPLOAD = "200mb"


def create_app(
    context: PageContext, on_start: Callable[[], None] = lambda: None, service: ApiService | None = None
) -> FastAPI:
    """The app of one arena: its pages and, by `service`, its HTTP API. `on_start` is called once it is about to
    answer; its battles are stopped and recorded when it shuts down."""
    server = context.settings.server
    service = service or service_of(context.settings, context.store, context.engines, context.telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The first call loads a table for a second; better now than in the first voter's battle.
        await asyncio.to_thread(language_of, "warm")
        on_start()
        yield
        await context.works.close()
        await context.battles.close()

    # FastAPI's /docs would fetch its scripts from a CDN.
    app = FastAPI(title="Palaestra", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    # From the innermost to the outermost.
    app.add_middleware(
        FrameMiddleware,
        cookies=context.cookies,
        join_code=server.join_code,
        known_operators=Operators(service.access, context.cookies.secret),
        root_path=server.root_path,
    )
    app.add_middleware(ApiApp, service=service)
    app.add_middleware(RequestIds)
    if server.host in ("127.0.0.1", "localhost", "::1"):
        # A page elsewhere must not reach this server under a name of its own that resolves to loopback.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, *server.allowed_hosts])
    elif server.allowed_hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(server.allowed_hosts))

    for page in PAGES:
        app.router.routes.extend(page.routes(context))
    blocks = _blocks(context)
    # Said of every app of several pages, also with ssr_mode=False.
    warnings.filterwarnings("ignore", "SSR mode is not supported", UserWarning)
    blocks.i18n_instance = i18n
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=server.host,
        server_port=server.port,
        root_path=server.root_path or None,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        max_file_size=LARGEST_UPLOAD,
        i18n=i18n,
        theme=theme(),
        css=static_text("frame.css"),
        head=f"<script>{static_text('frame.js')}</script>",
    )
    return app


def _blocks(context: PageContext) -> gr.Blocks:
    blocks = gr.Blocks(title="Palaestra", analytics_enabled=False)
    with blocks:
        _page(PAGES[0], context)
    for page in PAGES[1:]:
        with blocks.route(page.name, page.path, show_in_navbar=False):
            _page(page, context)
    return blocks


def _page(page: Page, context: PageContext) -> None:
    header(PAGES, page)
    page.build(context)
