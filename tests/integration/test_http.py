"""HTTP over NATS as a client and a worker see it: files instead of Kubernetes, all else is real."""

import asyncio
import json
import os
import resource
import socket
import threading
import time

import httpx
import pytest
import yaml

from harness import Gateway, NatsServer, Worker, eventually, route, subject_of


def names_in_force(gateway):
    """Of the namespace "test", whose name has no dot."""
    return {entry["key"].split(".", 2)[2] for entry in gateway.get_admin("/table").json()["routes"]}


@pytest.fixture
def serve(files_stack, request):
    """serve(route, ...) puts Routes in force and takes them away after the test."""
    path = files_stack.routes / f"{abs(hash(request.node.name))}.yaml"

    def put(*documents):
        for document in documents:
            document["metadata"]["namespace"] = "test"
            document["spec"].setdefault("hostnames", ["any.test"])
        hidden = path.with_suffix(".tmp")
        hidden.write_text(yaml.safe_dump_all(documents))
        hidden.rename(path)
        eventually(lambda: {d["metadata"]["name"] for d in documents} <= names_in_force(files_stack.gateway))

    yield put
    if path.exists():
        before = names_in_force(files_stack.gateway)
        gone = {d["metadata"]["name"] for d in yaml.safe_load_all(path.read_text())}
        path.unlink()
        eventually(lambda: names_in_force(files_stack.gateway) == before - gone)


@pytest.fixture
def worker(files_stack):
    made = Worker(files_stack.nats.url)
    yield made
    made.close()


@pytest.fixture
def gw(files_stack):
    return files_stack.gateway


def test_a_path_and_method_become_the_subject(serve, worker, gw):
    serve(route("derived", "/foo/bar"))
    worker.serve("foo.bar.GET", lambda m: b"hello")
    answer = gw.get("/foo/bar?data=1")
    assert (answer.status_code, answer.content) == (200, b"hello")
    headers = worker.seen[0].headers
    assert headers["Metropolis-Wire"] == "1"
    assert headers["Metropolis-Method"] == "GET"
    assert headers["Metropolis-Path"] == "/foo/bar"
    assert headers["Metropolis-Query"] == "data=1"
    assert headers["Metropolis-Host"] == "any.test"
    assert headers["Metropolis-Scheme"] == "http"
    assert headers["Metropolis-Route"] == "test/derived"
    assert 0 < int(headers["Metropolis-Timeout-Ms"]) <= 30000
    assert abs(int(headers["Metropolis-Sent-Ms"]) - time.time() * 1000) < 60000
    assert headers["X-Forwarded-For"] == "127.0.0.1"


@pytest.mark.parametrize("path, token", [
    ("/t/42", b"42"), ("/t/", b"~"), ("/t/a.b", b"a%2Eb"), ("/t/a%2Fb", b"a%2Fb"), ("/t/%61", b"a"),
    ("/t/*", b"%2A"), ("/t/%3E", b"%3E"), ("/t/a%20b", b"a%20b"), ("/t/%C3%BC", b"%C3%BC"), ("/t/~", b"%7E"),
    ("/t/$JS", b"%24JS"),
])
def test_a_parameter_is_exactly_one_token_whatever_it_holds(serve, worker, gw, path, token):
    serve(route("template", "/t/{id}", "get.{id}.{method}", kind="Template"))
    worker.serve("get.>", subject_of)
    assert gw.get(path).content == b"get." + token + b".GET"
    assert worker.seen[-1].headers["Metropolis-Param-id"] == token.decode()


@pytest.mark.parametrize("path", [
    "/o/%0d%0aPUB%20x%200%0d%0a", "/o/%00", "/o/%7f", "/o/%ff", "/o/%zz", "/o/%2", "/o/..", "/o/%2e%2E/x", "/o/.",
])
def test_bytes_that_no_subject_may_hold_are_refused_and_reach_nobody(serve, worker, gw, path):
    serve(route("open", "/", "{path...}.{method}", kind="Prefix", method=None))
    worker.serve(">", lambda m: None, queue="")
    before = len(worker.seen)
    with socket.create_connection(gw.address.split(":")) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert [m.subject for m in worker.seen[before:] if not m.subject.startswith(("$", "_"))] == []


@pytest.mark.parametrize("path", ["/$JS/API/STREAM/DELETE/X", "/_INBOX/x", "/metropolis/cancel/x", "//x"])
def test_the_open_mapping_reaches_no_reserved_subject(serve, worker, gw, path):
    serve(route("open2", "/", "{path...}.{method}", kind="Prefix", method=None))
    before = len(worker.seen)
    worker.serve("%24JS.>", subject_of)
    worker.serve("~.>", subject_of)
    answer = gw.get(path)
    if answer.status_code == 200:
        assert not answer.content.startswith((b"$", b"_", b"metropolis."))
    else:
        assert answer.status_code in (400, 404) and len(worker.seen) == before


