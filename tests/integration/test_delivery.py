"""How a rule's requests are delivered: sent again after "no responders" and after nothing else, at most so many at a time."""

import contextlib
import multiprocessing
import re
import selectors
import signal
import socket
import statistics
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
import yaml

from harness import (
    BUILD, PATIENCE_S, Controller, Gateway, NatsServer, Process, Worker, eventually, free_port, route, stop_all,
)


def rule_of(document, **fields):
    document["spec"]["rules"][0].update(fields)
    return document


@pytest.fixture
def put(files_stack):
    """Makes these the Routes of the gateway, in the namespace "load"; afterwards there are none."""

    def put_routes(*documents):
        for document in documents:
            document["metadata"]["namespace"] = "load"
        hidden = files_stack.routes / "load.tmp"
        hidden.write_text(yaml.safe_dump_all(documents))
        hidden.rename(files_stack.routes / "load.yaml")
        keys = {f"route.load.{document['metadata']['name']}" for document in documents}
        eventually(lambda: keys == {
            entry["key"] for entry in files_stack.gateway.get_admin("/table").json()["routes"]
            if entry["key"].startswith("route.load.")})

    yield put_routes
    (files_stack.routes / "load.yaml").write_text("")


def reason(answer):
    return answer.status_code, answer.json().get("reason")


def counted(gateway, name):
    """What a counter has gone up by since this call."""
    before = gateway.metric(name)
    return lambda: gateway.metric(name) - before


def test_a_worker_that_comes_within_the_attempts_is_found(files_stack, put):
    put(rule_of(route("late", "/late"), retry={"attempts": 8, "backoff": "20ms"}))
    gateway, retries = files_stack.gateway, counted(files_stack.gateway, "metropolis_retries_total")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.get, "/late", headers={"X-Mine": "1", "X-Odd": b"M\xfcller\t1"})
        eventually(lambda: retries() >= 2)
        for i in range(20):  # others use the loop's memory meanwhile
            gateway.get(f"/{'other' * i}", headers={"X-Odd": b"\xff" * 9})
        subscription = files_stack.worker.serve("late.GET", lambda message: b"here")
        assert answer.result(PATIENCE_S).text == "here"
    seen = files_stack.worker.seen[-1].headers
    assert (seen["X-Mine"], seen["X-Odd"]) == ("1", "Müller 1")
    assert seen["X-Request-Id"] == answer.result().headers["X-Request-Id"]
    assert seen["Traceparent"].split("-")[1] == seen["X-Request-Id"]
    assert int(seen["Metropolis-Timeout-Ms"]) < 30000 - 40  # what is left, after two waits at least
    files_stack.worker.unserve(subscription)


def test_a_body_is_sent_again_as_it_was(files_stack, put):
    put(rule_of(route("body", "/body", method=None), retry={"attempts": 8, "backoff": "20ms"}))
    gateway, retries, body = files_stack.gateway, counted(files_stack.gateway, "metropolis_retries_total"), b"b" * 200_000
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.request, "POST", "/body", content=body)
        eventually(lambda: retries() >= 1)
        subscription = files_stack.worker.serve("body.POST", lambda message: message.data)
        assert answer.result(PATIENCE_S).content == body
    files_stack.worker.unserve(subscription)


def test_attempts_end_with_503_after_the_back_off(files_stack, put):
    put(rule_of(route("nobody", "/nobody"), retry={"attempts": 2, "backoff": "50ms"}),
        rule_of(route("never", "/never")))
    gateway, retries = files_stack.gateway, counted(files_stack.gateway, "metropolis_retries_total")
    begun = time.monotonic()
    assert reason(gateway.get("/nobody")) == (503, "no-responders")
    assert time.monotonic() - begun >= 0.05 + 0.1
    assert retries() == 2
    assert reason(gateway.get("/never")) == (503, "no-responders")
    assert retries() == 2


def test_no_attempt_is_made_that_the_timeout_does_not_allow(files_stack, put):
    put(rule_of(route("short", "/short", timeout="200ms"), retry={"attempts": 10, "backoff": "150ms"}),
        rule_of(route("shorter", "/shorter", timeout="200ms"), retry={"attempts": 10, "backoff": "1m"}))
    gateway, retries = files_stack.gateway, counted(files_stack.gateway, "metropolis_retries_total")
    assert reason(gateway.get("/short")) == (503, "no-responders")
    assert retries() <= 1
    begun = time.monotonic()
    assert reason(gateway.get("/shorter")) == (503, "no-responders")
    assert time.monotonic() - begun < 30


