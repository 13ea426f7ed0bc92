"""HTTP/1.1 on the wire: raw requests of tests/http, and the shared ones where they are."""

import re
import socket
import subprocess
import sys

import pytest
import yaml

from harness import PATIENCE_S, ROOT, eventually

VECTORS = yaml.safe_load((ROOT / "tests" / "http" / "vectors.yaml").read_text())
SHARED = ROOT.parent / "shared" / "http-vectors"


def render(piece):
    data = piece if isinstance(piece, bytes) else piece.encode("latin-1")
    data = data.replace(b"{path}", b"/echo")
    return re.sub(rb"\{(\d+)\}", lambda m: b"x" * int(m[1]), data)


class Reader:
    """Reads answers off a socket; anything that is no answer of ours is an error."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""
        self.closed = False

    def more(self, timeout_s):
        self.sock.settimeout(timeout_s)
        try:
            part = self.sock.recv(65536)
        except socket.timeout:
            return False
        except ConnectionResetError:
            part = b""
        self.closed = self.closed or not part
        self.data += part
        return bool(part)

    def answer(self, method):
        """(status, headers, body), or None when the connection ended before one."""
        while b"\r\n\r\n" not in self.data:
            if not self.more(PATIENCE_S):
                assert self.closed and not self.data, f"no answer: {self.data!r}"
                return None
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*", line)
        assert match, line
        status = int(match[1])
        headers = {}
        for field in fields:
            name, value = re.fullmatch(rb"([!-9;-~]+): ([^\r\n\0]*)", field).groups()
            headers[name.lower()] = value
        length = 0
        if method != "HEAD" and status not in (100, 204, 304):
            length = int(headers[b"content-length"])
        while len(self.data) < length:
            assert self.more(PATIENCE_S), "the answer is cut"
        body, self.data = self.data[:length], self.data[length:]
        return status, headers, body


def exchange(address, vector):
    host, port = address.rsplit(":", 1)
    pieces = vector["send"] if isinstance(vector["send"], list) else [vector["send"]]
    answers = []
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(sock)
        for i, piece in enumerate(pieces):
            if i:
                reader.more(0.05)
            sock.sendall(render(piece))
        if vector.get("end"):
            sock.shutdown(socket.SHUT_WR)
        methods = iter(vector.get("methods", []))
        for _ in vector["expect"]:
            answer = reader.answer(next(methods, "GET"))
            if answer is None:
                break
            answers.append(answer)
        # Nothing may follow; a close follows at once.
        reader.more(PATIENCE_S if vector.get("closed") else 0.1)
        return answers, reader


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_vector(gateway, vector):
    answers, reader = exchange(gateway.address, vector)
    assert [status for status, _, _ in answers] == vector["expect"], vector["ref"]
    assert reader.data == b"" and reader.closed == vector.get("closed", False)
    finals = [a for a in answers if a[0] != 100]
    for (status, headers, body), expected in zip(finals, vector.get("bodies", [])):
        assert body == expected.encode()
    for status, headers, body in finals:
        assert b"date" in headers and b"x-request-id" in headers
        if status >= 400:
            assert headers[b"content-type"] == b"application/problem+json"
    # A client that ends its side behind a whole request may do so after the response's head left.
    if vector.get("closed") and (not vector.get("end") or finals[-1][0] >= 400):
        assert finals[-1][1].get(b"connection") == b"close"


@pytest.mark.skipif(not SHARED.exists(), reason="no shared vectors beside this repository")
def test_no_shared_vector_fails(files_stack, gateway):
    (files_stack.routes / "all.yaml").write_text(
        "apiVersion: metropolis.dev/v1alpha1\nkind: Route\nmetadata: {name: all, namespace: test}\n"
        "spec: {rules: [{matches: [{path: {type: Prefix, value: /}}], backends: [{subject: 'echo.{method}'}]}]}\n"
    )
    try:
        eventually(lambda: gateway.get("/anything").status_code == 200)
        done = subprocess.run(
            [sys.executable, SHARED / "runner.py", "--target", gateway.address, "--path", "/echo",
             "--host-header", "localhost", "--echo", "--fail-under", "100"],
            capture_output=True, text=True, timeout=170,
        )
        assert done.returncode == 0, done.stdout
    finally:
        (files_stack.routes / "all.yaml").unlink()
        eventually(lambda: gateway.get("/anything").status_code == 404)
