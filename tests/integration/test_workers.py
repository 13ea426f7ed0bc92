"""Workers on four NATS clients, and on libmetropolis, behind one gateway: the same odd requests and replies for all."""

import hashlib
import json
import re
import shutil
import signal
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from harness import (
    BUILD, PATIENCE_S, ROOT, Controller, Gateway, NatsServer, Process, eventually, route, stop_all,
)

sys.path.insert(0, str(ROOT / "tests" / "workers"))
from odd import ALL, BIG, REPLIES, REQUESTS  # noqa: E402

PROGRAMS = {
    "go": ["go-worker"],
    "py": [sys.executable, ROOT / "tests" / "workers" / "python" / "worker.py"],
    "js": ["js-worker"],
    "c": [BUILD / "tests" / "workers" / "worker_plain"],
    "lib": [BUILD / "tests" / "workers" / "worker_library"],
}
MICRO = ["go", "py", "c"]  # nats.js has no released package of it
TIMEOUT_MS = 20000


def routes_of(client):
    """Everything at the client's own host. /report/p/{a}/{b} and /report/r/{rest...} have params."""
    def rule(kind, path, subject, timeout=f"{TIMEOUT_MS}ms"):
        return {"matches": [{"path": {"type": kind, "value": path}}], "backends": [{"subject": subject}], "timeout": timeout}

    document = route(client, hostnames=[f"{client}.test"])
    document["metadata"]["namespace"] = "odd"
    document["spec"]["rules"] = [
        rule("Template", "/report/p/{a}/{b}", client + ".report.p.{a}.{b}.{method}"),
        rule("Template", "/report/r/{rest...}", client + ".report.r.{rest...}.{method}"),
        rule("Exact", "/report", client + ".report.any.{method}"),
        rule("Exact", "/reply", client + ".reply.{method}"),
        rule("Exact", "/reply-soon", client + ".reply.soon.{method}", "300ms"),
        rule("Exact", "/respond", client + ".respond.{method}"),
        rule("Exact", "/micro", "micro." + client + ".{method}"),
    ]
    return document


class Answer:
    """An HTTP response as it came: the socket's bytes up to its end."""

    def __init__(self, data, method):
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 \d{3} [ -~]*", status), data[:200]
        self.status = int(status[9:12])
        self.headers = []
        for line in lines:
            name, value = re.fullmatch(rb"([!-9;-~]+): ?([^\r\n\0]*)", line).groups()
            self.headers.append((name.decode(), value.decode()))
        length = self.values("Content-Length")
        if method != "HEAD" and self.status not in (204, 304):
            assert length == [str(len(self.body))]
        else:
            assert self.body == b""

    def values(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def own(self):
        """Headers but those of the gateway."""
        gateways = ("date", "server", "connection", "content-length", "x-request-id")
        return [(name, value) for name, value in self.headers if name.lower() not in gateways]


def ask(gateway, host, method, target, lines=(), body=b"", chunked=False):
    """One request, byte for byte as given."""
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *lines]
    # "Connection: close" of our own would be a second line beside the case's: the gateway takes both.
    head.append("Connection: close")
    payload = body
    if chunked:
        parts = [body[i:i + 50_000] for i in range(0, len(body), 50_000)]
        payload = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        head.append("Transfer-Encoding: chunked")
    elif body or method in ("POST", "PUT", "PATCH"):
        head.append(f"Content-Length: {len(body)}")
    data = b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in head)
    with socket.create_connection(gateway.address.split(":"), PATIENCE_S) as s:
        s.sendall(data + b"\r\n\r\n" + payload)
        return Answer(b"".join(iter(lambda: s.recv(1 << 16), b"")), method)


def put_routes(stack, documents):
    hidden = stack.routes / "odd.tmp"
    hidden.write_text(yaml.safe_dump_all(documents))
    hidden.rename(stack.routes / "odd.yaml")
    keys = {f"route.odd.{document['metadata']['name']}" for document in documents}
    eventually(lambda: keys <= {entry["key"] for entry in stack.gateway.get_admin("/table").json()["routes"]})


def answers(gateway, client, process):
    assert process.running, process.log
    return ask(gateway, f"{client}.test", "GET", "/report").status == 200


