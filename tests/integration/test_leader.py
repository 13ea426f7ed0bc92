"""Two controllers and one Lease: who leads, who takes over and when, and that a leader of yesterday
changes nothing. Real NATS, one server or a cluster of three, a real API server and two gateways."""

import asyncio
import json
import shutil
import signal
import time
import uuid

import nats
import pytest
import yaml

from faults import Proxy, Traffic, kubeconfig_with, server_address
from harness import BUILD, PATIENCE_S, Controller, Gateway, NatsServer, Worker, eventually, free_port, programmed_at, route, stop_all, subject_of

EXPIRY_S = 15  # of a Lease that nobody renews
BUCKET = "KV_metropolis-default"


class Group:
    """Controllers that share a Lease, and what they work on."""

    def __init__(self, directory, kubeconfig, servers=1):
        self.directory, self.kubeconfig = directory, kubeconfig
        self.lease = f"test-{uuid.uuid4().hex[:8]}"
        ports = [free_port() for _ in range(servers)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            NatsServer(directory, f"nats-{i}",
                       f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}' if servers > 1 else "")
            for i, port in enumerate(ports)
        ]
        for server in self.servers:
            server.start()
        self.url = ",".join(server.url for server in self.servers)
        self.replicas = servers
        self.programs, self.workers = [], []
        self.gateways = [self.start(Gateway(directory, self.url, f"gw-{i}")) for i in range(2)]
        self.controllers = [self.start(self.controller(f"controller-{i}")) for i in range(2)]
        for program in self.programs:
            program.wait_ready()
        eventually(self.leader)

    def start(self, program):
        self.programs.append(program.start())
        return program

    def controller(self, name, *args, kubeconfig=None, lease=None):
        return Controller(self.directory, self.url, "--kubeconfig", kubeconfig or self.kubeconfig,
                          "--lease", lease or self.lease, "--nats-replicas", self.replicas, *args, name=name)

    def leader(self):
        """The one that leads, None when there is none; more would be a failure of the test."""
        leaders = [c for c in self.controllers if c.running and leads(c)]
        assert len(leaders) < 2
        return leaders[0] if leaders else None

    def standby(self):
        return next(c for c in self.controllers if c is not self.leader())

    def worker(self, subject):
        self.workers.append(Worker(self.servers[0].url))
        self.workers[-1].serve(subject, subject_of)

    def served(self, path, host):
        return [g.get(path, host).content for g in self.gateways]

    def bucket(self):
        """(last sequence, term, number of keys, deleted ones too) of the table, as the server has it."""
        async def look():
            client = await nats.connect(self.url.split(","))
            try:
                stream = client.jetstream()
                info = await stream.stream_info(BUCKET, subjects_filter="$KV.metropolis-default.route.>")
                head = await stream.get_last_msg(BUCKET, "$KV.metropolis-default._table")
                return info.state.last_seq, json.loads(head.data)["term"], len(info.state.subjects or {})
            finally:
                await client.close()
        return asyncio.run(look())

    def close(self):
        for worker in self.workers:
            worker.close()
        for program in self.controllers:
            program.signal(signal.SIGCONT) if program.running else None
        stop_all([*self.gateways, *self.programs[2:], *self.servers])


def leads(controller):
    return controller.metric("leader_election_master_status") == 1


def takes_over(controller, within_s):
    """Until it leads and is in charge of the table; the time that this took."""
    start = time.monotonic()
    eventually(lambda: leads(controller) and "not" not in controller.get_admin("/readyz").text
               and controller.metric("metropolis_controller_terms_total") >= 1, within_s)
    return time.monotonic() - start


@pytest.fixture
def new_group(tmp_path, kubeconfig):
    made = []

    def make(servers=1):
        made.append(Group(tmp_path, kubeconfig, servers))
        return made[-1]

    yield make
    for group in made:
        group.close()


def test_one_leads_and_the_other_is_ready_and_writes_nothing(new_group, kubectl):
    group = new_group()
    leader, standby = group.leader(), group.standby()
    group.worker("lead.>")
    kubectl.apply(route("lead", "/lead/x", hostnames=["lead.test"]))
    programmed_at(kubectl, "lead")
    assert group.served("/lead/x", "lead.test") == [b"lead.x.GET"] * 2
    assert "leader: this one" in leader.get_admin("/readyz").text
    ready = standby.get_admin("/readyz")
    holder = json.loads(kubectl("get", "lease", group.lease, "-n", "default", "-o", "json").stdout)["spec"]["holderIdentity"]
    assert ready.status_code == 200 and f"standby: the leader is {holder}" in ready.text
    assert holder in leader.get_admin("/readyz").text
    for metric in ("metropolis_controller_writes_total", "metropolis_controller_terms_total",
                   "metropolis_kube_status_written_total", "metropolis_kube_events_written_total"):
        assert standby.metric(metric) == 0, metric
    assert standby.metric("metropolis_controller_entries_waiting") == 0
    assert standby.metric("metropolis_controller_routes") >= 1  # it follows


def test_a_leader_that_is_stopped_hands_over_at_once_and_no_status_is_lowered(new_group, kubectl):
    group = new_group()
    leader, standby = group.leader(), group.standby()
    group.worker("stop.>")
    kubectl.apply(route("stop", "/stop/x", hostnames=["stop.test"]))
    programmed_at(kubectl, "stop")
    before = kubectl.route("stop")
    leader.signal(signal.SIGTERM)
    took_s = takes_over(standby, PATIENCE_S)
    print(f"takeover after SIGTERM: {took_s * 1000:.0f} ms")
    assert took_s < 5 or BUILD.name != "release"
    assert leader.stop() == 0
    kubectl.apply(route("next", "/stop/y", hostnames=["stop.test"]))
    programmed_at(kubectl, "next")
    assert group.served("/stop/y", "stop.test") == [b"stop.y.GET"] * 2
    assert kubectl.route("stop")["status"] == before["status"]
    spec = json.loads(kubectl("get", "lease", group.lease, "-n", "default", "-o", "json").stdout)["spec"]
    assert spec["leaseTransitions"] == 1 and spec["leaseDurationSeconds"] == EXPIRY_S
    # A new one, in the place of the first, stands by.
    leader.start().wait_ready()
    assert not leads(leader) and leads(standby)