def test_a_template_rest_becomes_several_tokens(serve, worker, gw):
    serve(route("rest", "/files/{rest...}", "files.{rest...}.{method}", kind="Template"))
    worker.serve("files.>", subject_of)
    assert gw.get("/files/a/b%2Fc/").content == b"files.a.b%2Fc.~.GET"
    assert gw.get("/files").status_code == 404


def test_hostnames_select_routes_and_an_unknown_host_is_404(serve, worker, gw):
    serve(
        route("exact", "/h", "host.exact", hostnames=["a.example.com"]),
        route("wild", "/h", "host.wild", hostnames=["*.example.com"]),
    )
    worker.serve("host.*", subject_of)
    assert gw.get("/h", "a.example.com").content == b"host.exact"
    assert gw.get("/h", "A.Example.COM:8080").content == b"host.exact"
    assert gw.get("/h", "x.y.example.com").content == b"host.wild"
    for host in ("example.com", "other.test"):
        answer = gw.get("/h", host)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == 404


def test_another_method_is_405_and_names_the_allowed_ones(serve, worker, gw):
    serve(route("get-only", "/only"))
    answer = gw.request("DELETE", "/only")
    assert answer.status_code == 405
    assert {m.strip() for m in answer.headers["Allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_its_own_subject(serve, worker, gw, method):
    serve(route("methods", "/m", method=None))
    worker.serve("m.*", lambda m: (m.subject + " ").encode() + m.data)
    body = b"" if method == "GET" else b"payload"
    assert gw.request(method, "/m", content=body).content == f"m.{method} ".encode() + body


def test_head_is_served_by_the_get_rule_without_a_body(serve, worker, gw):
    serve(route("head", "/head"))
    worker.serve("head.GET", lambda m: m.headers["Metropolis-Method"].encode())
    answer = gw.request("HEAD", "/head")
    assert (answer.status_code, answer.content) == (200, b"")
    assert worker.seen[-1].headers["Metropolis-Method"] == "HEAD"


def test_status_and_headers_come_from_the_worker(serve, worker, gw):
    serve(route("status", "/status"))
    worker.serve("status.GET", lambda m: (b"made", {
        "Metropolis-Status": "201", "Location": "/status/1", "Metropolis-Add-1": "Set-Cookie: a=1",
        "Metropolis-Add-2": "Set-Cookie: b=2", "Connection": "close", "X-Own": "yes",
    }))
    answer = gw.get("/status")
    assert (answer.status_code, answer.content) == (201, b"made")
    assert answer.headers["Location"] == "/status/1" and answer.headers["X-Own"] == "yes"
    assert answer.headers.get_list("Set-Cookie") == ["a=1", "b=2"]
    assert answer.headers.get("Connection", "keep-alive") == "keep-alive"


def test_client_headers_reach_the_worker_canonical_joined_and_without_hop_by_hop(serve, worker, gw):
    serve(route("headers", "/headers"))
    worker.serve("headers.GET", lambda m: json.dumps(dict(m.headers)).encode())
    got = httpx.get(f"{gw.url}/headers", headers=[
        ("Host", "any.test"), ("x-ONE", "1"), ("X-One", "2"), ("etag", "e"), ("Cookie", "a=1"), ("cookie", "b=2"),
        ("Connection", "x-secret"), ("X-Secret", "s"), ("Nats-Rollup", "all"), ("Metropolis-Method", "PUT"),
        ("X-Forwarded-For", "6.6.6.6"), ("Te", "trailers"),
    ])
    headers = got.json()
    assert headers["X-One"] == "1, 2" and headers["Etag"] == "e" and headers["Cookie"] == "a=1; b=2"
    assert headers["Metropolis-Method"] == "GET" and headers["X-Forwarded-For"] == "127.0.0.1"
    for name in ("X-Secret", "Nats-Rollup", "Connection", "Te", "Host"):
        assert name not in headers


def test_a_reply_that_echoes_the_request_shows_no_request_header(serve, worker, gw):
    serve(route("echoed", "/echoed"))

    async def respond(message):
        await message.respond(b"ok")  # nats-py sends the request's headers back

    worker.serve("echoed.GET", respond)
    answer = gw.get("/echoed", headers={"Authorization": "Bearer secret", "X-Mine": "1"})
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert "Authorization" not in answer.headers and "X-Mine" not in answer.headers


@pytest.mark.parametrize("headers", [
    {"Metropolis-Status": "199"}, {"Metropolis-Status": "abc"}, {"Metropolis-Status": "600"},
    {"Metropolis-Wire": "2"}, {"Metropolis-More": "1"},
])
def test_a_reply_that_version_1_does_not_know_is_502(serve, worker, gw, headers):
    serve(route("odd", "/odd"))
    worker.serve("odd.GET", lambda m: (b"x", headers))
    answer = gw.get("/odd")
    assert answer.status_code == 502 and answer.headers["Content-Type"] == "application/problem+json"


def test_a_service_error_of_a_micro_worker_is_its_status(serve, worker, gw):
    serve(route("micro", "/micro"))
    worker.serve("micro.GET", lambda m: (b"", {"Nats-Service-Error": "secret text", "Nats-Service-Error-Code": "404"}))
    answer = gw.get("/micro")
    assert answer.status_code == 404 and "secret text" not in answer.text


def test_the_text_of_a_service_error_is_shown_where_the_route_says_so(serve, worker, gw):
    document = route("shown", "/shown")
    document["spec"]["rules"][0]["serviceErrors"] = "Show"
    serve(document)
    headers = {"Nats-Service-Error": 'no "such" order', "Nats-Service-Error-Code": "404"}
    replies = [(b"", headers), (b"mine", headers), (b"", {"Metropolis-Status": "404", **headers})]
    worker.serve("shown.GET", lambda m: replies[len(worker.seen) - 1])
    answer = gw.get("/shown")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == 'no "such" order'
    assert gw.get("/shown").text == "mine"  # a body of its own
    assert gw.get("/shown").text == ""  # the worker speaks HTTP over NATS: it has said all


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 900_000])
def test_bodies_cross_unchanged_in_both_directions(serve, worker, gw, size):
    serve(route("body", "/body", method="POST"))
    worker.serve("body.POST", lambda m: m.data)
    body = bytes(i * 7 % 256 for i in range(size))
    assert gw.request("POST", "/body", content=body).content == body
    chunked = gw.request("POST", "/body", content=(body[i:i + 10000] for i in range(0, size, 10000)))
    assert chunked.content == body