@pytest.fixture(scope="module")
def workers(files_stack, tmp_path_factory):
    directory = tmp_path_factory.mktemp("workers")
    for client in ("go-worker", "js-worker"):
        assert shutil.which(client), f"no {client} in PATH: PATH=$(hack/tools):$PATH"
    put_routes(files_stack, [routes_of(client) for client in ALL])
    made = {client: Process(f"worker-{client}", [*PROGRAMS[client], files_stack.nats.url, client], directory) for client in ALL}
    try:
        for client, process in made.items():
            process.start()
            eventually(lambda: answers(files_stack.gateway, client, process))
        yield made
    finally:
        stop_all(made.values())


def first_of(request, path, query):
    """The gateway's own headers that have one right value."""
    own = {"Metropolis-Wire": "1", "Metropolis-Method": request.method, "Metropolis-Path": path,
           "Metropolis-Scheme": "http", "Metropolis-Remote-Addr": "127.0.0.1", "X-Forwarded-For": "127.0.0.1",
           "X-Forwarded-Proto": "http"}
    if query is not None:
        own["Metropolis-Query"] = query
    return {**own, **{f"Metropolis-Param-{name}": value for name, value in request.params.items()}}


def request_case(client, case):
    marks = [pytest.mark.xfail(strict=True, reason=f"{client} changes values")] if client in case.distorted_by else []
    return pytest.param(client, case, id=f"{case.name}-{client}", marks=marks)


@pytest.mark.parametrize("client, request_", [request_case(client, case) for case in REQUESTS for client in ALL])
def test_each_client_receives_exactly_what_the_format_says(files_stack, workers, client, request_):
    names = {"host": f"{client}.test", "HOST": f"{client}.TEST".upper()}
    target = request_.target.replace("{host}", names["host"])
    host = (request_.host or "{host}").format(**names)
    before = len(workers[client].log)
    answer = ask(files_stack.gateway, host, request_.method, target, request_.lines, request_.body, request_.chunked)
    assert answer.status == 200, answer.body[:500]
    logged = workers[client].log[before:].strip()
    report = json.loads(logged.split("\n")[-1])
    if request_.method != "HEAD":
        assert json.loads(answer.body) == report

    assert report["subject"] == f"{client}.report." + (request_.subject or f"any.{request_.method}")
    assert report["length"] == len(request_.body)
    assert report["sha256"] == hashlib.sha256(request_.body).hexdigest()

    seen = {}
    for name, value in report["headers"]:
        assert name not in seen, f"{name} twice"
        seen[name] = value
    seen_host = request_.seen_host.format(**names)
    expected = first_of(request_, request_.path or request_.target.partition("?")[0], request_.query)
    expected |= {"Metropolis-Host": seen_host, "X-Forwarded-Host": seen_host, "Metropolis-Route": f"odd/{client}"}
    assert 0 < int(seen.pop("Metropolis-Timeout-Ms")) <= TIMEOUT_MS
    assert abs(int(seen.pop("Metropolis-Sent-Ms")) - time.time() * 1000) < PATIENCE_S * 1000
    assert re.fullmatch(r"[0-9A-Za-z._-]{8,128}", seen["X-Request-Id"]) and seen.pop("X-Request-Id") != "mine"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", seen["Traceparent"])
    assert "0af7651916cd43dd8448eb211c80319c" not in seen.pop("Traceparent")
    assert seen == {**expected, **request_.headers}


@pytest.mark.parametrize("client, case", [
    pytest.param(client, case, id=f"{case.name}-{client}") for case in REPLIES for client in case.clients])
def test_each_client_s_reply_reaches_the_http_client_as_the_format_says(files_stack, workers, client, case):
    gateway = files_stack.gateway
    want = {"status": case.status, "headers": case.headers, "body": case.body, **case.unlike.get(client, {})}
    before = gateway.metric(case.counter) if case.counter else 0
    answer = ask(gateway, f"{client}.test", case.method, "/reply-soon" if case.timeout else "/reply",
                 body=json.dumps(case.script).encode())
    assert answer.status == want["status"], answer.body[:500]
    if case.counter:
        eventually(lambda: gateway.metric(case.counter) > before)
    if answer.status in (502, 504):
        assert answer.values("Content-Type") == ["application/problem+json"]
        assert json.loads(answer.body)["status"] == answer.status
        assert not answer.values("X-A") and b"cut" not in answer.body
        return
    order = sorted if case.any_order else lambda lines: sorted(lines, key=lambda line: line[0])
    assert order(answer.own()) == order(want["headers"])
    if want["headers"] == [("X-Refused", "1")]:
        return
    if want["body"] is not None:
        assert answer.body == (b"" if case.method == "HEAD" else want["body"])
    if case.length is not None:
        assert answer.values("Content-Length") == ([case.length] if case.length else [])


