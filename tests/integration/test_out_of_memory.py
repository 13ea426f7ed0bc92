"""A gateway some of whose allocations fail, while NATS is killed and comes back: it goes on, and what it
could not do at the time it does later."""

import contextlib
import mmap
import random
import struct
import time

import httpx
import pytest

from harness import BUILD, Controller, Gateway, NatsServer, Worker, eventually, stop_all

SHIM = BUILD / "tests" / "libfaulty_malloc.so"
ONE_IN = 12
ROUNDS = 6
# cnats 3.4.1 crashes when certain small allocations of a new connection fail (natsConn_create locks a
# mutex that it could not make; nats_JSONDestroy walks a map that is not there); strdup is the shim's own.
SPARED = "libnats libc.so ld-linux"


class Faults:
    def __init__(self, path, seed):
        path.write_bytes(struct.pack("III", 0, seed, 0))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 12)
        self.env = {"LD_PRELOAD": SHIM, "METROPOLIS_FAULTS": path, "METROPOLIS_FAULTS_SPARE": SPARED}

    @contextlib.contextmanager
    def on(self):
        self.memory[0:4] = struct.pack("I", ONE_IN)
        yield
        self.memory[0:4] = struct.pack("I", 0)

    @property
    def failed(self):
        return struct.unpack("III", self.memory[:])[2]


def write_route(folder, name, path):
    (folder / f"{name}.yaml").write_text(
        f"apiVersion: metropolis.dev/v1alpha1\nkind: Route\nmetadata: {{name: {name}, namespace: test}}\n"
        f"spec: {{rules: [{{matches: [{{path: {{type: Exact, value: {path}}}}}],"
        f" backends: [{{subject: echo.GET}}]}}]}}\n"
    )


@pytest.mark.skipif(not SHIM.exists(), reason="sanitizers bring an allocator of their own")
@pytest.mark.parametrize("seed", [1, 2])
def test_allocations_fail_while_nats_comes_and_goes(tmp_path, seed):
    faults, rng = Faults(tmp_path / "faults", seed), random.Random(seed)
    (tmp_path / "routes").mkdir()
    write_route(tmp_path / "routes", "echo", "/echo")
    nats = NatsServer(tmp_path).start()
    controller = Controller(tmp_path, nats.url, "--routes", tmp_path / "routes").start()
    gateway = Gateway(tmp_path, nats.url)
    gateway.env.update({name: str(value) for name, value in faults.env.items()})
    gateway.start().wait_ready()
    worker = Worker(nats.url)
    worker.serve("echo.GET", lambda message: b"here")
    for number in range(ROUNDS):
        with faults.on():
            nats.kill()
            time.sleep(rng.uniform(0.05, 0.5))
            nats.start()
            for change in range(6):
                write_route(tmp_path / "routes", f"r{change}", f"/r{number}-{change}")
                with contextlib.suppress(httpx.HTTPError):  # any answer will do, none too
                    gateway.get("/echo")
                time.sleep(rng.uniform(0.02, 0.3))
        assert gateway.running, f"died after {faults.failed} faults:\n{gateway.log[-3000:]}"
        eventually(lambda: gateway.get("/echo").text == "here")
        eventually(lambda: gateway.get(f"/r{number}-5").text == "here")
    assert faults.failed > 5 * ROUNDS  # or nothing was tested
    worker.close()
    stop_all([gateway, controller, nats])
