"""What a gateway's loops owe each other."""

from http.client import HTTPConnection

import pytest
import yaml

from harness import BUILD, PATIENCE_S, Controller, Gateway, NatsServer, Worker, eventually, route, stop_all

SHIM = BUILD / "tests" / "liblate_wake.so"
CONNECTIONS = 8  # on both loops, but once in 128 times
ROUNDS = 20

pytestmark = pytest.mark.skipif(not SHIM.exists(), reason="a sanitizer's library must be the first that is loaded")


def write_route(folder, number):
    made = route(f"r{number}", f"/r{number}", "here")
    (folder / f"r{number}.yaml").write_text(yaml.safe_dump(made))


def read_status(client):
    response = client.getresponse()
    response.read()
    return response.status


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
    clients = [HTTPConnection(site.gateway.address, timeout=PATIENCE_S) for _ in range(CONNECTIONS)]
    for number in range(1, ROUNDS + 1):
        first, *others = clients[number % CONNECTIONS:] + clients[:number % CONNECTIONS]
        write_route(site.routes, number)

        def is_served():
            first.request("GET", f"/r{number}")
            return read_status(first) == 200

        eventually(is_served, every_s=0)
        for other in others:
            other.request("GET", f"/r{number}")
        assert [read_status(other) for other in others] == [200] * len(others)
    for client in clients:
        client.close()
