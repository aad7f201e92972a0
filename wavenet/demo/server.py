"""The page's server, for this machine only."""

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from wavenet.demo.app import create_app
from wavenet.demo.service import GenerationService

_BACKLOG = 128
_MAX_CONNECTIONS = 64
_IDLE = 5.0  # seconds that a connection may be without a complete request
_GRACE = 2  # seconds that responses in progress have to finish at shutdown


def listen(host: str, port: int) -> socket.socket:
    """Bind a port of the loopback interface; early connections wait until the server runs.

    Args:
        host: "127.0.0.1", "::1" or "localhost".
        port: The port; 0 for a free one.

    Raises:
        ValueError: If the host is not a loopback address, or the port is not available.
    """
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ValueError(
                f"host is '{host}'; it must be 127.0.0.1, ::1 or localhost: the page has no passwords, so only this "
                "machine may reach it"
            )
        listener = socket.socket(family, socket_type, protocol)
        try:
            if os.name == "posix":  # on Windows this would take the port from another process
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        reason = f"not available on {host} ({error.strerror})"
        raise ValueError(f"port is {port}, {reason}; port=0 takes a free one") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the page's URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_for(service: GenerationService, on_ready: Callable[[], object] = lambda: None) -> uvicorn.Server:
    """Build the server: `run([listener])` serves until Ctrl-C or SIGTERM, stops generations, and re-raises the signal.

    Args:
        service: The service that generates the audio.
        on_ready: Called when the server accepts requests.
    """
    app = create_app(service)
    config = uvicorn.Config(
        app, http=_Connection, ws="none", loop="asyncio", lifespan="off", log_config=None, log_level="error",
        server_header=False, limit_concurrency=_MAX_CONNECTIONS, timeout_graceful_shutdown=_GRACE,
    )  # fmt: skip
    return _Server(config, on_ready, app.state.stop)


class _Connection(H11Protocol):
    """A connection that is closed if no request is complete in time; uvicorn waits for the first one for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.loop.call_later(_IDLE, self._close_if_idle, None)

    def on_response_complete(self) -> None:
        self.loop.call_later(_IDLE, self._close_if_idle, self.cycle)
        super().on_response_complete()  # may begin with the next request

    def _close_if_idle(self, last: object) -> None:
        """Close the connection if no request has begun since the last one."""
        if self.cycle is last:
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that stops generations at shutdown instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object], stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready, self._stop = on_ready, stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # cancelled responses are intended here
        self._stop()
        await super().shutdown(sockets)
