"""Clients as they come: slow, half-closed, vanishing, greedy, behind proxies; and how a gateway leaves."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
import yaml

from harness import BUILD, PATIENCE_S, Gateway, Worker, eventually, route

REQUEST = b"GET /c/quick HTTP/1.1\r\nHost: clients.test\r\n\r\n"


@pytest.fixture(scope="module")
def routes(files_stack):
    """Routes under the host clients.test, and what answers them."""
    documents = [
        route("c-quick", "/c/quick", method=None, hostnames=["clients.test"]),
        route("c-slow", "/c/slow", timeout="20s", hostnames=["clients.test"]),
        route("c-big", "/c/big", hostnames=["clients.test"]),
        route("c-mute", "/c/mute", timeout="100ms", hostnames=["clients.test"]),
        route("c-headers", "/c/headers", hostnames=["clients.test"]),
    ]
    for document in documents:
        document["metadata"]["namespace"] = "test"
    (files_stack.routes / "clients.yaml").write_text(yaml.safe_dump_all(documents))
    worker = Worker(files_stack.nats.url)

    async def slow(message):
        await asyncio.sleep(0.6)
        return b"slow"

    worker.serve("c.quick.*", lambda m: b"quick")
    worker.serve("c.slow.GET", slow)
    worker.serve("c.mute.GET", lambda m: None)
    worker.serve("c.big.GET", lambda m: b"x" * 900_000)
    worker.serve("c.headers.GET", lambda m: json.dumps(dict(m.headers)).encode())
    yield worker
    worker.close()


def started(directory, stack, *options, name="gw-clients"):
    gateway = Gateway(directory, stack.nats.url, name, "--loops", "1", *options)
    gateway.start().wait_ready()
    eventually(lambda: gateway.get("/c/quick", "clients.test").status_code == 200)
    return gateway


@pytest.fixture(scope="module")
def tight(tmp_path_factory, files_stack, routes):
    made = started(
        tmp_path_factory.mktemp("tight"), files_stack, "--head-timeout", "300ms", "--body-timeout", "400ms",
        "--idle-timeout", "500ms", "--write-timeout", "400ms", "--connections-max", "12", "--access-log", "json",
        "--server-header", "metropolis",
    )
    yield made
    assert made.stop() == 0


@pytest.fixture
def proxied(tmp_path, files_stack, routes):
    made = started(tmp_path, files_stack, "--trusted-proxies", "127.0.0.0/8,10.0.0.0/8")
    yield made
    assert made.stop() == 0


@contextlib.contextmanager
def leaving_behind(gateway):
    """Whatever the test finds, the gateway is gone afterwards."""
    try:
        yield
    finally:
        if gateway.running:
            gateway.signal(signal.SIGTERM)
            gateway.signal(signal.SIGTERM)
        gateway.popen.wait(PATIENCE_S)


def connect(gateway, **options):
    host, port = gateway.address.split(":")
    sock = socket.create_connection((host, int(port)), PATIENCE_S)
    for option, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    return sock


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


def reset(sock):
    """Closes with a reset, as a crashed client's kernel does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_head_that_does_not_arrive_is_408(tight):
    before = tight.metric("metropolis_http_timeouts_total", phase="head")
    with connect(tight) as sock:
        sock.sendall(REQUEST[:20])
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"\r\nConnection: close\r\n" in answer
    assert tight.metric("metropolis_http_timeouts_total", phase="head") == before + 1


def test_a_head_that_drips_is_408_all_the_same(tight):
    begin = time.monotonic()
    with connect(tight) as sock:
        try:
            for byte in REQUEST[:-2]:
                sock.send(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begin < 5


def test_a_body_that_does_not_arrive_is_408_and_reaches_nobody(tight, routes):
    seen = len(routes.seen)
    with connect(tight) as sock:
        sock.sendall(b"POST /c/quick HTTP/1.1\r\nHost: clients.test\r\nContent-Length: 10\r\n\r\n12345")
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")
    assert len(routes.seen) == seen


def test_an_idle_connection_is_closed_without_a_word(tight):
    with connect(tight) as sock:
        sock.sendall(REQUEST)
        answer = read_all(sock)
    assert answer.count(b"HTTP/1.1") == 1 and answer.endswith(b"quick")
    with connect(tight) as sock:
        assert read_all(sock) == b""


def test_a_half_closed_client_gets_its_answer(tight):
    with connect(tight) as sock:
        sock.sendall(REQUEST.replace(b"quick", b"slow"))
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).endswith(b"slow")


