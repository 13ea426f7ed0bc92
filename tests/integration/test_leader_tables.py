"""Two controllers and one Lease: what a leader does to the tables, and that one of yesterday changes nothing.
Real NATS, one server or a cluster of three, a real API server and two gateways."""

import asyncio
import shutil
import signal
import time

import nats
import pytest
import yaml

from group import BUCKET, EXPIRY_S, leads, new_group
from harness import PATIENCE_S, Gateway, eventually, programmed_at, route


@pytest.mark.parametrize("servers", [1, 3])
def test_a_leader_that_was_suspended_writes_nothing_when_it_wakes_up(new_group, kubectl, servers):
    group = new_group(servers)
    first, second = group.leader(), group.standby()
    group.worker("sleep.>")
    for name in ("kept", "changed", "deleted"):
        kubectl.apply(route(name, f"/{name}", f"sleep.{name}", hostnames=["sleep.test"]))
        programmed_at(kubectl, name)
    writes = first.metric("metropolis_controller_writes_total")
    first.signal(signal.SIGSTOP)
    # It hears of these only after it has woken up.
    kubectl.apply(route("changed", "/changed", "sleep.anew", hostnames=["sleep.test"]))
    kubectl.apply(route("added", "/added", "sleep.added", hostnames=["sleep.test"]))
    kubectl("delete", "route.metropolis.dev", "deleted")
    takes_over_while_stopped(second)
    programmed_at(kubectl, "changed", 2)
    programmed_at(kubectl, "added")
    assert group.served("/changed", "sleep.test") == [b"sleep.anew"] * 2
    assert all(g.get("/deleted", "sleep.test").status_code == 404 for g in group.gateways)
    before = group.bucket()
    statuses = {name: kubectl.route(name)["status"] for name in ("kept", "changed", "added")}

    first.signal(signal.SIGCONT)
    eventually(lambda: first.ready() and "standby: the leader is" in first.get_admin("/readyz").text)
    time.sleep(6)  # longer than it takes to look at the table again
    assert group.leader() is second
    assert group.bucket() == before  # not one sequence more, the same term
    assert first.metric("metropolis_controller_writes_total") == writes
    assert {name: kubectl.route(name)["status"] for name in statuses} == statuses

    kubectl.apply(route("after", "/after", "sleep.after", hostnames=["sleep.test"]))
    programmed_at(kubectl, "after")
    assert group.bucket() == (before[0] + 1, before[1], before[2] + 1)
    # And it can lead again, with all that happened meanwhile.
    second.signal(signal.SIGTERM)
    eventually(lambda: leads(first))
    kubectl.apply(route("again", "/again", "sleep.again", hostnames=["sleep.test"]))
    programmed_at(kubectl, "again")
    for name, body in (("kept", b"sleep.kept"), ("changed", b"sleep.anew"), ("added", b"sleep.added"), ("again", b"sleep.again")):
        assert group.served(f"/{name}", "sleep.test") == [body] * 2
    assert all(g.get("/deleted", "sleep.test").status_code == 404 for g in group.gateways)
    assert group.bucket()[2] == before[2] + 2


def takes_over_while_stopped(second):
    """The first answers no question while it is stopped."""
    eventually(lambda: leads(second), EXPIRY_S + PATIENCE_S)


async def delete_bucket(url):
    client = await nats.connect(url)
    await client.jetstream().delete_stream(BUCKET)
    await client.close()


