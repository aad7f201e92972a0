"""The page's server: fixed files, what the model is, and audio as it is made."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wavenet.demo.capabilities import FREE
from wavenet.demo.request import GenerationRequest
from wavenet.demo.service import BusyError, GenerationService
from wavenet.demo.upload import TooLargeError, collect

HOSTS = ("127.0.0.1", "localhost", "[::1]")  # by which the page may be called; others are a trick with DNS

_PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = (
    "index.html", "style.css", "icon.svg", "demo.js", "picture.js", "player.js", "player-worklet.js", "recorder.js",
    "recorder-worklet.js", "wav.js",
)  # fmt: skip
PATIENCE = 30.0  # seconds that a client may leave what it was sent lying about
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(service: GenerationService) -> Starlette:
    """The application, for any ASGI server.

    There is a route for each file of the page, and their contents are read here, once: no path that a client
    names is ever looked up on the disk.

    Args:
        service: Where audio is made.

    Returns:
        The application; `state.stop()` ends what is being made, so that a server can end.
    """

    async def model(_: Request) -> Response:
        return JSONResponse(service.capabilities.as_json())

    routes = [Route(f"/{name}", _file(name)) for name in _FILES]
    routes += [Route("/", _file("index.html")), Route("/model", model)]
    generating = _Generate(service)
    routes += [Route("/generate", generating, methods=["POST"])]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},  # pyright: ignore[reportArgumentType]
    )
    app.router.redirect_slashes = False
    app.state.stop = generating.stop
    return app


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content, media_type = (_PAGE / name).read_bytes(), _TYPES[Path(name).suffix]

    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return respond


class _Generate:
    """POST /generate?mode=...&seed=...: a recording's file comes in the body, float32 samples go out as they are made.

    A place is taken before the body is read and given back when the last sample is sent or the client is gone:
    then the piece that is being made is the last one.
    """

    def __init__(self, service: GenerationService) -> None:
        self._service = service
        self._running: set[anyio.CancelScope] = set()

    def stop(self) -> None:
        for running in tuple(self._running):
            running.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        _check_origin(request)
        try:
            generation_request = GenerationRequest.read(request.query_params.multi_items(), self._service.capabilities)
            with self._service.slot(), anyio.CancelScope() as running:
                self._running.add(running)
                try:
                    response = await self._begin(request, generation_request)
                    await response(scope, receive, _patient(send))
                finally:
                    self._running.remove(running)
        except BusyError as error:
            raise HTTPException(503, str(error), {"Retry-After": "5"}) from error
        except ValueError as error:
            raise HTTPException(400, str(error).removeprefix("stream: ")) from error
        except ClientDisconnect:
            pass

    async def _begin(self, request: Request, generation_request: GenerationRequest) -> Response:
        most = 0 if generation_request.mode == FREE else self._service.capabilities.limits.max_upload_bytes
        try:
            data = await collect(request.stream(), most, int(request.headers.get("content-length", 0)))
        except TooLargeError as error:
            raise HTTPException(413, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(408, "your recording took too long to arrive; send it again") from error
        audio_stream = await anyio.to_thread.run_sync(self._service.start, generation_request, data)
        headers = {
            "X-Samples": str(sum(audio_stream.lengths or [0])),
            "X-Sample-Rate": str(self._service.capabilities.sample_rate),
        }
        return StreamingResponse(
            self._service.chunks(audio_stream), headers=headers, media_type="application/octet-stream"
        )


def _check_origin(request: Request) -> None:
    """Refuse requests that another site's page makes in the visitor's name."""
    origin, own = request.headers.get("origin"), f"{request.url.scheme}://{request.headers.get('host')}"
    site = request.headers.get("sec-fetch-site", "same-origin")
    if (origin is not None and origin != own) or site not in ("same-origin", "none"):
        raise HTTPException(403, "only the page itself may ask for audio")


def _patient(send: Send) -> Send:
    """A `send` that gives up on a client that stays connected, but takes nothing."""

    async def patient(message: Message) -> None:
        try:
            with anyio.fail_after(PATIENCE):
                await send(message)
        except TimeoutError as error:
            raise ClientDisconnect from error

    return patient


async def _refused(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    """The traceback is on the server's terminal only."""
    return JSONResponse({"error": "something went wrong; the terminal where the page was started says what"}, 500)


class _Headers:
    """Puts the same headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)