def test_nothing_but_no_responders_is_sent_again(files_stack, put):
    put(rule_of(route("bad", "/bad"), retry={"attempts": 10, "backoff": "1ms"}),
        rule_of(route("mute", "/mute", timeout="100ms"), retry={"attempts": 10, "backoff": "1ms"}))
    gateway, worker = files_stack.gateway, files_stack.worker
    retries, seen = counted(gateway, "metropolis_retries_total"), len(worker.seen)
    subscriptions = [worker.serve("bad.GET", lambda message: (b"", {"Metropolis-Status": "503"})),
                     worker.serve("mute.GET", lambda message: None)]
    assert gateway.get("/bad").status_code == 503  # the worker's own
    assert reason(gateway.get("/mute")) == (504, "timeout")
    assert (retries(), len(worker.seen) - seen) == (0, 2)
    for subscription in subscriptions:
        worker.unserve(subscription)


def test_a_client_that_leaves_between_attempts_ends_them(files_stack, put):
    put(rule_of(route("left", "/left"), retry={"attempts": 1, "backoff": "500ms"}))
    gateway = files_stack.gateway
    retries, vanished = counted(gateway, "metropolis_retries_total"), counted(gateway, "metropolis_http_clients_vanished_total")
    client = leave(gateway, "/left")
    next(client)
    next(client)
    eventually(lambda: vanished() == 1)
    time.sleep(1)
    assert retries() == 0
    assert gateway.metric("metropolis_requests_in_flight") == 0


# --- nobody waits any more ---


def leave(gateway, path, how="reset"):
    """A client that asks and is gone before its answer: by a reset, or by an orderly end."""
    host, port = gateway.address.split(":")
    in_flight = gateway.metric("metropolis_requests_in_flight")
    with socket.create_connection((host, int(port))) as s:
        if how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: any.test\r\n\r\n".encode())
        eventually(lambda: gateway.metric("metropolis_requests_in_flight") == in_flight + 1)
        yield
    yield


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_worker_that_listens_is_told_when_its_client_left_or_got_504(files_stack, put, how):
    put(rule_of(route("told", "/told"), cancel=True), rule_of(route("slow", "/slow", timeout="100ms"), cancel=True),
        route("untold", "/untold"))
    gateway, worker, told = files_stack.gateway, files_stack.worker, []
    subscriptions = [worker.serve(f"{name}.GET", lambda message: None) for name in ("told", "slow", "untold")]
    subscriptions.append(worker.serve("metropolis.cancel.*", lambda message: told.append(message), queue=""))
    count = counted(gateway, "metropolis_nats_cancels_total")
    seen = len(worker.seen)

    client = leave(gateway, "/told", how)
    next(client)
    eventually(lambda: len(worker.seen) == seen + 1)
    subject = worker.seen[-1].headers["Metropolis-Cancel"]
    assert subject.startswith("metropolis.cancel.") and len(subject) >= 36
    assert subject.rpartition(".")[2] not in worker.seen[-1].reply
    assert not told
    next(client)
    eventually(lambda: [message.subject for message in told] == [subject])
    assert (told[0].data, told[0].reply) == (b"", "")

    assert reason(gateway.get("/slow")) == (504, "timeout")
    eventually(lambda: len(told) == 2)
    assert told[1].subject == next(
        m.headers["Metropolis-Cancel"] for m in worker.seen[seen:] if m.headers and m.headers.get("Metropolis-Path") == "/slow")

    seen = len(worker.seen)
    client = leave(gateway, "/untold")
    next(client)
    eventually(lambda: len(worker.seen) == seen + 1)
    assert "Metropolis-Cancel" not in worker.seen[-1].headers
    next(client)
    eventually(lambda: gateway.metric("metropolis_requests_in_flight") == 0)
    assert (count(), len(told)) == (2, 2)
    for subscription in subscriptions:
        worker.unserve(subscription)