@pytest.mark.parametrize("loss", ["deleted", "emptied", "restored"])
def test_a_table_that_was_lost_comes_back_whole_and_no_gateway_drops_a_route(new_group, kubectl, loss):
    group = new_group()
    leader, server = group.leader(), group.servers[0]
    group.worker("loss.>")
    for name in ("kept", "changed"):
        kubectl.apply(route(name, f"/{name}", f"loss.{name}", hostnames=["loss.test"]))
        programmed_at(kubectl, name)
    backup = group.directory / "backup"
    if loss == "restored":
        server.stop()
        shutil.copytree(server.store, backup)
        server.start()
        eventually(leader.ready)
    kubectl.apply(route("changed", "/changed", "loss.anew", hostnames=["loss.test"]))
    kubectl.apply(route("added", "/added", "loss.added", hostnames=["loss.test"]))
    programmed_at(kubectl, "changed", 2)
    programmed_at(kubectl, "added")
    before = leader.metric("metropolis_controller_lineages_total")
    if loss == "deleted":
        asyncio.run(delete_bucket(group.url))
    else:
        server.stop()
        shutil.rmtree(server.store)
        if loss == "restored":
            shutil.copytree(backup, server.store)
        server.start()

    def recovered():
        for gateway in group.gateways:
            assert 404 not in [gateway.get(f"/{n}", "loss.test").status_code for n in ("kept", "changed", "added")], "lost"
        return leader.metric("metropolis_controller_lineages_total") > before and leader.ready()

    end = time.monotonic() + PATIENCE_S
    while not recovered():  # an assertion in here is final
        assert time.monotonic() < end
    # What is True now is served by both, at once.
    kubectl.apply(route("changed", "/changed", "loss.third", hostnames=["loss.test"]))
    programmed_at(kubectl, "changed", 3)
    assert group.served("/changed", "loss.test") == [b"loss.third"] * 2
    assert group.bucket()[2] == 3
    assert group.leader() is leader
    fresh = group.start(Gateway(group.directory, group.url, "gw-fresh")).wait_ready()
    for name, body in (("kept", b"loss.kept"), ("changed", b"loss.third"), ("added", b"loss.added")):
        assert fresh.get(f"/{name}", "loss.test").content == body


ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: controller, namespace: {namespace}}}
rules:
- {{apiGroups: [metropolis.dev], resources: [routes], verbs: [list, watch]}}
- {{apiGroups: [metropolis.dev], resources: [routes/status], verbs: [patch]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, list, watch, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: controller, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: controller}}
subjects: [{{kind: ServiceAccount, name: controller, namespace: {account}}}]
"""


def test_a_new_leader_that_may_not_read_a_namespace_deletes_nothing_and_says_so(new_group, kubectl, tmp_path):
    group = new_group()
    group.worker("rbac.>")
    for old in group.controllers:
        old.stop()
    shop = type(kubectl)(kubectl.kubeconfig, f"{kubectl.namespace}-shop")
    kubectl("create", "namespace", shop.namespace)
    try:
        kubectl("create", "serviceaccount", "controller")
        for namespace in (kubectl, shop):
            namespace.apply(ROLE.format(namespace=namespace.namespace, account=kubectl.namespace))
        config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten", "--minify").stdout)
        config["users"][0]["user"] = {"token": kubectl("create", "token", "controller").stdout.strip()}
        config["contexts"][0]["context"]["namespace"] = kubectl.namespace
        account = tmp_path / "account.kubeconfig"
        account.write_text(yaml.safe_dump(config))
        args = ("--owner", "rbac", "--namespace", f"{kubectl.namespace},{shop.namespace}")
        asyncio.run(delete_bucket(group.url))  # it was another owner's
        first, second = group.controllers = [group.controller(n, *args, kubeconfig=account) for n in ("one", "two")]
        group.start(first).wait_ready()
        kubectl.apply(route("here", "/here", "rbac.here", hostnames=["rbac.test"]))
        shop.apply(route("there", "/there", "rbac.there", hostnames=["rbac.test"]))
        programmed_at(kubectl, "here")
        programmed_at(shop, "there")
        shop("delete", "rolebinding", "controller")
        before = group.bucket()
        first.stop()
        shop("delete", "route.metropolis.dev", "there")  # unknown to whoever may not list
        kubectl.apply(route("here", "/here", "rbac.anew", hostnames=["rbac.test"]))
        group.start(second)
        eventually(lambda: leads(second) and "403" in second.get_admin("/readyz").text)
        answer = second.get_admin("/readyz")
        assert answer.status_code == 503 and "forbidden" in answer.text and shop.namespace in answer.text
        time.sleep(3)
        assert group.bucket() == before
        assert group.served("/here", "rbac.test") == [b"rbac.here"] * 2
        assert group.served("/there", "rbac.test") == [b"rbac.there"] * 2
        shop.apply(ROLE.format(namespace=shop.namespace, account=kubectl.namespace))
        programmed_at(kubectl, "here", 2)
        eventually(lambda: all(g.get("/there", "rbac.test").status_code == 404 for g in group.gateways))
        second.wait_ready()
        assert group.served("/here", "rbac.test") == [b"rbac.anew"] * 2
    finally:
        shop("delete", "routes.metropolis.dev", "--all", "--wait=false")
        kubectl("delete", "namespace", shop.namespace, "--wait=false")
