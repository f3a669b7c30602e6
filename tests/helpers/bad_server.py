"""A server on loopback that answers in bytes, right or wrong, fast or slow."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[bytes, socket.socket], None]


def completion(text: str) -> bytes:
    """A whole answer of a chat completion."""
    body = json.dumps({"choices": [{"index": 0, "message": {"content": text}}]}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


BROKEN = {
    "status line": b"HTTX/banana two hundred\r\n\r\n",
    "101 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(101)) + b"\r\n",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this",
    "cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
    "nothing": b"",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


def dripping(_request: bytes, connection: socket.socket) -> None:
    """A byte each tenth of a second, without an end: no single wait is long."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(600):
            connection.sendall(b" ")
            time.sleep(0.1)


@contextmanager
def answering(answer: Callable[[bytes], bytes] | Answer) -> Iterator[str]:
    """Its address; ``answer`` gives the bytes for a request, or sends them itself."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = next(
                (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
            )
            while len(body) < length:
                body += connection.recv(65536)
            if answer is dripping:
                dripping(request, connection)
            else:
                connection.sendall(answer(head + b"\r\n\r\n" + body))  # type: ignore[call-arg, arg-type]

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        server.close()
