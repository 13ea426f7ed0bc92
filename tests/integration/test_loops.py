"""What a gateway's loops owe each other."""

import socket

import pytest

from harness import BUILD, PATIENCE_S, Controller, Gateway, NatsServer, Worker, eventually, stop_all

SHIM = BUILD / "tests" / "liblate_wake.so"
CONNECTIONS = 8  # on both loops, but once in 128 times
ROUNDS = 20

pytestmark = pytest.mark.skipif(not SHIM.exists(), reason="a sanitizer's library must be the first that is loaded")


class Client:
    def __init__(self, gateway):
        host, port = gateway.address.split(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self.answers = self.socket.makefile("rb")

    def ask(self, path):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: any.test\r\n\r\n".encode())

    def read_status(self):
        status, length = int(self.answers.readline().split()[1]), 0
        while (line := self.answers.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.answers.read(length)
        return status

    def close(self):
        self.answers.close()
        self.socket.close()


def write_route(folder, number):
    hidden = folder / ".next"
    hidden.write_text(
        f"apiVersion: metropolis.dev/v1alpha1\nkind: Route\nmetadata: {{name: r{number}, namespace: test}}\n"
        f"spec: {{rules: [{{matches: [{{path: {{type: Exact, value: /r{number}}}}}], backends: [{{subject: here}}]}}]}}\n"
    )
    hidden.rename(folder / f"r{number}.yaml")


@pytest.fixture
def site(tmp_path):
    made = type("Site", (), {})()
    made.routes = tmp_path / "routes"
    made.routes.mkdir()
    made.nats = NatsServer(tmp_path).start()
    made.controller = Controller(tmp_path, made.nats.url, "--routes", made.routes).start()
    made.gateway = Gateway(tmp_path, made.nats.url)
    made.gateway.env["LD_PRELOAD"] = str(SHIM)
    made.worker = Worker(made.nats.url)
    made.worker.serve("here", lambda message: b"here")
    write_route(made.routes, 0)
    made.controller.wait_ready()
    made.gateway.start().wait_ready()
    eventually(lambda: made.gateway.get("/r0").text == "here")
    yield made
    made.worker.close()
    stop_all([made.gateway, made.controller, made.nats])


def test_who_was_served_by_a_new_route_is_refused_by_no_other_loop(site):
    clients = [Client(site.gateway) for _ in range(CONNECTIONS)]
    for number in range(1, ROUNDS + 1):
        first, *others = clients[number % CONNECTIONS:] + clients[:number % CONNECTIONS]
        write_route(site.routes, number)

        def is_served():
            first.ask(f"/r{number}")
            return first.read_status() == 200

        eventually(is_served, every_s=0)
        for other in others:
            other.ask(f"/r{number}")
        assert [other.read_status() for other in others] == [200] * len(others)
    for client in clients:
        client.close()
