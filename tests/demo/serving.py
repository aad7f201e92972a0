"""The page's server in a thread of this process, and a client for its requests."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import torch

from wavenet.demo.server import listen, server_for, url_of
from wavenet.demo.service import GenerationService


@contextmanager
def serving(service: GenerationService):
    """Run a server for a service; the value is its URL."""
    listener = listen("127.0.0.1", 0)
    server = server_for(service)
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def connect(url):
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)


def ask(url, method="GET", path="/", body=None, headers=None):
    """Return a complete response: (status, headers, body)."""
    connection = connect(url)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def generate(url, body=None, headers=None, **request):
    """POST /generate; return the samples, or (status, message)."""
    status, _, answer = ask(url, "POST", f"/generate?{query(**request)}", body, headers)
    if status != 200:
        return status, json.loads(answer)["error"]
    return torch.frombuffer(bytearray(answer), dtype=torch.float32)


def query(**request):
    return urlencode({name.replace("__", "."): value for name, value in request.items()})


def start(url, **request):
    """Start a generation; return the connection, on which some samples have arrived."""
    connection = connect(url)
    connection.request("POST", f"/generate?{query(**request)}")
    answer = connection.getresponse()
    assert answer.status == 200
    assert len(answer.read(4)) == 4
    return connection, answer


def until(condition, seconds=20):
    """Wait until a condition holds; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never holds"
        time.sleep(0.01)