def test_a_vanished_client_is_counted_and_its_reply_is_late(tight, routes):
    vanished = tight.metric("metropolis_http_clients_vanished_total")
    late = tight.metric("metropolis_nats_late_replies_total")
    seen = len(routes.seen)
    sock = connect(tight)
    sock.sendall(REQUEST.replace(b"quick", b"slow"))
    eventually(lambda: len(routes.seen) == seen + 1)
    reset(sock)
    eventually(lambda: tight.metric("metropolis_http_clients_vanished_total") == vanished + 1)
    eventually(lambda: tight.metric("metropolis_nats_late_replies_total") == late + 1)
    assert tight.metric("metropolis_requests_in_flight") == 0


def test_a_client_that_does_not_read_is_cut_off(tight):
    before = tight.metric("metropolis_http_timeouts_total", phase="write")
    with connect(tight, SO_RCVBUF=4096) as sock:
        sock.sendall(REQUEST.replace(b"quick", b"big") * 8)
        eventually(lambda: tight.metric("metropolis_http_unsent_bytes") > 0)
        eventually(lambda: tight.metric("metropolis_http_timeouts_total", phase="write") > before)
    eventually(lambda: tight.metric("metropolis_http_unsent_bytes") == 0)


def test_a_slow_reader_gets_all_of_it(tight):
    with connect(tight, SO_RCVBUF=65536) as sock:
        sock.sendall(REQUEST.replace(b"quick", b"big").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = 0
        while part := sock.recv(50_000):
            received += len(part)
            time.sleep(0.03)
    assert received > 900_000


def test_connections_over_the_limit_get_503_and_a_close(tight):
    eventually(lambda: tight.metric("metropolis_http_connections") <= 1)
    before = tight.metric("metropolis_http_connections_refused_total")
    held = [connect(tight) for _ in range(12)]
    try:
        extra = connect(tight)
        answer = read_all(extra)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer
        assert tight.metric("metropolis_http_connections_refused_total") > before
    finally:
        for sock in held:
            sock.close()
    eventually(lambda: tight.metric("metropolis_http_connections") <= 1)
    with connect(tight) as sock:
        sock.sendall(REQUEST)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_requests_pipelined_without_end_do_not_grow_the_gateway(tight):
    with connect(tight) as sock:
        sock.settimeout(1)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += sock.send(REQUEST * 1000)
        except (socket.timeout, ConnectionError):
            pass  # the gateway stops reading, and cuts off who does not take its answers
        assert sent < 64 << 20
        resident = int(open(f"/proc/{tight.popen.pid}/statm").read().split()[1]) * 4096
        assert tight.metric("metropolis_http_unsent_bytes") < 4 << 20
        assert tight.metric("metropolis_http_buffered_bytes") < 1 << 15  # its first buffer
    assert resident < 1 << 30  # sanitizers included


def test_the_server_header_is_as_configured(tight, gateway):
    assert tight.get("/c/quick", "clients.test").headers["Server"] == "metropolis"
    assert "Server" not in gateway.get("/echo").headers


def test_the_access_log_says_what_happened(tight):
    answer = tight.get("/c/quick?x=%22", "clients.test", headers={"User-Agent": 'a"b'})

    def line():
        lines = (json.loads(text) for text in tight.log.splitlines() if text.startswith('{"time"'))
        return next((entry for entry in lines if entry["requestId"] == answer.headers["X-Request-Id"]), None)

    entry = eventually(line)
    assert entry["status"] == 200 and entry["bytes"] == 5
    assert entry["duration"] >= entry["upstream"] > 0
    assert (entry["method"], entry["target"], entry["userAgent"]) == ("GET", "/c/quick?x=%22", 'a"b')
    assert (entry["route"], entry["subject"]) == ("test/c-quick", "c.quick.GET")
    assert "reason" not in entry
    answer = tight.get("/c/none", "clients.test")
    assert eventually(line)["reason"] == "no-route" and line()["upstream"] == 0


def test_a_client_that_left_has_a_line_of_the_access_log_too(tight, routes):
    seen = len(routes.seen)
    sock = connect(tight)
    sock.sendall(REQUEST.replace(b"quick", b"slow?gone"))
    eventually(lambda: len(routes.seen) == seen + 1)
    reset(sock)
    line = eventually(lambda: next((text for text in tight.log.splitlines() if "slow?gone" in text), None))
    entry = json.loads(line)
    assert (entry["status"], entry["bytes"], entry["reason"]) == (499, 0, "client-gone")
    assert entry["route"] == "test/c-slow" and entry["duration"] >= entry["upstream"] > 0


COMBINED = re.compile(
    r'(?P<peer>\S+) - - \[(?P<time>[^]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d+) (?P<bytes>\d+)'
    r' "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" (?P<duration>\d+\.\d{6}) (?P<upstream>\d+\.\d{6}|-)'
    r' "(?P<route>[^"]*)" "(?P<subject>[^"]*)" "(?P<reason>[^"]*)" "(?P<id>[^"]*)"')


def test_a_combined_line_says_where_the_request_went_and_what_it_took(tmp_path, files_stack, routes):
    gateway = started(tmp_path, files_stack, "--access-log", "combined")

    def line(answer):
        matches = (COMBINED.fullmatch(text) for text in gateway.log.splitlines())
        return next((match for match in matches if match and match["id"] == answer.headers["X-Request-Id"]), None)

    try:
        served = gateway.get("/c/quick?x=%22", "clients.test", headers={"User-Agent": 'a"b'})
        entry = eventually(lambda: line(served))
        assert (entry["request"], entry["status"], entry["bytes"]) == ("GET /c/quick?x=%22 HTTP/1.1", "200", "5")
        assert (entry["peer"], entry["referer"], entry["agent"]) == ("127.0.0.1", "-", 'a\\"b')
        assert (entry["route"], entry["subject"], entry["reason"]) == ("test/c-quick", "c.quick.GET", "-")
        assert float(entry["duration"]) >= float(entry["upstream"]) > 0
        refused = gateway.get("/c/none", "clients.test")
        entry = eventually(lambda: line(refused))
        assert (entry["status"], entry["route"], entry["subject"], entry["upstream"]) == ("404", "-", "-", "-")
        assert entry["reason"] == "no-route"
    finally:
        assert gateway.stop() == 0


def test_a_timeout_is_logged_at_once(tmp_path, files_stack, routes):
    """Also on a loop to which nothing else happens."""
    gateway = started(tmp_path, files_stack, "--access-log", "json")
    try:
        with connect(gateway) as sock:
            time.sleep(3)  # NATS' first ping is over
            sock.sendall(REQUEST.replace(b"quick", b"mute"))
            assert sock.recv(12) == b"HTTP/1.1 504"
            eventually(lambda: '"reason":"timeout"' in gateway.log, 1)
    finally:
        assert gateway.stop() == 0


def test_routes_are_counted_one_by_one_where_asked(tmp_path, files_stack, routes):
    counting = started(tmp_path, files_stack, "--route-metrics", "100")
    try:
        before = counting.metric("metropolis_route_requests_total", route="c-quick", status="2xx")
        for _ in range(3):
            counting.get("/c/quick", "clients.test")
        labels = {"namespace": "test", "route": "c-quick"}
        assert counting.metric("metropolis_route_requests_total", **labels, status="2xx") == before + 3
        assert counting.metric("metropolis_route_duration_seconds_count", **labels) == before + 3
    finally:
        assert counting.stop() == 0
    assert "metropolis_route_" not in files_stack.gateway.get_admin("/metrics").text


def test_a_proxy_s_traces_are_sampled_anew_where_asked(tmp_path, files_stack, routes):
    sampling = started(tmp_path, files_stack, "--trusted-proxies", "127.0.0.0/8", "--trace-sample", "0.25",
                       "--trace-resample")
    try:
        for identity, flags in (("3f", "01"), ("40", "00")):  # the share goes by the id's last 16 digits
            trace = f"00-{'a' * 16}{identity}{'f' * 14}-{'b' * 16}-"
            seen = sampling.get("/c/headers", "clients.test", headers={"Traceparent": trace + "01"}).json()
            assert seen["Traceparent"] == trace + flags
    finally:
        assert sampling.stop() == 0


def test_of_strangers_only_the_connection_is_believed(tight, routes):
    answer = tight.get("/c/headers", "clients.test", headers={
        "X-Request-Id": "forged", "Traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test", "X-Real-Ip": "6.6.6.6", "Forwarded": "for=6",
    })
    seen = answer.json()
    assert answer.headers["X-Request-Id"] == seen["X-Request-Id"] != "forged"
    assert seen["Traceparent"].startswith("00-") and "a" * 32 not in seen["Traceparent"]
    assert seen["Metropolis-Remote-Addr"] == seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == seen["Metropolis-Scheme"] == "http"
    assert seen["X-Forwarded-Host"] == "clients.test"
    assert "X-Real-Ip" not in seen and "Forwarded" not in seen


def test_a_trusted_proxy_is_believed(proxied):
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = proxied.get("/c/headers", "clients.test", headers={
        "X-Request-Id": "from-the-edge", "Traceparent": trace, "X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.1.2.3",
        "X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.test",
    })
    seen = answer.json()
    assert answer.headers["X-Request-Id"] == seen["X-Request-Id"] == "from-the-edge"
    assert seen["Traceparent"] == trace
    assert seen["X-Forwarded-For"] == "6.6.6.6, 203.0.113.9, 10.1.2.3, 127.0.0.1"
    assert seen["Metropolis-Remote-Addr"] == "203.0.113.9"  # 6.6.6.6 is a claim of that one
    assert seen["Metropolis-Scheme"] == seen["X-Forwarded-Proto"] == "https"
    assert seen["X-Forwarded-Host"] == "public.test"


@pytest.mark.parametrize("forwarded, client", [
    ("6.6.6.6, 203.0.113.9:4711, 10.1.2.3:80", "203.0.113.9"),
    ("[2001:db8::1]:4711, 10.1.2.3", "2001:db8::1"),
    ("2001:db8::1", "2001:db8::1"),
    ("[2001:db8::1, 10.1.2.3", "[2001:db8::1"),
])
def test_a_port_behind_a_forwarded_address_is_no_part_of_it(proxied, forwarded, client):
    seen = proxied.get("/c/headers", "clients.test", headers={"X-Forwarded-For": forwarded}).json()
    assert seen["Metropolis-Remote-Addr"] == client
    assert seen["X-Forwarded-For"] == f"{forwarded}, 127.0.0.1"


def test_while_draining_connections_are_taken_and_closed_after_their_answer(tmp_path, files_stack, routes):
    leaving = started(tmp_path, files_stack, "--drain-delay", "1s")
    with leaving_behind(leaving), connect(leaving) as kept, connect(leaving) as idle:
        kept.sendall(REQUEST)
        assert b"Connection: close" not in kept.recv(1000)
        leaving.popen.terminate()
        eventually(lambda: leaving.get_admin("/readyz").status_code == 503)
        assert leaving.get_admin("/healthz").status_code == 200
        kept.sendall(REQUEST)
        assert b"Connection: close" in read_all(kept)
        with connect(leaving) as late:
            late.sendall(REQUEST)
            answer = read_all(late)
            assert answer.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in answer
        assert read_all(idle) == b""
        assert leaving.popen.wait(PATIENCE_S) == 0


def test_a_slow_reader_does_not_hold_up_a_drain_after_its_answer(tmp_path, files_stack, routes):
    leaving = started(tmp_path, files_stack, "--drain-delay", "100ms")
    with leaving_behind(leaving), connect(leaving) as slow:
        while not leaving.metric("metropolis_http_unsent_bytes"):  # one more than the kernel holds
            answered = leaving.metric("metropolis_requests_total")
            slow.sendall(REQUEST.replace(b"quick", b"big"))
            eventually(lambda: leaving.metric("metropolis_requests_total") > answered)
        leaving.popen.terminate()  # its answer has begun, and said keep-alive
        eventually(lambda: "closing listeners" in leaving.log)
        begin = time.monotonic()
        answer = read_all(slow)
        assert b"Connection: close" not in answer and len(answer) > 900_000
        assert leaving.popen.wait(PATIENCE_S) == 0
        assert time.monotonic() - begin < 20


def test_a_second_signal_leaves_at_once(tmp_path, files_stack, routes):
    leaving = started(tmp_path, files_stack, "--drain-delay", "30s")
    with leaving_behind(leaving), connect(leaving) as sock:
        sock.sendall(REQUEST.replace(b"quick", b"slow"))
        leaving.popen.terminate()
        eventually(lambda: leaving.get_admin("/readyz").status_code == 503)
        begin = time.monotonic()
        leaving.signal(signal.SIGINT)
        assert leaving.popen.wait(PATIENCE_S) == 0
        assert time.monotonic() - begin < 5


def test_sighup_changes_nothing(files_stack, gateway):
    gateway.signal(signal.SIGHUP)
    eventually(lambda: "nothing to read anew" in gateway.log)
    assert gateway.get("/echo").status_code == 200


def test_a_request_on_a_connection_that_was_just_taken_is_answered_after_the_drain_delay(tmp_path, files_stack, routes):
    leaving = started(tmp_path, files_stack, "--drain-delay", "300ms")
    leaving.popen.terminate()
    time.sleep(0.1)  # draining: still accepts
    with socket.create_connection(leaving.address.split(":"), timeout=PATIENCE_S) as late:
        eventually(lambda: "closing listeners" in leaving.log)
        late.sendall(REQUEST)
        answer = read_all(late)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in answer
    assert leaving.popen.wait(PATIENCE_S) == 0
    leaving.stop()


def test_a_rolling_restart_behind_a_client_that_honours_close_loses_nothing(tmp_path, files_stack, routes):
    import http.client

    first = started(tmp_path, files_stack, "--drain-delay", "300ms", name="gw-first")
    second = Gateway(tmp_path, files_stack.nats.url, "gw-second")
    index = second.argv.index("--listen") + 1
    second.argv[index] = first.address  # both listen on one address, as pods behind a Service do
    failures, served, stop = [], [0], threading.Event()

    def client():
        connection = None
        while not stop.is_set():
            try:
                connection = connection or http.client.HTTPConnection(first.address, timeout=PATIENCE_S)
                connection.request("GET", "/c/quick", headers={"Host": "clients.test"})
                answer = connection.getresponse()
                assert answer.status == 200 and answer.read() == b"quick"
                served[0] += 1
                if answer.getheader("Connection") == "close":
                    connection.close()
                    connection = None
            except Exception as error:
                failures.append(repr(error))
                connection = None

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: served[0] > 50)
        second.start().wait_ready()
        assert first.stop() == 0
        before = served[0]
        eventually(lambda: served[0] > before + 50)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        first.stop()
        code = second.stop()
    assert failures == [] and code == 0


@pytest.mark.parametrize("options, named", [
    (["--listen", "localhost:80"], "listen"), (["--trusted-proxies", "10.0.0.0/40"], "trusted-proxies"),
    (["--loops", "0"], "loops"), (["--drain-delay", "5"], "drain-delay"), (["--access-log", "yes"], "access-log"),
    (["--trace-sample", "2"], "trace-sample"), (["--trace-sample", "-1"], "trace-sample"),
    (["--nats-pending-max", "4Ki"], "nats-pending-max"),
    (["--no-such-option", "1"], "no-such-option"), (["--nats", "http://x"], "nats"),
])
def test_a_bad_option_is_named_and_ends_with_2(options, named):
    done = subprocess.run(
        [BUILD / "metropolis-gateway", "--admin", "127.0.0.1:0", "--listen", "127.0.0.1:0", *options],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )
    assert done.returncode == 2 and named in done.stderr