def test_a_body_over_max_payload_is_413_and_the_connection_to_nats_lives_on(serve, worker, gw):
    serve(route("big", "/big", method="POST"))
    worker.serve("big.POST", lambda m: b"ok")
    assert gw.request("POST", "/big", content=b"x" * (1 << 20)).status_code == 413
    assert gw.request("POST", "/big", content=b"x").content == b"ok"
    assert gw.metric("metropolis_nats_disconnects_total") == 0


def test_without_a_worker_the_answer_is_503_at_once(serve, gw):
    serve(route("nobody", "/nobody", timeout="20s"))
    begin = time.monotonic()
    answer = gw.get("/nobody")
    assert answer.status_code == 503 and time.monotonic() - begin < 5
    assert answer.json()["status"] == 503


def test_a_worker_that_is_too_slow_is_504_and_its_late_reply_reaches_nobody(serve, worker, gw):
    serve(route("slow", "/slow", timeout="200ms"), route("quick", "/quick"))

    async def slow(message):
        await asyncio.sleep(0.6)
        return b"late"

    worker.serve("slow.GET", slow)
    worker.serve("quick.GET", lambda m: b"quick")
    answer = gw.get("/slow")
    assert answer.status_code == 504
    assert gw.get("/quick").content == b"quick"
    time.sleep(0.8)
    assert gw.get("/quick").content == b"quick"
    eventually(lambda: gw.metric("metropolis_nats_late_replies_total") >= 1)


def test_a_jetstream_ack_is_not_taken_for_an_answer(serve, worker, gw):
    serve(route("captured", "/captured"))
    worker.run(worker.client.jetstream().add_stream(name="CAPTURE", subjects=["captured.GET"]))
    try:
        answer = gw.get("/captured")
        assert answer.status_code == 502
    finally:
        worker.run(worker.client.jetstream().delete_stream("CAPTURE"))


def test_weights_divide_the_requests(serve, worker, gw):
    document = route("weights", "/w")
    document["spec"]["rules"][0]["backends"] = [{"subject": "w.a", "weight": 3}, {"subject": "w.b", "weight": 1},
                                                {"subject": "w.c", "weight": 0}]
    serve(document)
    worker.serve("w.*", subject_of)
    answers = [gw.get("/w").content for _ in range(400)]
    assert answers.count(b"w.c") == 0
    assert 240 <= answers.count(b"w.a") <= 360  # 300 expected; 7 standard deviations


def test_header_and_query_conditions_choose_the_rule(serve, worker, gw):
    plain = route("plain", "/c", "cond.plain")
    gold = route("gold", "/c", "cond.gold")
    gold["spec"]["rules"][0]["matches"][0]["headers"] = [{"name": "X-Tier", "value": "gold"}]
    verbose = route("verbose", "/c", "cond.verbose")
    verbose["spec"]["rules"][0]["matches"][0]["queryParams"] = [{"name": "v", "value": "a b"}]
    serve(plain, gold, verbose)
    worker.serve("cond.*", subject_of)
    assert gw.get("/c").content == b"cond.plain"
    assert gw.get("/c", headers={"x-tier": "gold"}).content == b"cond.gold"
    assert gw.get("/c", headers={"x-tier": "Gold"}).content == b"cond.plain"
    assert gw.get("/c?v=a+b").content == b"cond.verbose"
    assert gw.get("/c?v=a%20b").content == b"cond.verbose"


