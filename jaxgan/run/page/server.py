"""The page's server: three files, and a WebSocket a browser, over which all else goes."""

import asyncio
import contextlib
import errno
import hmac
import json
import os
import socket
import sys
import threading
import webbrowser
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from jaxgan.cli.play import LOCAL
from jaxgan.run import directory
from jaxgan.run.page.session import LIMIT, Session
from jaxgan.run.page.table import Table
from jaxgan.support.console import open_console
from jaxgan.support.errors import UserError

PORT = 8472
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    # A browser that holds to it asks nothing of any other machine; a notebook on this one may show the page.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def pack(header: dict[str, Any], blob: bytes = b"") -> bytes:
    """A message: a line of JSON, and a file."""
    return json.dumps(header).encode() + b"\n" + blob


def unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    """What `pack` packed.

    Raises:
        ValueError: it is no message.
    """
    line, _, blob = message.partition(b"\n")
    header = json.loads(line)
    if not isinstance(header, dict):
        raise ValueError("no message")
    return header, blob


def app(table: Table, host: str = LOCAL[0], password: str | None = None) -> Starlette:
    """The application.

    Args:
        table: what is played with.
        host: the address that it is served at.
        password: that a browser must tell before anything else.
    """
    wrong = asyncio.Lock()  # Who guesses passwords, guesses one a second, however many guess.

    async def file(request: Request) -> Response:
        name, kind = _FILES[request.url.path]
        content = (resources.files("jaxgan.run.page") / name).read_bytes()
        return Response(content, media_type=kind, headers=_HEADERS)

    async def play(web: WebSocket) -> None:
        # A page from elsewhere, opened in the same browser, is not let in.
        if urlsplit(web.headers.get("origin", "")).netloc != web.headers.get("host"):
            await web.close()
            return
        await web.accept()
        loop, known = asyncio.get_running_loop(), password is None

        def send(header: dict[str, Any], blob: bytes) -> None:
            asyncio.run_coroutine_threadsafe(web.send_bytes(pack(header, blob)), loop).result(30)

        session: Session | None = None
        try:
            while True:
                header, blob = unpack(await web.receive_bytes())
                told = str(header.get("password") or "")
                if told and password and not known:
                    async with wrong:
                        known = hmac.compare_digest(told.encode(), password.encode())
                        await asyncio.sleep(0 if known else 1)
                if known:
                    session = session or Session(table, send)
                    reply, blob = await anyio.to_thread.run_sync(session.answer, header, blob)
                else:
                    reply, blob = {"password": "wrong" if told else "needed"}, b""
                await web.send_bytes(pack({"id": header.get("id"), **reply}, blob))
        except (WebSocketDisconnect, ValueError, KeyError, RuntimeError):
            pass  # It has gone, or it is no page of ours.
        finally:
            if session is not None:
                session.close()

    routes = [*(Route(path, file) for path in _FILES), WebSocketRoute("/play", play)]
    # A name that leads here by somebody else's doing (DNS rebinding) is none of these.
    hosts = ["*"] if host == "0.0.0.0" else [*LOCAL, host]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)])


class Page:
    """A page that is served in a thread, as a notebook shows it.

    Attributes:
        url: where it is.
    """

    def __init__(self, table: Table, bound: socket.socket | None = None) -> None:
        """Begins to serve, on this machine alone."""
        bound = bound or _bound(LOCAL[0], 0)
        self.url = _url(LOCAL[0], bound)
        self._server = _server(app(table))
        self._thread = threading.Thread(target=self._server.run, args=([bound],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join(10)

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.url}" width="100%" height="760" style="border: 0" title="jaxgan play"></iframe>'
            f'<p><a href="{self.url}" target="_blank">{self.url}</a> (on another machine: '
            f"<code>ssh -L {urlsplit(self.url).port}:{urlsplit(self.url).netloc} MACHINE</code> first)</p>"
        )

    def __repr__(self) -> str:
        return self.url


def run(path: Path, host: str, port: int | None, password: str | None, browser: bool) -> None:
    """Serves the page until Ctrl-C.

    Args:
        path: of a run, of a folder of runs, or "emoji".
        host: address to serve at.
        port: None for `PORT`, or any where that is taken.
        password: see `app`.
        browser: whether to open it.

    Raises:
        UserError: the port is taken, or the host is none of this machine's.
    """
    console = open_console()
    try:
        bound = _bound(host, PORT if port is None else port)
    except UserError:
        if port is not None:
            raise
        bound = _bound(host, 0)
    with bound:
        console.print(f"reading {path}, and compiling", soft_wrap=True)
        table = Table(path, _folder(path))
        for tab, why in table.why.items():
            console.print(f"{tab}: {why}", soft_wrap=True)
        url = _url(host, bound)
        console.print(f"ready after {table.seconds:.1f} s: {url} (Ctrl-C ends it)", soft_wrap=True)
        if host not in LOCAL:
            console.print("others on the network can see the page with the password; it is not encrypted")
        # Without a screen there may be a browser yet, of text, which would take the terminal.
        if browser and (sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            _server(app(table, host, password)).run([bound])
    if any(thread.name.startswith("jaxgan-") for thread in threading.enumerate()):
        # A process that leaves while a thread of it compiles aborts.
        sys.stdout.flush()
        os._exit(0)


def _folder(path: Path) -> Path | None:
    """Where the runs to watch are: beside the run, in the folder that is named, or in runs/."""
    if directory.is_run(path):
        return path.absolute().parent
    return path if path.is_dir() else Path("runs")


def _server(application: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(
        application,
        log_level="critical",
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=LIMIT + 2**16,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    return uvicorn.Server(config)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port}: is taken; choose another, or leave it out") from None
        raise UserError(f"--host {host}: {error.strerror or error}; give an address of this machine") from None
    return bound


def _url(host: str, bound: socket.socket) -> str:
    return f"http://{LOCAL[0] if host == '0.0.0.0' else host}:{bound.getsockname()[1]}/"