def test_a_worker_on_the_library_leaves_off_when_its_client_left(files_stack, put, tmp_path):
    put(rule_of(route("work", "/work", "lib.work.{method}"), cancel=True))
    gateway = files_stack.gateway
    with Process("worker", [BUILD / "tests" / "workers" / "worker_library", files_stack.nats.url, "lib"], tmp_path) as worker:
        eventually(lambda: gateway.metric("metropolis_nats_requests_total") and "connected" in worker.log)
        time.sleep(0.2)
        for _ in range(2):  # the first one makes the worker subscribe
            client = leave(gateway, "/work")
            next(client)
            time.sleep(0.3)
            next(client)
        eventually(lambda: worker.log.count("cancelled after") == 2)
        left_ms = [int(ms) for ms in re.findall(r"cancelled after (\d+) ms left", worker.log)]
        assert all(ms > 10000 for ms in left_ms)
        assert "worked on" not in worker.log


def test_cancels_that_nats_refuses_are_counted_and_said_once(tmp_path):
    (tmp_path / "routes").mkdir()
    nats = NatsServer(tmp_path, config='''
        authorization { users: [
          {user: all, password: p}
          {user: gw, password: p, permissions: {publish: ["told.>"], subscribe: ["_METROPOLIS.>"]}} ] }''').start()
    everyone = f"nats://all:p@127.0.0.1:{nats.port}"
    (tmp_path / "routes" / "told.yaml").write_text(yaml.safe_dump(
        rule_of(route("told", "/told", timeout="50ms"), cancel=True)))
    controller = Controller(tmp_path, everyone, "--routes", tmp_path / "routes").start()
    gateway = Gateway(tmp_path, f"nats://gw:p@127.0.0.1:{nats.port}", "gw-0", "--nats-table", everyone, "--loops", "1")
    worker = Worker(everyone)
    try:
        worker.serve("told.GET", lambda message: None)
        gateway.start().wait_ready()
        for _ in range(3):
            assert gateway.get("/told").status_code == 504
        eventually(lambda: gateway.metric("metropolis_nats_denied_total") == 3)
        assert gateway.log.count("metropolis.cancel.*") == 1
    finally:
        worker.close()
        stop_all([gateway, controller, nats])


# --- at most so many at a time ---


class Held:
    """Answers nothing before release; counts what it holds."""

    def __init__(self, worker, subject):
        self.worker, self.replies = worker, []
        self.subscription = worker.serve(subject, lambda message: self.replies.append(message.reply))

    def release(self, body=b"done"):
        while self.replies:
            self.worker.run(self.worker.client.publish(self.replies.pop(), body))

    def close(self):
        self.release()
        self.worker.unserve(self.subscription)


@pytest.fixture
def one_loop(files_stack, tmp_path):
    gateway = Gateway(tmp_path, files_stack.nats.url, "gw-one", "--loops", "1").start()
    gateway.wait_ready()
    yield gateway
    stop_all([gateway])


