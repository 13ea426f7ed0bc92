"""How a rule's requests are delivered: sent again after "no responders" and after nothing else, at most so many at a time."""

import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from harness import PATIENCE_S, Gateway, eventually, route, stop_all


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
        answer = pool.submit(gateway.get, "/late", headers={"X-Mine": "1"})
        eventually(lambda: retries() >= 2)
        subscription = files_stack.worker.serve("late.GET", lambda message: b"here")
        assert answer.result(PATIENCE_S).text == "here"
    seen = files_stack.worker.seen[-1].headers
    assert seen["X-Mine"] == "1"
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
    host, port = gateway.address.split(":")
    with socket.create_connection((host, int(port))) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(b"GET /left HTTP/1.1\r\nHost: any.test\r\n\r\n")
        eventually(lambda: gateway.metric("metropolis_requests_in_flight") == 1)
    eventually(lambda: vanished() == 1)
    time.sleep(1)
    assert retries() == 0
    assert gateway.metric("metropolis_requests_in_flight") == 0


# --- at most so many at a time ---


class Held:
    """Answers nothing before release; counts what it holds."""

    def __init__(self, worker, subject):
        self.worker, self.replies = worker, []
        self.subscription = worker.serve(subject, lambda message: self.replies.append(message.reply))

    def release(self):
        while self.replies:
            self.worker.run(self.worker.client.publish(self.replies.pop(), b"done"))

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
    assert one_loop.metric("metropolis_problems_total", reason="limited") == 3
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

    def keep_asking():
        with files_stack.gateway.client.__class__(base_url=files_stack.gateway.url, timeout=PATIENCE_S) as client:
            statuses.append(client.get("/shared", headers={"Host": "any.test"}).status_code)

    clients = [threading.Thread(target=keep_asking) for _ in range(40)]
    for client in clients:
        client.start()
    eventually(lambda: len(held.replies) + len(statuses) == 40)
    assert len(held.replies) == 6
    assert statuses == [429] * 34
    held.release()
    for client in clients:
        client.join()
    held.close()
