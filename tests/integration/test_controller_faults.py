"""What may go wrong around a controller, with real servers: afterwards everything is as the Routes say, and
meanwhile gateways answer every request."""

import shutil
import threading
import time
import uuid

import pytest

from conftest import Stack
from faults import Cluster, Proxy, Traffic, kubeconfig_with, server_address
from harness import PATIENCE_S, Kubectl, eventually, programmed_at, route, subject_of


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


def test_a_connection_that_is_cut_in_the_middle_of_an_event(stack, proxy, kubectl):
    before = lists(stack)
    with traffic(stack):
        for number in range(5):
            proxy.cut_next = True
            kubectl.apply(burst(number))
            eventually(lambda: serve(stack, f"burst-{number}", f"burst.burst-{number}".encode()))
            programmed_at(kubectl, f"burst-{number}")
    assert proxy.cuts == 5
    assert lists(stack) == before  # it went on from the version before the cut


def test_an_api_server_that_is_killed_and_has_forgotten_when_it_comes_back(cluster, stack, proxy, kubectl):
    kubectl.apply(burst(0), burst(1))
    for name in ("burst-0", "burst-1"):
        programmed_at(kubectl, name)
    before = lists(stack)
    with traffic(stack):
        proxy.shut()
        kubectl("delete", "route", "burst-0")
        kubectl.apply(burst(1, "burst.changed"), burst(2))
        cluster.kill_apiserver()  # and the changes that it has in memory
        cluster.compact_etcd()  # and those on disk
        eventually(lambda: stack.controller.get_admin("/readyz").status_code == 503)
        time.sleep(5)
        proxy.open = True
        cluster.start()
        eventually(lambda: serve(stack, "burst-2", b"burst.burst-2"), 2 * PATIENCE_S)
        programmed_at(kubectl, "burst-1", 2)
        assert serve(stack, "burst-1", b"burst.changed")
        assert all(g.get("/burst-0", "faults.test").status_code == 404 for g in stack.gateways)
        stack.controller.wait_ready()
    assert lists(stack) == before + 1  # the version that it knew is gone: once anew
    assert stack.controller.metric("rest_client_requests_total", code="<error>") > 0
    assert "watching again" in stack.controller.log


def test_a_token_that_is_revoked_is_read_anew_from_its_file(tmp_path, cluster, stack, kubectl):
    def new_token(secret):
        kubectl("create", "secret", "generic", secret)
        return kubectl("create", "token", "controller", "--bound-object-kind", "Secret", "--bound-object-name",
                       secret).stdout

    kubectl("create", "serviceaccount", "controller")
    kubectl("create", "clusterrolebinding", kubectl.namespace, "--clusterrole=cluster-admin",
            f"--serviceaccount={kubectl.namespace}:controller")
    file = tmp_path / "token"
    file.write_text(new_token("first"))
    stack.controller.stop()
    path = kubeconfig_with(cluster.kubeconfig, tmp_path / "token-kubeconfig", user={"tokenFile": str(file)})
    stack.controller.argv[stack.controller.argv.index("--kubeconfig") + 1] = path
    stack.controller.start().wait_ready()
    kubectl.apply(burst(0))
    programmed_at(kubectl, "burst-0")
    with traffic(stack):
        file.write_text(new_token("second"))
        kubectl("delete", "secret", "first")
        time.sleep(11)  # the API server remembers for 10 s that the token was good
        kubectl.apply(burst(1))
        programmed_at(kubectl, "burst-1")
        assert serve(stack, "burst-1", b"burst.burst-1")
    assert stack.controller.metric("rest_client_requests_total", code="401") > 0


def test_a_nats_server_that_is_killed_and_comes_back_empty(stack, kubectl):
    # Nobody can reach a worker meanwhile; but there is an answer, and never "no such route".
    with traffic(stack, allowed=(200, 502, 503)):
        kubectl.apply(burst(0))
        stack.nats.kill()
        kubectl.apply(burst(1))
        shutil.rmtree(stack.nats.store)
        stack.nats.start()
        stack.nats.killed = False
        for number in range(2):
            eventually(lambda: serve(stack, f"burst-{number}", f"burst.burst-{number}".encode()))
            programmed_at(kubectl, f"burst-{number}")
        stack.controller.wait_ready()
        eventually(lambda: serve(stack, "steady", b"steady"))
    assert kubectl.condition("steady", "Programmed")[0] == "True"


def test_a_controller_that_is_killed_again_and_again_during_a_burst(stack, kubectl):
    count = 40

    def apply_all():
        for first in range(0, count, 5):
            kubectl.apply(*[burst(n) for n in range(first, first + 5)])
            if first:
                kubectl("delete", "route", f"burst-{first - 1}")

    with traffic(stack):
        writer = threading.Thread(target=apply_all)
        writer.start()
        while writer.is_alive():
            time.sleep(0.3)
            stack.controller.kill()
            stack.controller.start()
            stack.controller.killed = False
        writer.join()
        deleted = set(range(4, count - 1, 5))
        for number in range(count):
            if number in deleted:
                eventually(lambda: all(g.get(f"/burst-{number}", "faults.test").status_code == 404
                                       for g in stack.gateways))
            else:
                eventually(lambda: serve(stack, f"burst-{number}", f"burst.burst-{number}".encode()))
        kubectl("wait", "--for=condition=Programmed", "route", "--all", f"--timeout={PATIENCE_S:.0f}s")