def test_a_rule_at_its_limit_answers_429_at_once_and_others_go_on(files_stack, one_loop, put):
    limited = rule_of(route("limited", "/limited"), limits={"inFlight": 3})
    put(limited, route("free", "/free"))
    eventually(lambda: len(one_loop.get_admin("/table").json()["routes"]) >= 2)
    held = Held(files_stack.worker, "limited.GET")
    free = files_stack.worker.serve("free.GET", lambda message: b"free")
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(one_loop.get, "/limited") for _ in range(3)]
        eventually(lambda: len(held.replies) == 3)
        refused = one_loop.get("/limited")
        assert reason(refused) == (429, "limited")
        assert refused.headers["Retry-After"] == "1"
        with socket.create_connection(one_loop.address.split(":")) as s:  # before a body is sent
            s.sendall(b"GET /limited HTTP/1.1\r\nHost: any.test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            assert s.recv(4096).startswith(b"HTTP/1.1 429 ")
        assert one_loop.get("/free").text == "free"

        # A change of another Route, and of this one, changes nothing in what is counted.
        put(limited, route("other", "/other"), route("free", "/free"))
        eventually(lambda: one_loop.get("/other").status_code == 503)
        assert reason(one_loop.get("/limited")) == (429, "limited")
        put(rule_of(route("limited", "/limited", timeout="20s"), limits={"inFlight": 4}), route("free", "/free"))
        waiting.append(pool.submit(one_loop.get, "/limited"))
        eventually(lambda: len(held.replies) == 4)
        assert reason(one_loop.get("/limited")) == (429, "limited")

        held.release()
        assert [answer.result(PATIENCE_S).text for answer in waiting] == ["done"] * 4
        again = pool.submit(one_loop.get, "/limited")
        eventually(lambda: len(held.replies) == 1)
        held.release()
        assert again.result(PATIENCE_S).text == "done"
    assert one_loop.metric("metropolis_problems_total", reason="limited") == 4
    held.close()
    files_stack.worker.unserve(free)


def test_every_way_to_end_gives_a_place_back(files_stack, one_loop, put):
    put(rule_of(route("ends", "/ends", timeout="100ms"), limits={"inFlight": 1}, retry={"attempts": 1, "backoff": "10ms"}))
    eventually(lambda: one_loop.get("/ends").status_code == 503)  # no responders, after a retry
    held = Held(files_stack.worker, "ends.GET")
    assert reason(one_loop.get("/ends")) == (504, "timeout")
    assert reason(one_loop.get("/ends")) == (504, "timeout")
    held.close()


def test_a_limit_is_shared_out_over_the_loops_of_a_pod(files_stack, put):
    """The module's gateway has two loops: three each of five, so six at most and five at least."""
    put(rule_of(route("shared", "/shared"), limits={"inFlight": 5}))
    held = Held(files_stack.worker, "shared.GET")
    statuses = []

    def ask():
        with files_stack.gateway.client.__class__(base_url=files_stack.gateway.url, timeout=PATIENCE_S) as client:
            statuses.append(client.get("/shared", headers={"Host": "any.test"}).status_code)

    clients = [threading.Thread(target=ask) for _ in range(40)]
    for client in clients:
        client.start()
    eventually(lambda: len(held.replies) + len(statuses) == 40)
    assert len(held.replies) == 6
    assert statuses == [429] * 34
    held.release()
    for client in clients:
        client.join()
    held.close()


# --- replies that are expected to be large ---


def test_large_replies_are_spread_over_connections(files_stack, one_loop, put):
    """Else 64 MB could wait for one of them at the server, which would cut it off."""
    gateway, size = one_loop, 900_000
    put(route("large", "/large"))
    held = Held(files_stack.worker, "large.GET")
    with ThreadPoolExecutor(50) as pool:
        first = pool.submit(gateway.get, "/large")
        eventually(lambda: len(held.replies) == 1)
        held.release(b"x" * size)
        assert len(first.result(PATIENCE_S).content) == size
        assert gateway.metric("metropolis_nats_connections") == 1
        waiting = [pool.submit(gateway.get, "/large") for _ in range(30)]  # 27 MB: over half of what one may expect
        eventually(lambda: gateway.metric("metropolis_nats_connections") == 2)
        waiting += [pool.submit(gateway.get, "/large") for _ in range(20)]
        eventually(lambda: len(held.replies) == 50)
        assert gateway.metric("metropolis_nats_reserved_bytes") >= 50 * size
        held.release(b"x" * size)
        assert [len(answer.result(PATIENCE_S).content) for answer in waiting] == [size] * 50
    assert gateway.metric("metropolis_nats_disconnects_total") == 0
    assert gateway.metric("metropolis_nats_reserved_bytes") == 0
    held.close()


def test_a_burst_of_large_replies_waits_for_the_connections_that_it_needs(files_stack, one_loop, put):
    gateway, size = one_loop, 900_000
    put(route("large", "/large"))
    held = Held(files_stack.worker, "large.GET")
    retries = counted(gateway, "metropolis_retries_total")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.get, "/large")
        eventually(lambda: len(held.replies) == 1)
        held.release(b"x" * size)
        assert len(first.result(PATIENCE_S).content) == size
    assert gateway.metric("metropolis_nats_connections") == 1
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(gateway.address.split(":"))) for _ in range(120)]
        gateway.signal(signal.SIGSTOP)  # so that it sees them all at once
        for client in clients:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: any.test\r\n\r\n")
        gateway.signal(signal.SIGCONT)
        eventually(lambda: len(held.replies) == 120)  # 108 MB: four connections
        assert gateway.metric("metropolis_problems_total", reason="overloaded") == 0
        assert (gateway.metric("metropolis_nats_connections"), retries()) == (4, 0)
    held.close()


