"""Fixtures: one Kubernetes API server for the session, one NATS, controller and two gateways per module."""

import os
import subprocess
import uuid

import pytest

from harness import ROOT, Controller, Gateway, Kubectl, NatsServer, Process, Worker, eventually, stop_all


def pytest_sessionfinish():
    """A fixture that failed half-way leaves what it had started: ended here, by id."""
    for popen in Process.started:
        if popen.poll() is None:
            popen.kill()
            popen.wait()


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory):
    """An existing cluster when KUBECONFIG names one, else a control plane on loopback."""
    given = os.environ.get("KUBECONFIG")
    directory = tmp_path_factory.mktemp("cluster")
    path = given or subprocess.run(
        [ROOT / "hack" / "cluster", "--dir", directory], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        Kubectl(path)("apply", "--server-side", "-f", str(ROOT / "crds"))
        Kubectl(path).wait_established("routes.metropolis.dev")
        yield path
    finally:
        if not given:
            subprocess.run([ROOT / "hack" / "cluster", "--stop", "--dir", directory], check=True)


@pytest.fixture
def kubectl(kubeconfig):
    """kubectl in a namespace of this test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    Kubectl(kubeconfig)("create", "namespace", name)
    yield Kubectl(kubeconfig, name)
    # Without a controller-manager nobody empties a namespace that goes: the Routes go here.
    Kubectl(kubeconfig, name)("delete", "routes.metropolis.dev", "--all", "--wait=false")
    Kubectl(kubeconfig)("delete", "namespace", name, "--wait=false")


class Stack:
    """NATS, a controller on the API server, and gateways."""

    def __init__(self, directory, kubeconfig, gateways=2):
        self.directory = directory
        self.kubeconfig = kubeconfig
        self.nats = NatsServer(directory).start()
        self.controller = self.new_controller().start()
        self.gateways = [Gateway(directory, self.nats.url, f"gw-{i}").start() for i in range(gateways)]
        self.workers = []
        for program in (self.controller, *self.gateways):
            program.wait_ready()

    def new_controller(self, name="controller"):
        # One cluster for all stacks, which shall not wait for each other's leader.
        return Controller(self.directory, self.nats.url, "--kubeconfig", self.kubeconfig, "--lease", "none", name=name)

    def worker(self, **options):
        self.workers.append(Worker(self.nats.url, **options))
        return self.workers[-1]

    def close(self):
        for worker in self.workers:
            worker.close()
        stop_all([*self.gateways, self.controller, self.nats])


@pytest.fixture(scope="module")
def stack(tmp_path_factory, kubeconfig):
    """Shared by the tests of a module: they may not restart what is in it."""
    made = Stack(tmp_path_factory.mktemp("stack"), kubeconfig)
    yield made
    made.close()


@pytest.fixture
def own_stack(tmp_path, kubeconfig):
    """A stack for one test, which may break it."""
    made = Stack(tmp_path, kubeconfig)
    yield made
    made.close()


@pytest.fixture(scope="module")
def files_stack(tmp_path_factory):
    """Without Kubernetes: Route files in .routes, one gateway."""
    directory = tmp_path_factory.mktemp("files")
    made = type("FilesStack", (), {})()
    made.routes = directory / "routes"
    made.routes.mkdir()
    made.nats = NatsServer(directory).start()
    made.controller = Controller(directory, made.nats.url, "--routes", made.routes).start()
    made.gateway = Gateway(directory, made.nats.url).start()
    made.worker = Worker(made.nats.url)
    made.controller.wait_ready()
    made.gateway.wait_ready()
    yield made
    made.worker.close()
    stop_all([made.gateway, made.controller, made.nats])


@pytest.fixture(scope="module")
def gateway(files_stack):
    """One gateway whose only Route, /echo for any host and method, sends the request's body back."""
    (files_stack.routes / "echo.yaml").write_text(
        "apiVersion: metropolis.dev/v1alpha1\nkind: Route\nmetadata: {name: echo, namespace: test}\n"
        "spec: {rules: [{matches: [{path: {type: Exact, value: /echo}}]}]}\n"
    )
    files_stack.worker.serve("echo.*", lambda message: message.data)
    eventually(lambda: files_stack.gateway.get("/echo").status_code == 200)
    return files_stack.gateway
