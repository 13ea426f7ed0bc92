"""Strangers who mean harm: a gateway's memory stays within its limits, and who behaves is served."""

import contextlib
import os
import resource
import signal
import socket
import time

import pytest
import yaml

from harness import PATIENCE_S, Gateway, NatsServer, Controller, Worker, eventually, route, stop_all

REQUEST = b"GET /a/quick HTTP/1.1\r\nHost: attacks.test\r\n\r\n"
CROWD = 3000


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    """Both ends of a crowd's connections; programs raise their own limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CROWD + 500 if before[1] == resource.RLIM_INFINITY else min(CROWD + 500, before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Site:
    """A NATS, a controller and a worker of this module's own: some tests stop the server."""

    def __init__(self, directory):
        self.directory = directory
        documents = [
            route("quick", "/a/quick", hostnames=["attacks.test"]),
            route("open", "/a/open/{rest...}", "attacks.open.{rest...}", kind="Template", hostnames=["attacks.test"]),
            route("asks", "/a/asks", "attacks.asks", hostnames=["attacks.test"]),
        ]
        documents[2]["spec"]["rules"][0]["matches"][0]["queryParams"] = [{"name": "last", "value": "1"}]
        for document in documents:
            document["metadata"]["namespace"] = "test"
        (directory / "routes").mkdir()
        (directory / "routes" / "all.yaml").write_text(yaml.safe_dump_all(documents))
        self.nats = NatsServer(directory).start()
        self.controller = Controller(directory, self.nats.url, "--routes", directory / "routes").start()
        self.worker = Worker(self.nats.url)
        for subject in ("a.quick.GET", "attacks.open.>", "attacks.asks"):
            self.worker.serve(subject, lambda message: b"quick")
        self.controller.wait_ready()

    @contextlib.contextmanager
    def gateway(self, *options):
        gateway = Gateway(self.directory, self.nats.url, "gw-attacked", "--loops", "1", *options)
        # What a sanitizer keeps back of freed memory would look like a leak.
        gateway.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
        gateway.start().wait_ready()
        eventually(lambda: well(gateway))
        try:
            yield gateway
        finally:
            gateway.client.close()
            assert gateway.stop() == 0

    def close(self):
        self.worker.close()
        stop_all([self.controller, self.nats])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("attacks"))
    yield made
    made.close()


def well(gateway):
    return gateway.get("/a/quick", "attacks.test").text == "quick"


def connect(gateway):
    host, port = gateway.address.split(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def resident_bytes(gateway):
    with open(f"/proc/{gateway.popen.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def crowd(gateway, count):
    sockets = []
    try:
        for _ in range(count):
            sockets.append(connect(gateway))
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def test_a_crowd_that_sends_a_byte_each_takes_no_more_than_the_limit(site):
    with site.gateway("--buffered-max", "1Mi", "--head-timeout", "2s") as gateway:
        before = resident_bytes(gateway)
        with crowd(gateway, CROWD) as sockets:
            for sock in sockets:
                sock.sendall(b"G")
            eventually(lambda: gateway.metric("metropolis_http_connections_refused_total") > CROWD / 2)
            assert gateway.metric("metropolis_http_buffered_bytes") <= 1 << 20
            assert resident_bytes(gateway) - before < 24 << 20  # and less than 8 KiB for a connection itself
            answers = [sock.recv(12) for sock in sockets[-5:]]
        assert answers == [b"HTTP/1.1 503"] * 5
        eventually(lambda: well(gateway))
        eventually(lambda: gateway.metric("metropolis_http_buffered_bytes") <= 1 << 15)


def test_a_body_that_is_only_announced_takes_no_room_from_others(site):
    with site.gateway("--buffered-max", "4Mi") as gateway, crowd(gateway, 30) as sockets:
        for sock in sockets:
            sock.sendall(b"GET /a/quick HTTP/1.1\r\nHost: attacks.test\r\nContent-Length: 1000000\r\n\r\nx")
        eventually(lambda: gateway.metric("metropolis_http_buffered_bytes") > 30 * 4096)
        time.sleep(0.1)
        assert gateway.metric("metropolis_http_buffered_bytes") < 1 << 20
        assert well(gateway)
        for sock in sockets[:3]:  # and those that come are whole
            sock.sendall(b"x" * 999_999)
            assert sock.recv(12) == b"HTTP/1.1 200"


def test_connections_that_come_and_go_leave_nothing_behind(site):
    with site.gateway() as gateway:
        resident = []  # after each round; it grows with the largest crowd that came at once, and then no more
        while len(resident) < 4 or resident[-1] - resident[-4] > 2 << 20:
            assert len(resident) < 12, resident
            with crowd(gateway, CROWD) as sockets:
                for sock in sockets[::2]:
                    sock.sendall(REQUEST[:20])
                eventually(lambda: gateway.metric("metropolis_http_connections") >= CROWD)
            eventually(lambda: gateway.metric("metropolis_http_connections") <= 1)
            resident.append(resident_bytes(gateway))
        assert well(gateway)


def answer_to(gateway, request):
    with connect(gateway) as sock:
        sock.settimeout(PATIENCE_S)
        sock.sendall(request)
        return sock.recv(12)


@pytest.mark.parametrize("target, status", [
    ("/a/asks?" + "&" * 60000 + "last=1", b"200"),
    ("/a/asks?" + "a=1&" * 15000 + "last=1", b"200"),
    ("/a/asks?" + "%6c" * 20000 + "&last=1", b"200"),
    ("/a/asks?" + "a&" * 100_000 + "last=1", b"414"),
    ("/a/open" + "/x" * 200, b"200"),
    ("/a/open" + "/x" * 30000, b"414"),
    ("/" * 60000, b"414"),
    ("/a/open/" + "%41" * 20000, b"414"),
    ("/a/open/" + "%00" * 20000, b"400"),
])
def test_what_is_long_is_quick_all_the_same(site, target, status):
    with site.gateway("--target-max", "64Ki", "--head-max", "128Ki") as gateway:
        started = time.monotonic()
        answer = answer_to(gateway, f"GET {target} HTTP/1.1\r\nHost: attacks.test\r\n\r\n".encode())
        assert answer == b"HTTP/1.1 " + status
        assert time.monotonic() - started < 2  # a millisecond or so; a loaded machine has its say
        assert well(gateway)


def test_a_stalled_nats_holds_no_more_than_its_limits(site):
    body = b"x" * 500_000
    post = b"GET /a/quick HTTP/1.1\r\nHost: attacks.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with site.gateway("--nats-pending-max", "4Mi", "--buffered-max", "64Mi") as gateway:
        before = resident_bytes(gateway)
        site.nats.signal(signal.SIGSTOP)
        try:
            statuses = []
            with crowd(gateway, 60) as sockets:
                for sock in sockets:
                    sock.sendall(post)
                for sock in sockets:
                    sock.settimeout(0.2)
                    with contextlib.suppress(socket.timeout):
                        statuses.append(sock.recv(12))
                assert statuses.count(b"HTTP/1.1 503") > 10  # at once, while the rest waits for a reply
                assert gateway.metric("metropolis_nats_pending_bytes") <= 4 << 20
                assert resident_bytes(gateway) - before < 100 << 20
        finally:
            site.nats.signal(signal.SIGCONT)
        eventually(lambda: well(gateway))
