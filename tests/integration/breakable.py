"""A cluster that tests may break, and a stack on it: fixtures for the modules that import them by name."""

import uuid

import pytest

from conftest import Stack
from faults import Cluster, Proxy, Traffic, kubeconfig_with, server_address
from harness import Kubectl, programmed_at, route, subject_of


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One that these tests may break."""
    made = Cluster(tmp_path_factory.mktemp("faults"))
    yield made
    made.stop()


@pytest.fixture
def kubectl(cluster):
    name = f"test-{uuid.uuid4().hex[:8]}"
    Kubectl(cluster.kubeconfig)("create", "namespace", name)
    yield Kubectl(cluster.kubeconfig, name)
    Kubectl(cluster.kubeconfig, name)("delete", "routes.metropolis.dev", "--all", "--wait=false")


@pytest.fixture
def proxy(cluster):
    """Between the controller and the API server; kubectl goes past it."""
    made = Proxy(server_address(cluster.kubeconfig))
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path, cluster, proxy, kubectl):
    path = kubeconfig_with(cluster.kubeconfig, tmp_path / "kubeconfig", server=f"https://127.0.0.1:{proxy.port}")
    made = Stack(tmp_path, path)
    made.proxy_port = proxy.port
    made.worker().serve("steady", subject_of)
    made.workers[0].serve("burst.*", subject_of)
    kubectl.apply(route("steady", "/steady", "steady", hostnames=["faults.test"]))
    programmed_at(kubectl, "steady")
    yield made
    made.close()


def burst(number, subject="burst.{}", **options):
    name = f"burst-{number}"
    return route(name, f"/{name}", subject.format(name), hostnames=["faults.test"], **options)


def serve(stack, name, body):
    return all(g.get(f"/{name}", "faults.test").content == body for g in stack.gateways)


def lists(stack):
    return stack.controller.metric("metropolis_kube_route_lists_total")


def traffic(stack, **options):
    return Traffic(stack.gateways, "/steady", "faults.test", **options)