def test_pipelined_requests_are_answered_in_order(serve, worker, gw):
    serve(route("pipe", "/pipe/{n}", kind="Template"))
    worker.serve("pipe.*.GET", subject_of)
    with socket.create_connection(gw.address.split(":")) as s:
        s.sendall(b"".join(b"GET /pipe/%d HTTP/1.1\r\nHost: any.test\r\n%s\r\n" % (
            i, b"Connection: close\r\n" if i == 9 else b"") for i in range(10)))
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert [answer.find(b"pipe.%d.GET" % i) for i in range(10)] == sorted(
        answer.find(b"pipe.%d.GET" % i) for i in range(10)) and b"pipe.0.GET" in answer


def test_sigterm_finishes_what_is_in_flight_and_refuses_nothing_before(files_stack, serve, worker, tmp_path):
    serve(route("drain", "/drain", timeout="20s"))

    async def slow(message):
        await asyncio.sleep(0.7)
        return b"finished"

    worker.serve("drain.GET", slow)
    leaving = Gateway(tmp_path, files_stack.nats.url, "gw-leaving")
    leaving.start().wait_ready()
    answers = []
    client = threading.Thread(target=lambda: answers.append(leaving.get("/drain")))
    client.start()
    eventually(lambda: len(worker.seen) == 1)
    leaving.popen.terminate()
    eventually(lambda: leaving.get_admin("/readyz").status_code == 503)
    client.join()
    assert answers[0].content == b"finished"
    assert leaving.popen.wait(10) == 0  # by itself: a second SIGTERM would end it at once
    leaving.stop()


def test_a_lost_connection_to_nats_answers_what_is_in_flight(files_stack, tmp_path):
    server = NatsServer(tmp_path)
    server.start()
    from harness import Controller

    routes = tmp_path / "routes"
    routes.mkdir()
    (routes / "r.yaml").write_text(yaml.safe_dump({**route("hang", "/hang", timeout="20s"),
                                                   "metadata": {"name": "hang", "namespace": "test"}}))
    controller = Controller(tmp_path, server.url, "--routes", routes)
    gateway = Gateway(tmp_path, server.url)
    with controller, gateway:
        gateway.wait_ready()
        hung = Worker(server.url)
        hung.serve("hang.GET", lambda m: None)
        answers = []
        eventually(lambda: gateway.request("DELETE", "/hang").status_code == 405)
        client = threading.Thread(target=lambda: answers.append(gateway.get("/hang")))
        client.start()
        eventually(lambda: len(hung.seen) == 1)
        begin = time.monotonic()
        server.kill()
        client.join()
        assert time.monotonic() - begin < 10
        assert answers[0].status_code == 502 and "Retry-After" not in answers[0].headers
        assert "outcome" in answers[0].text
        assert gateway.get("/hang").status_code == 503
        assert gateway.get_admin("/healthz").status_code == 200
        assert gateway.get_admin("/readyz").status_code == 200  # once ready, losing NATS changes nothing
        hung.close()


def test_the_poc_example_answers_in_reverse(files_stack, serve, gw, tmp_path):
    from harness import BUILD, Process

    serve(route("foo", "/foo"))
    with Process("reverser", [BUILD / "examples" / "reverser", "--nats", files_stack.nats.url], tmp_path) as worker:
        eventually(lambda: gw.get("/foo?data=asdf").status_code == 200)
        assert gw.get("/foo?data=asdf").text.strip() == "fdsa"
        worker.popen.terminate()
        assert worker.popen.wait(10) == 0


def test_running_out_of_descriptors_is_said_once_and_passes(tmp_path):
    with Gateway(tmp_path, "nats://127.0.0.1:1") as gateway:
        eventually(lambda: gateway.get("/").status_code == 503)
        limit = len(os.listdir(f"/proc/{gateway.popen.pid}/fd")) + 2
        resource.prlimit(gateway.popen.pid, resource.RLIMIT_NOFILE, (limit, limit))
        host, port = gateway.address.split(":")
        held = [socket.create_connection((host, int(port))) for _ in range(30)]
        eventually(lambda: "(ulimit -n)" in gateway.log)
        time.sleep(2)
        assert gateway.log.count("(ulimit -n)") <= 2  # of each loop one
        for connection in held:
            connection.close()
        with httpx.Client() as client:
            eventually(lambda: client.get(gateway.url).status_code == 503)