def test_a_rolling_restart_during_a_burst_loses_nothing(new_group, kubectl):
    group = new_group()
    group.worker("roll.>")
    kubectl.apply(route("steady", "/steady", "roll.steady", hostnames=["roll.test"]))
    programmed_at(kubectl, "steady")
    names = [f"burst-{i}" for i in range(30)]
    with Traffic(group.gateways, "/steady", "roll.test"):
        for turn in range(3):
            leader = group.leader()
            kubectl.apply(*[route(n, f"/{n}", f"roll.{n}", hostnames=["roll.test"]) for n in names[turn::3]])
            leader.signal(signal.SIGTERM)
            kubectl("delete", "route.metropolis.dev", names[turn])
            assert leader.stop() == 0
            leader.start().wait_ready()
            eventually(group.leader)
        for name in names[3:]:
            programmed_at(kubectl, name)
            assert group.served(f"/{name}", "roll.test") == [f"roll.{name}".encode()] * 2
        for name in names[:3]:
            eventually(lambda: all(g.get(f"/{name}", "roll.test").status_code == 404 for g in group.gateways))


def test_a_leader_that_is_killed_is_followed_when_its_lease_has_expired(new_group, kubectl):
    group = new_group()
    leader, standby = group.leader(), group.standby()
    leader.kill()
    kubectl.apply(route("late", "/late", hostnames=["late.test"]))
    took_s = takes_over(standby, EXPIRY_S + PATIENCE_S)
    print(f"takeover after SIGKILL: {took_s:.1f} s")
    assert took_s > EXPIRY_S - 4  # it was renewed every 2 s
    programmed_at(kubectl, "late")


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


def test_a_leader_cut_off_from_the_api_server_gives_way_and_comes_back_as_standby(new_group, kubectl, tmp_path):
    group = new_group()
    proxy = Proxy(server_address(kubectl.kubeconfig))
    proxied = kubeconfig_with(kubectl.kubeconfig, tmp_path / "proxied.kubeconfig", server=f"https://127.0.0.1:{proxy.port}")
    for old in group.controllers:
        old.stop()
    first, second = group.controllers = [group.controller("proxied", kubeconfig=proxied), group.controller("direct")]
    group.start(first).wait_ready()
    eventually(lambda: leads(first))
    group.start(second).wait_ready()
    kubectl.apply(route("before", "/before", hostnames=["cut.test"]))
    programmed_at(kubectl, "before")
    proxy.shut()
    start = time.monotonic()
    eventually(lambda: not leads(first))
    assert 5 < time.monotonic() - start < 14  # before anybody else may lead
    assert first.get_admin("/readyz").status_code == 503
    kubectl("delete", "route.metropolis.dev", "before")
    takes_over(second, EXPIRY_S + PATIENCE_S)
    eventually(lambda: all(g.get("/before", "cut.test").status_code == 404 for g in group.gateways))
    before = group.bucket()
    proxy.open = True
    eventually(lambda: first.ready() and "standby: the leader is" in first.get_admin("/readyz").text, 2 * PATIENCE_S)
    assert group.bucket() == before
    proxy.close()


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


def test_a_second_group_of_another_owner_is_refused_by_name(new_group, kubectl):
    group = new_group()
    kubectl.apply(route("ours", "/ours", hostnames=["owner.test"]))
    programmed_at(kubectl, "ours")
    before = group.bucket()
    kubectl("create", "namespace", f"{kubectl.namespace}-b")
    theirs = type(kubectl)(kubectl.kubeconfig, f"{kubectl.namespace}-b")
    try:
        stranger = group.controller("stranger", "--owner", "stranger", "--namespace", theirs.namespace, lease=group.lease + "-b")
        group.start(stranger)
        eventually(lambda: leads(stranger))
        theirs.apply(route("theirs", "/theirs", hostnames=["owner.test"]))
        eventually(lambda: "belongs to owner" in (theirs.condition("theirs", "Programmed") or ["", "", ""])[2])
        message = theirs.condition("theirs", "Programmed")[2]
        assert '"stranger"' in message and "metropolis-default" in message
        answer = stranger.get_admin("/readyz")
        assert answer.status_code == 503 and "belongs to owner" in answer.text
        assert stranger.metric("metropolis_controller_writes_total") == 0
        # Ours watches that namespace, too, and is what publishes for it.
        eventually(lambda: all(g.get("/theirs", "owner.test").status_code == 503 for g in group.gateways))
        assert group.bucket()[1] == before[1]
    finally:
        theirs("delete", "routes.metropolis.dev", "--all", "--wait=false")
        kubectl("delete", "namespace", theirs.namespace, "--wait=false")


def test_a_leader_that_finds_another_writer_gives_its_lease_back(new_group, kubectl):
    group = new_group()
    first = group.leader()
    other = group.start(group.controller("other", lease=group.lease + "-b"))  # the same owner, by mistake
    eventually(lambda: leads(other) and other.ready())
    eventually(lambda: not leads(first))
    assert first.ready() and "standby" in first.get_admin("/readyz").text
    # Nobody wants this Lease for a while: its other controller lets it lie, too, or takes its turn.
    kubectl.apply(route("turn", "/turn", hostnames=["turn.test"]))
    programmed_at(kubectl, "turn")


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
