"""A local stand-in of the Hugging Face Hub's HTTP API, which keeps real bytes; what it does not know is an error."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

WRITER, READER = "hf_writer_of_june", "hf_reader_of_june"  # june's tokens
OWNER = "june"


@dataclass
class Repo:
    """A repository: its branches are commits, and commits are files."""

    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str = "") -> str:
        """Put files on top of a branch; returns the commit."""
        before = self.commits.get(self.branches.get(branch, ""), {})
        oid = hashlib.sha1(repr((len(self.commits), sorted(before | files))).encode()).hexdigest()
        self.commits[oid], self.branches[branch] = before | files, oid
        self.messages.append(message)
        return oid

    @property
    def files(self) -> dict[str, bytes]:
        """Those of main."""
        return self.commits[self.branches["main"]]


class Hub:
    """The state of the stand-in.

    Attributes:
        url: Its address.
        repos: By "owner/name".
        requests: All that were made, such as "GET /api/models/june/x".
        sizes: What it claims of a file's size instead of the truth.
        down: Answers everything with 503.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.sizes: dict[str, int] = {}
        self.down = False

    def make(self, name: str, files: dict[str, bytes], private: bool = False) -> Repo:
        """A repository that somebody else has filled."""
        self.repos[name] = repo = Repo(private)
        repo.commit("main", files)
        return repo

    def fetched(self) -> set[str]:
        """Names of the files whose bytes were asked for."""
        return {each.rsplit("/", 1)[-1] for each in self.requests if each.startswith("GET") and "/resolve/" in each}


class Refused(Exception):  # noqa: N818 (it is an answer)
    def __init__(self, status: int, code: str = "", message: str = "", **more: str) -> None:
        self.status, self.headers = status, {"X-Error-Code": code, "X-Error-Message": message}
        self.body = json.dumps({"error": message} | more).encode()


