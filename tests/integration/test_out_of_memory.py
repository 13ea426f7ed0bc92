"""A gateway some of whose allocations fail: it goes on, and what it could not do at the time it does later."""

import contextlib
import mmap
import random
import struct
import time

import httpx
import pytest

from harness import BUILD, PATIENCE_S, Controller, Gateway, NatsServer, Worker, eventually, stop_all

SHIM = BUILD / "tests" / "libfaulty_malloc.so"
ROUNDS = 6
# libuv aborts when its table of descriptors cannot grow. strdup is the shim's own.
SPARED = "libuv libc.so ld-linux"


class Faults:
    def __init__(self, path, seed):
        path.write_bytes(struct.pack("III", 0, seed, 0))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 12)
        self.env = {"LD_PRELOAD": SHIM, "METROPOLIS_FAULTS": path, "METROPOLIS_FAULTS_SPARE": SPARED}

    @contextlib.contextmanager
    def on(self, one_in):
        self.memory[0:4] = struct.pack("I", one_in)
        yield
        self.memory[0:4] = struct.pack("I", 0)

    @property
    def failed(self):
        return struct.unpack("III", self.memory[:])[2]


@pytest.fixture
def site(tmp_path):
    """NATS, a controller, a worker, and a gateway whose allocations can be made to fail."""
    made = type("Site", (), {})()
    made.routes = tmp_path / "routes"
    made.routes.mkdir()
    write_route(made.routes, "echo", "/echo")
    made.nats = NatsServer(tmp_path).start()
    made.controller = Controller(tmp_path, made.nats.url, "--routes", made.routes).start()
    made.gateway = Gateway(tmp_path, made.nats.url, "gw-0", "--access-log", "json", "--route-metrics", "10")
    made.worker = Worker(made.nats.url)
    made.worker.serve("echo.*", lambda message: b"here")

    def start(seed):
        made.faults = Faults(tmp_path / "faults", seed)
        made.gateway.env.update({name: str(value) for name, value in made.faults.env.items()})
        made.gateway.start().wait_ready()
        eventually(lambda: made.gateway.get("/echo").text == "here")

    made.start = start
    yield made
    made.worker.close()
    stop_all([made.gateway, made.controller, made.nats])


def write_route(folder, name, path):
    (folder / f"{name}.yaml").write_text(
        f"apiVersion: metropolis.dev/v1alpha1\nkind: Route\nmetadata: {{name: {name}, namespace: test}}\n"
        f"spec: {{rules: [{{matches: [{{path: {{type: Exact, value: {path}}}}}],"
        f" backends: [{{subject: 'echo.{{method}}'}}]}}]}}\n"
    )


pytestmark = pytest.mark.skipif(not SHIM.exists(), reason="sanitizers bring an allocator of their own")


def assert_alive(site):
    assert site.gateway.running, f"died after {site.faults.failed} faults:\n{site.gateway.log[-3000:]}"


@pytest.mark.parametrize("seed", [1, 2])
def test_allocations_fail_while_nats_comes_and_goes(site, seed):
    rng = random.Random(seed)
    site.start(seed)
    for number in range(ROUNDS):
        with site.faults.on(12):
            site.nats.kill()
            time.sleep(rng.uniform(0.05, 0.5))
            site.nats.start()
            for change in range(6):
                write_route(site.routes, f"r{change}", f"/r{number}-{change}")
                with contextlib.suppress(httpx.HTTPError):  # any answer will do, none too
                    site.gateway.get("/echo")
                time.sleep(rng.uniform(0.02, 0.3))
        assert_alive(site)
        eventually(lambda: site.gateway.get("/echo").text == "here")
        eventually(lambda: site.gateway.get(f"/r{number}-5").text == "here")
    assert site.faults.failed > 5 * ROUNDS  # or nothing was tested


def test_allocations_fail_under_requests_of_all_sizes(site):
    rng, statuses = random.Random(3), set()
    site.start(3)
    with site.faults.on(3):  # there are few allocations in steady state
        for number in range(400):
            if number % 10 == 0:  # connections are kept, so make some anew
                site.gateway.client.close()
                site.gateway.client = httpx.Client(base_url=site.gateway.url, timeout=PATIENCE_S)
            with contextlib.suppress(httpx.HTTPError):
                statuses.add(site.gateway.request(
                    "POST", rng.choice(["/echo", "/echo?" + "a=1&" * 300, "/none", "/%zz"]),
                    content=bytes(rng.choice([0, 10, 20_000, 300_000])),
                    headers={"X-Tab": "a\tb", "X-Long": "z" * rng.choice([1, 100, 9000])},
                ).status_code)
    assert_alive(site)
    assert statuses >= {200, 400, 404} and statuses <= {200, 400, 404, 500, 503}
    eventually(lambda: site.gateway.get("/echo").text == "here")
    assert site.gateway.metric("metropolis_requests_in_flight") == 0
    assert site.faults.failed > 20
