"""A small Zenodo on this computer, with the faults of real servers: it cuts, stalls, lies, and asks to wait."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import ssl
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Zenodo:
    """What the server holds, how it answers, and what it was asked.

    Attributes
    ----------
    records
        The files of each record.
    answers
        How the next requests for an address are answered, one after the other; afterwards as a good server does.
    checksums
        What a record states instead of the right checksum, by file.
    asked
        Every request: its address and its headers.
    sent
        Bytes of files that were sent, over all requests.
    url
        Where the server is.
    most_at_once
        How many requests it was at work on at one time, at most.
    """

    records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    answers: dict[str, list[Callable[[Answer], None]]] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    url: str = ""
    most_at_once: int = 0
    at_work: int = 0
    ends: threading.Event = field(default_factory=threading.Event)

    def downloads(self) -> list[tuple[str, dict[str, str]]]:
        """Return the requests for files."""
        return [(address, headers) for address, headers in self.asked if "/files/" in address]

    def next_for(self, name: str, *answers: Callable[[Answer], None]) -> None:
        """Answer the next requests for a file, or for a record, in these ways."""
        self.answers.setdefault(name, []).extend(answers)


class Answer(BaseHTTPRequestHandler):
    """The answer to one request."""

    zenodo: Zenodo
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        address = self.address()
        zenodo = self.zenodo
        zenodo.asked.append((address, dict(self.headers.items())))
        zenodo.at_work += 1
        zenodo.most_at_once = max(zenodo.most_at_once, zenodo.at_work)
        try:
            waiting = zenodo.answers.get(address.rpartition("/")[2])
            (waiting.pop(0) if waiting else good)(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            zenodo.at_work -= 1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the class above
        """Say nothing."""

    def body(self) -> bytes | None:
        """Return what is asked for: a record's description, or a file."""
        number, _, name = re.sub(r"^/(api/)?records/", "", self.address()).partition("/files/")
        files = self.zenodo.records.get(int(number)) if number.isdigit() else None
        if files is None or (name and name not in files):
            return None
        return files[name] if name else json.dumps(self.description(int(number), files)).encode()

    def address(self) -> str:
        """Return the address without the server, which a proxy is told too."""
        return re.sub(r"^http://[^/]+", "", self.path)

    def description(self, number: int, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Describe a record as Zenodo does."""
        return {
            "id": number,
            "files": [
                {
                    "id": hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(),
                    "key": name,
                    "size": len(content),
                    "checksum": self.zenodo.checksums.get(name, f"md5:{hashlib.md5(content).hexdigest()}"),
                    "links": {"self": f"{self.zenodo.url}/api/records/{number}/files/{name}/content"},
                }
                for name, content in files.items()
            ],
        }

    def send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, announced: int | None = None
    ) -> None:
        """Send an answer, with another length announced than it has where there is one."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if "/files/" in self.path:
            self.zenodo.sent += len(body)

    def asked_from(self, body: bytes) -> int:
        """Return the first byte that is wanted; 0 where the file is no longer the one that was begun."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", tag(body)) == tag(body)
        return int(wanted[1]) if wanted and same else 0

    def send_from(self, start: int, body: bytes, length: int) -> None:
        """Send so many bytes of a file, and announce all that are left."""
        rest = body[start:]
        headers = {"ETag": tag(body)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send(206 if start else 200, rest[:length], headers, len(rest))


def tag(body: bytes) -> str:
    """Return the tag of a file's content, as Zenodo makes it."""
    return f'"md5:{hashlib.md5(body).hexdigest()}"'


def good(answer: Answer) -> None:
    """Answer as a good server does."""
    body = answer.body()
    if body is None:
        answer.send(404, b"{}")
    else:
        answer.send_from(answer.asked_from(body), body, len(body))


def cut(after: int) -> Callable[[Answer], None]:
    """Send so many bytes and hang up."""

    def answer_and_hang_up(answer: Answer) -> None:
        body = answer.body() or b""
        answer.send_from(answer.asked_from(body), body, after)
        answer.close_connection = True

    return answer_and_hang_up


def reset(after: int) -> Callable[[Answer], None]:
    """Send so many bytes and break the connection, as a failing network does."""

    def answer_and_break(answer: Answer) -> None:
        cut(after)(answer)
        answer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        answer.connection.close()

    return answer_and_break


def stall(after: int) -> Callable[[Answer], None]:
    """Send so many bytes and then nothing any more, without hanging up."""

    def answer_and_wait(answer: Answer) -> None:
        body = answer.body() or b""
        answer.send_from(answer.asked_from(body), body, after)
        answer.zenodo.ends.wait(60)
        answer.close_connection = True

    return answer_and_wait


def whole(answer: Answer) -> None:
    """Send all of a file, whatever range is asked for."""
    body = answer.body() or b""
    answer.send(200, body, {"ETag": tag(body)})


def other(body: bytes) -> Callable[[Answer], None]:
    """Send something else."""
    return lambda answer: answer.send(200, body)


def status(number: int, headers: Mapping[str, str] | None = None) -> Callable[[Answer], None]:
    """Send a status and nothing else."""
    return lambda answer: answer.send(number, b"", headers)


class Server(ThreadingHTTPServer):
    """A server that says nothing when somebody hangs up."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


@contextmanager
def serving(zenodo: Zenodo, encrypted: ssl.SSLContext | None = None) -> Iterator[Zenodo]:
    """Serve on a free port of this computer until the block ends."""
    handler = type("Handler", (Answer,), {"zenodo": zenodo})
    with Server(("127.0.0.1", 0), handler) as server:
        if encrypted is not None:
            server.socket = encrypted.wrap_socket(server.socket, server_side=True)
        zenodo.url = f"http{'s' if encrypted else ''}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield zenodo
        finally:
            zenodo.ends.set()
            server.shutdown()
            thread.join()


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip file that holds these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()