def test_headers_that_no_client_would_take_are_502(tmp_path):
    (tmp_path / "routes").mkdir()
    nats = NatsServer(tmp_path, config="max_payload: 8MB").start()
    (tmp_path / "routes" / "wide.yaml").write_text(yaml.safe_dump(route("wide", "/wide")))
    controller = Controller(tmp_path, nats.url, "--routes", tmp_path / "routes").start()
    gateway = Gateway(tmp_path, nats.url).start()
    worker = Worker(nats.url)
    try:
        worker.serve("wide.GET", lambda message: (b"", {"X-Wide": "x" * 3_000_000}))
        gateway.wait_ready()
        assert reason(gateway.get("/wide")) == (502, "bad-reply")
    finally:
        worker.close()
        stop_all([gateway, controller, nats])


# --- a worker that is stuck ---


class Stuck:
    """A worker that subscribes and then reads nothing more, ever; close lets go of what waits for it."""

    def __init__(self, server, subject):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(f'CONNECT {{"verbose":false,"headers":true}}\r\nSUB {subject} worker 1\r\nPING\r\n'.encode())
        heard = b""
        while b"PONG" not in heard:
            heard += self.socket.recv(4096)

    def close(self):
        self.socket.close()


@pytest.fixture(params=["alone", "one-of-two"])
def stalling(tmp_path, request):
    """A gateway of one loop on a NATS server that stalls publishers, with a stuck worker and a quick one.
    The stuck one is alone on its route, or has a colleague in its queue group."""
    made = SimpleNamespace(monitor=free_port(), routes=tmp_path / "routes")
    made.routes.mkdir()
    made.nats = NatsServer(tmp_path, config=f'http: "127.0.0.1:{made.monitor}"\nwrite_deadline: "120s"').start()
    made.controller = Controller(tmp_path, made.nats.url, "--routes", made.routes).start()
    made.gateway = Gateway(tmp_path, made.nats.url, "gw-0", "--loops", "1").start()
    (made.routes / "both.yaml").write_text(yaml.safe_dump_all([
        route("stuck", "/stuck", method=None, timeout="20ms"), route("quick", "/quick")]))
    made.gateway.wait_ready()
    made.worker = Worker(made.nats.url)
    made.worker.serve("quick.GET", lambda message: b"quick")
    made.stuck = Stuck(made.nats, "stuck.POST")
    if request.param == "one-of-two":
        made.worker.serve("stuck.POST", lambda message: b"")
    eventually(lambda: made.gateway.get("/quick").status_code == 200)
    eventually(lambda: made.gateway.request("POST", "/stuck").status_code == 504)
    yield made
    made.stuck.close()
    made.worker.close()
    stop_all([made.gateway, made.controller, made.nats])


def fill(stalling):
    """Requests for the stuck worker until the server stalls who publishes to it: from 48 MB (of 64) on."""
    for _ in range(240):
        stalling.gateway.request("POST", "/stuck", content=b"x" * 900_000)
        connections = httpx.get(f"http://127.0.0.1:{stalling.monitor}/connz").json()["connections"]
        if max(connection["pending_bytes"] for connection in connections) > 52_000_000:
            return
    raise AssertionError(f"the worker is not behind: {connections}")


def third_quartile(gateway, path, count=300):
    times = []
    for _ in range(count):
        begun = time.monotonic()
        assert gateway.get(path).status_code == 200
        times.append(time.monotonic() - begun)
    return statistics.quantiles(times, n=4)[2]


def keep_asking(address, clients=30):
    """A process of its own: so many clients at a time, out of step, each asks again as soon as it has its answer."""
    request = b"POST /stuck HTTP/1.1\r\nHost: any.test\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(socket.create_connection(address))
            client.sendall(request)
            selector.register(client, selectors.EVENT_READ)
            time.sleep(0.009)  # their timeouts are looked at every 8 ms
        while True:
            for key, _ in selector.select():
                key.fileobj.recv(65536)
                key.fileobj.sendall(request)


def test_a_stuck_worker_does_not_slow_other_routes(stalling):
    gateway = stalling.gateway
    asking = multiprocessing.Process(target=keep_asking, args=(gateway.address.split(":"),), daemon=True)
    asking.start()
    try:
        before = third_quartile(gateway, "/quick")
        fill(stalling)
        # The best of three: the machine may be busy for a moment, while a server that stalls us goes on doing so.
        after = min(third_quartile(gateway, "/quick") for _ in range(3))
    finally:
        asking.kill()
    assert gateway.metric("metropolis_nats_disconnects_total") == 0
    assert after < 3 * before + 0.002, f"third quartile {before * 1000:.2f} ms before, {after * 1000:.2f} ms after"
