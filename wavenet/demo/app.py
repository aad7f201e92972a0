"""The page's application: static files, the model's description, and audio as it is generated."""

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

HOSTS = ("127.0.0.1", "localhost", "[::1]")  # of the page; any other host is DNS rebinding

_PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = (
    "index.html", "style.css", "icon.svg", "demo.js", "picture.js", "player.js", "player-worklet.js", "recorder.js",
    "recorder-worklet.js", "wav.js",
)  # fmt: skip
SEND_TIMEOUT = 30.0  # seconds that a client may take to read what it was sent
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
    """Build the application, for any ASGI server.

    There is a route for each file of the page, and the files are read here, once: no path from a client is ever
    looked up on the disk.

    Args:
        service: The service that generates the audio.

    Returns:
        The application; `state.stop()` ends the running generations, so that a server can shut down.
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
        exception_handlers={HTTPException: _error_response, Exception: _internal_error},  # pyright: ignore[reportArgumentType]
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
    """POST /generate?mode=...&seed=...: a recording in the body; streams float32 samples as they are generated.

    A slot is taken before the body is read and released when the last sample is sent or the client disconnects:
    then the chunk in progress is the last one.
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
                    response = await self._respond(request, generation_request)
                    await response(scope, receive, _with_timeout(send))
                finally:
                    self._running.remove(running)
        except BusyError as error:
            raise HTTPException(503, str(error), {"Retry-After": "5"}) from error
        except ValueError as error:
            raise HTTPException(400, str(error).removeprefix("stream: ")) from error
        except ClientDisconnect:
            pass

    async def _respond(self, request: Request, generation_request: GenerationRequest) -> Response:
        max_bytes = 0 if generation_request.mode == FREE else self._service.capabilities.limits.max_upload_bytes
        try:
            data = await collect(request.stream(), max_bytes, int(request.headers.get("content-length", 0)))
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
    """Refuse cross-site requests."""
    origin, own = request.headers.get("origin"), f"{request.url.scheme}://{request.headers.get('host')}"
    site = request.headers.get("sec-fetch-site", "same-origin")
    if (origin is not None and origin != own) or site not in ("same-origin", "none"):
        raise HTTPException(403, "only the page itself may request audio")


def _with_timeout(send: Send) -> Send:
    """Wrap `send` so that it fails for a client that stays connected but reads nothing."""

    async def send_within_timeout(message: Message) -> None:
        try:
            with anyio.fail_after(SEND_TIMEOUT):
                await send(message)
        except TimeoutError as error:
            raise ClientDisconnect from error

    return send_within_timeout


async def _error_response(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _internal_error(_: Request, __: Exception) -> Response:
    """Answer without details; the traceback is printed on the server's terminal only."""
    return JSONResponse({"error": "internal error; the terminal where the page was started shows the details"}, 500)


class _Headers:
    """Adds the same headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)