@pytest.mark.parametrize("client", ALL)
def test_what_a_client_calls_a_response_shows_nothing_of_the_request(files_stack, workers, client):
    before = files_stack.gateway.metric("metropolis_echo_replies_total")
    answer = ask(files_stack.gateway, f"{client}.test", "GET", "/respond",
                 ["Authorization: Bearer secret", "Cookie: a=1", "X-Mine: 1"])
    assert (answer.status, answer.body) == (200, b"ok")
    assert [line for line in answer.own() if line[0] != "Content-Type"] == []
    # nats-py alone sends the request's headers back
    assert files_stack.gateway.metric("metropolis_echo_replies_total") - before == (client == "py")


@pytest.mark.parametrize("client", MICRO)
def test_a_micro_service_answers_like_any_worker_and_its_error_is_the_status(files_stack, workers, client):
    good = ask(files_stack.gateway, f"{client}.test", "POST", "/micro", body=b"hello")
    if client == "c" and good.status == 503:
        pytest.skip("this cnats has no services (since 3.7)")
    assert (good.status, good.body, good.own()) == (200, b"ok", [])
    bad = ask(files_stack.gateway, f"{client}.test", "POST", "/micro", body=b"error")
    assert (bad.status, bad.own()) == (404, [])
    assert b"secret text" not in bad.body


# --- a worker that is stuck ---


@pytest.fixture(params=["", "no_fast_producer_stall: true"], ids=["default", "no_fast_producer_stall"])
def two_workers(request, tmp_path):
    """Workers "stuck" and "quick" behind a gateway with one connection to a NATS server of their own."""
    made = SimpleNamespace(config=request.param, routes=tmp_path / "routes", nats=NatsServer(tmp_path, config=request.param))
    made.routes.mkdir()
    made.controller = Controller(tmp_path, made.nats.url, "--routes", made.routes)
    made.gateway = Gateway(tmp_path, made.nats.url, "gw-0", "--loops", "1")
    made.stuck, made.quick = (Process(name, ["go-worker", made.nats.url, name], tmp_path) for name in ("stuck", "quick"))
    documents = [routes_of("stuck"), routes_of("quick")]
    for rule in documents[0]["spec"]["rules"]:
        rule["timeout"] = "20ms"
    try:
        for process in (made.nats, made.controller, made.gateway, made.stuck, made.quick):
            process.start()
        made.gateway.wait_ready()
        put_routes(made, documents)
        for process in (made.stuck, made.quick):
            eventually(lambda: answers(made.gateway, process.name, process))
        yield made
    finally:
        if made.stuck.running:
            made.stuck.signal(signal.SIGCONT)
        stop_all([made.stuck, made.quick, made.gateway, made.controller, made.nats])


def test_a_stuck_worker_fails_its_own_route_only(two_workers):
    gateway, failures, done = two_workers.gateway, [], threading.Event()

    def ask_stuck(body):
        answer = ask(gateway, "stuck.test", "POST", "/report", body=body)
        failures.append((answer.status, json.loads(answer.body)["reason"]))

    def keep_asking():
        while not done.is_set():
            ask_stuck(b"x" * 100)

    two_workers.stuck.signal(signal.SIGSTOP)
    for _ in range(64):  # 58 MB: past 48 MiB the server stalls publishers, past 64 MiB it cuts the worker off
        ask_stuck(BIG)
    clients = [threading.Thread(target=keep_asking) for _ in range(4)]
    for client in clients:
        client.start()
    statuses = [ask(gateway, "quick.test", "GET", "/report").status for _ in range(300)]
    done.set()
    for client in clients:
        client.join()

    assert statuses == [200] * 300
    assert set(failures) <= {(504, "timeout"), (503, "no-responders")}
    assert gateway.metric("metropolis_nats_disconnects_total") == 0
    if two_workers.config:  # then a worker so far behind counts as none, and nobody waits for it
        assert failures[-1] == (503, "no-responders")
        assert "stalled" not in two_workers.nats.log
    two_workers.stuck.signal(signal.SIGCONT)
    eventually(lambda: ask(gateway, "stuck.test", "GET", "/report").status == 200)
