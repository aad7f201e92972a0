"""`wavenet demo`: a local web page for a model."""

import math
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from omegaconf import DictConfig

from wavenet import load
from wavenet.cli.command import command, plain, unnamed_model
from wavenet.extras import install_command


@command("demo")
def main(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    try:
        from wavenet.demo.capabilities import Limits, title_of  # noqa: PLC0415 - an optional extra
        from wavenet.demo.server import listen, server_for, url_of  # noqa: PLC0415
        from wavenet.demo.service import GenerationService  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"the page needs {error.name}: {install_command('demo')}") from error

    limits = Limits(cfg.max_seconds, math.ceil(cfg.max_upload_mb * 2**20), cfg.max_concurrent)
    with _exit_on_signals(), listen(cfg.host, cfg.port) as listener:
        model = load(cfg.checkpoint, cfg.device, trust=plain(cfg.trust))
        if line := unnamed_model(cfg):
            print(line)
        service = GenerationService(model, title_of(cfg.checkpoint), limits, cfg.backend, cfg.threads, cfg.weights)
        print("warming up (the first time on a machine, the loop is compiled: about ten seconds)", flush=True)
        for line in service.warm_up():
            print(line)
        if service.capabilities.unsupported_reason is not None:
            print(service.capabilities.unsupported_reason)

        def ready() -> None:
            print(f"{url_of(listener)} serves the page for {service.capabilities.title}; Ctrl-C stops it", flush=True)
            if cfg.open_browser:
                threading.Thread(target=webbrowser.open, args=[url_of(listener)], daemon=True).start()  # it may block

        server_for(service, ready).run([listener])


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Exit cleanly on SIGTERM and Ctrl-C, even if the parent process ignores these signals."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        print("wavenet demo: stopped", file=sys.stderr)
        sys.exit(128 + number)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
