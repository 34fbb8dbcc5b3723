"""Servers on loopback for a folder: a plain web server, and one that answers as an object store does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class _Web(SimpleHTTPRequestHandler):
    """Serves files, and notes the path of each request; `refused` names files that are forbidden."""

    def __init__(self, *args, asked, refused, **options):
        self.asked, self.refused = asked, refused
        super().__init__(*args, **options)

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.asked.append(unquote(urlsplit(self.path).path))
        if any(self.path.endswith(name) for name in self.refused):
            self.send_error(403)
        else:
            super().do_GET()


class _Objects(_Web):
    """Answers what s3fs asks of a bucket: objects, and lists of them."""

    def do_GET(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if "list-type" not in query:
            file = Path(self.translate_path(parts.path))
            if not file.is_file():
                self._answer(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
                return
            super().do_GET()
            return
        bucket = Path(self.directory) / parts.path.strip("/")
        prefix = query.get("prefix", [""])[0]
        folder = bucket / prefix
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        keys = [f"{prefix}{one.name}" for one in entries if one.is_file()]
        folders = [f"{prefix}{one.name}/" for one in entries if one.is_dir()]
        contents = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in keys)
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{prefixes}</ListBucketResult>")

    def _answer(self, status, text):
        body = f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(folder: Path, *, objects: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """Serves a folder, and yields the server's address, the paths asked for, and a list of endings to refuse."""
    asked: list[str] = []
    refused: list[str] = []
    kind = _Objects if objects else _Web
    handler = partial(kind, directory=str(folder), asked=asked, refused=refused)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked, refused
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