def answer(hub: Hub, method: str, path: str, token: str | None, body: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer.

    Raises:
        Refused: With the status of an error.
    """
    if hub.down:
        raise Refused(503)
    if token not in (None, WRITER, READER):
        raise Refused(401, message="Invalid credentials in Authorization header")
    for ways, pattern, act in _ROUTES:
        match = re.fullmatch(pattern, path)
        if match and method in ways.split():
            if "write" in ways and token is None:
                raise Refused(401, message="Invalid username or password.")
            return act(hub, token, body, *map(unquote, match.groups()))
    raise Refused(404, message=f"the stand-in does not know {method} {path}")


def _as_json(value: Any) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": "application/json"}, json.dumps(value).encode()


def _repo(hub: Hub, token: str | None, name: str, write: bool = False) -> Repo:
    repo = hub.repos.get(name)
    if repo is None or (repo.private and token is None):
        raise Refused(401 if token is None else 404, "RepoNotFound")
    if write and (token != WRITER or not name.startswith(f"{OWNER}/")):
        raise Refused(403, message="you don't have the rights")
    return repo


def _commit(repo: Repo, revision: str) -> str:
    oid = repo.branches.get(revision, revision)
    if oid not in repo.commits:
        raise Refused(404, "RevisionNotFound")
    return oid


def _create(hub: Hub, token: str | None, body: bytes) -> tuple[dict[str, str], bytes]:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in hub.repos:
        raise Refused(409, message="You already created this model repo", url=f"{hub.url}/{name}")
    if token != WRITER or asked["organization"] != OWNER:
        raise Refused(403, message="you don't have the rights to create a model under this namespace")
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    hub.make(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private)
    return _as_json({"url": f"{hub.url}/{name}", "name": name, "id": "1"})


def _info(hub: Hub, token: str | None, body: bytes, name: str, revision: str = "main") -> tuple[dict[str, str], bytes]:
    repo = _repo(hub, token, name)
    oid = _commit(repo, revision)
    files = [
        {"rfilename": file, "size": hub.sizes.get(file, len(data)), "blobId": _sum(data)}
        for file, data in repo.commits[oid].items()
    ]
    return _as_json({"id": name, "modelId": name, "sha": oid, "private": repo.private, "siblings": files, "tags": []})


def _tree(hub: Hub, token: str | None, body: bytes, name: str, revision: str) -> tuple[dict[str, str], bytes]:
    repo = _repo(hub, token, name)
    files = repo.commits[_commit(repo, revision)]
    return _as_json([{"type": "file", "path": f, "size": len(d), "oid": _sum(d)} for f, d in files.items()])


def _branch(hub: Hub, token: str | None, body: bytes, name: str, branch: str) -> tuple[dict[str, str], bytes]:
    repo = _repo(hub, token, name, write=True)
    if branch in repo.branches:
        raise Refused(409)
    repo.branches[branch] = repo.branches["main"]
    return _as_json({})


def _preupload(hub: Hub, token: str | None, body: bytes, name: str, revision: str) -> tuple[dict[str, str], bytes]:
    _repo(hub, token, name, write=True)
    modes = {True: "lfs", False: "regular"}
    files = [
        {"path": f["path"], "uploadMode": modes[f["path"].endswith(".safetensors")], "shouldIgnore": False, "oid": None}
        for f in json.loads(body)["files"]
    ]
    return _as_json({"files": files})


def _validate(hub: Hub, token: str | None, body: bytes) -> tuple[dict[str, str], bytes]:
    try:
        front = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
        assert front is not None and isinstance(yaml.safe_load(front[1]), dict)
    except (AssertionError, yaml.YAMLError) as error:
        return _as_json({"errors": [{"message": str(error)}], "warnings": []})
    return _as_json({"errors": [], "warnings": []})


def _batch(hub: Hub, token: str | None, body: bytes, name: str) -> tuple[dict[str, str], bytes]:
    _repo(hub, token, name, write=True)
    return _as_json(
        {
            "transfer": "basic",
            "objects": [
                {**asked, "actions": {"upload": {"href": f"{hub.url}/lfs/{asked['oid']}", "header": {}}}}
                for asked in json.loads(body)["objects"]
            ],
        }
    )


def _put(hub: Hub, token: str | None, body: bytes, oid: str) -> tuple[dict[str, str], bytes]:
    if hashlib.sha256(body).hexdigest() != oid:
        raise Refused(400)
    hub.blobs[oid] = body
    return {}, b""


def _push(hub: Hub, token: str | None, body: bytes, name: str, revision: str) -> tuple[dict[str, str], bytes]:
    repo = _repo(hub, token, name, write=True)
    _commit(repo, revision)
    files, message = {}, ""
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "header":
            message = value["summary"]
        elif line["key"] == "file":
            assert value["encoding"] == "base64"
            files[value["path"]] = base64.b64decode(value["content"])
        else:
            assert line["key"] == "lfsFile" and value["algo"] == "sha256"
            files[value["path"]] = hub.blobs[value["oid"]]
    oid = repo.commit(revision, files, message)
    return _as_json(
        {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{name}/commit/{oid}", "hookOutput": ""}
    )


def _resolve(
    hub: Hub, token: str | None, body: bytes, name: str, revision: str, file: str
) -> tuple[dict[str, str], bytes]:
    repo = _repo(hub, token, name)
    oid = _commit(repo, revision)
    if file not in repo.commits[oid]:
        raise Refused(404, "EntryNotFound")
    data = repo.commits[oid][file]
    return {"ETag": f'"{_sum(data)}"', "X-Repo-Commit": oid}, data


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, str, Callable[..., tuple[dict[str, str], bytes]]]] = [
    ("POST write", "/api/repos/create", _create),
    ("POST write", "/api/validate-yaml", _validate),
    ("GET", f"/api/models/{_NAME}", _info),
    ("GET", f"/api/models/{_NAME}/revision/([^/]+)", _info),
    ("GET", f"/api/models/{_NAME}/tree/([^/]+)", _tree),
    ("POST write", f"/api/models/{_NAME}/branch/([^/]+)", _branch),
    ("POST write", f"/api/models/{_NAME}/preupload/([^/]+)", _preupload),
    ("POST write", f"/api/models/{_NAME}/commit/([^/]+)", _push),
    ("POST write", rf"/{_NAME}\.git/info/lfs/objects/batch", _batch),
    ("PUT", "/lfs/([0-9a-f]{64})", _put),
    ("GET HEAD", f"/{_NAME}/resolve/([^/]+)/(.+)", _resolve),
]


@contextmanager
def served() -> Iterator[Hub]:
    """Run a stand-in in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self._chunks()
            path = urlsplit(self.path).path
            hub.requests.append(f"{self.command} {path}")
            authorization = self.headers.get("Authorization")
            token = authorization.removeprefix("Bearer ") if authorization else None
            status = 200
            try:
                headers, data = answer(hub, self.command, path, token, body)
            except Refused as refused:
                status, headers, data = refused.status, refused.headers, refused.body
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = _do  # noqa: N815

        def _chunks(self) -> bytes:
            """A body that is sent in pieces."""
            data = b""
            while "chunked" in self.headers.get("Transfer-Encoding", ""):
                size = int(self.rfile.readline(), 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
            return data

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
