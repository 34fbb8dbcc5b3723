"""A server on loopback that speaks the part of the hub's HTTP interface that `huggingface_hub` uses for models."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_test"
Files = dict[str, bytes]


class Hub:
    """The repositories of the server: for each the commits and the branches.

    Attributes:
        requests: Method and path of all requests so far.
        sizes: Sizes that the server claims for files of these names.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, tuple[dict[str, Files], dict[str, str]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.sizes: dict[str, int] = {}
        self.uploaded: Files = {}
        self.url = ""

    def commit(self, repository: str, files: Files, branch: str = "main") -> str:
        """Makes a commit of exactly these files, and returns its number."""
        commits, branches = self.repositories.setdefault(repository, ({}, {}))
        text = [repository, len(commits), branch, sorted((n, hashlib.sha256(f).hexdigest()) for n, f in files.items())]
        number = hashlib.sha1(str(text).encode()).hexdigest()
        commits[number], branches[branch] = dict(files), number
        return number

    def push(self, repository: str, folder: Path, **more: bytes) -> str:
        """Makes a commit of the files in a folder and of further ones."""
        return self.commit(repository, {path.name: path.read_bytes() for path in folder.iterdir()} | more)

    def files(self, repository: str, revision: str = "main") -> Files:
        """Returns the files of a branch or commit, by name."""
        commits, branches = self.repositories[repository]
        return commits[branches.get(revision, revision)]

    def downloads(self) -> list[str]:
        """Returns the names of the files that were downloaded so far."""
        return [path.split("/resolve/")[1].partition("/")[2] for _, path in self.requests if "/resolve/" in path]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serves a hub's repositories while the block runs; `hub.url` is the server's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_PUT(self) -> None:
        self.hub.requests.append(("PUT", self.path))
        self.hub.uploaded[self.path.rpartition("/")[2]] = self._body()
        self._json({})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(("POST", path))
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            if repository not in self.hub.repositories:
                self.hub.commit(repository, {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self._json({"url": f"{self.hub.url}/{repository}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            href = {each["oid"]: f"{self.hub.url}/blobs/{each['oid']}" for each in objects}
            objects = [each | {"actions": {"upload": {"href": href[each["oid"]]}}} for each in objects]
            return self._json({"objects": objects, "transfer": "basic"})
        owner, name, verb, branch = path.removeprefix("/api/models/").split("/")
        if verb == "branch":
            self.hub.commit(f"{owner}/{name}", self.hub.files(f"{owner}/{name}"), branch)
            return self._json({})
        if verb == "preupload":
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = ["lfs" if file.endswith(".safetensors") else "regular" for file in files]
            answers = [{"path": f, "uploadMode": m, "shouldIgnore": False} for f, m in zip(files, modes, strict=True)]
            return self._json({"files": answers})
        return self._commit(f"{owner}/{name}", branch, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repository: str, branch: str, lines: list[dict[str, Any]]) -> None:
        commits, branches = self.hub.repositories[repository]
        files = dict(commits.get(branches.get(branch, ""), {}))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        number = self.hub.commit(repository, files, branch)
        self._json({"commitUrl": f"{self.hub.url}/{repository}/commit/{number}", "commitOid": number})

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        of_models = path.startswith("/api/models/")
        owner, name, *rest = path.removeprefix("/api/models/").lstrip("/").split("/")
        if (repository := f"{owner}/{name}") not in self.hub.repositories:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        commits, branches = self.hub.repositories[repository]
        revision = rest[1] if len(rest) > 1 else "main"
        number = branches.get(revision, revision)
        if number not in commits:
            if rest[:1] == ["resolve"]:
                return self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
            return self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        files = commits[number]
        sizes = {file: self.hub.sizes.get(file, len(content)) for file, content in files.items()}
        if not of_models:
            return self._file(number, files.get("/".join(rest[2:])))
        if rest[:1] == ["tree"]:
            hashes = {file: hashlib.sha1(content).hexdigest() for file, content in files.items()}
            return self._json([{"type": "file", "path": f, "size": sizes[f], "oid": h} for f, h in hashes.items()])
        siblings = [{"rfilename": file, "size": size} for file, size in sizes.items()]
        return self._json({"id": repository, "modelId": repository, "sha": number, "siblings": siblings})

    def _file(self, number: str, content: bytes | None) -> None:
        if content is None:
            self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        about = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": number}
        self._answer(content, 200, about | {"Content-Type": "application/octet-stream"})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))
