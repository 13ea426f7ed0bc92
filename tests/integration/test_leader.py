"""Two controllers and one Lease: who leads, who takes over and when. Real NATS, a real API server and two gateways."""

import json
import signal
import time

from faults import Proxy, Traffic, kubeconfig_with, server_address
from group import EXPIRY_S, leads, new_group, takes_over
from harness import BUILD, PATIENCE_S, eventually, programmed_at, route


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
    start = time.monotonic()
    # Its look at the Lease, every 2 s, finds the API server again, and its watches do not wait any longer.
    eventually(lambda: first.ready() and "standby: the leader is" in first.get_admin("/readyz").text)
    print(f"standby again after {time.monotonic() - start:.1f} s")
    assert group.bucket() == before
    proxy.close()


def test_a_second_group_of_another_owner_is_refused_by_name(new_group, kubectl):
    group = new_group()
    kubectl.apply(route("ours", "/ours", hostnames=["owner.test"]))
    programmed_at(kubectl, "ours")
    kubectl("create", "namespace", f"{kubectl.namespace}-b")
    theirs = type(kubectl)(kubectl.kubeconfig, f"{kubectl.namespace}-b")
    try:
        stranger = group.controller("stranger", "--owner", "stranger", "--namespace", theirs.namespace, lease=group.lease + "-b")
        group.start(stranger)
        eventually(lambda: leads(stranger))
        for ours in group.controllers:  # they watch that namespace, too, and would tell their view of it in turn
            ours.stop()
        before = group.bucket()
        theirs.apply(route("theirs", "/theirs", hostnames=["owner.test"]))
        eventually(lambda: "belongs to owner" in (theirs.condition("theirs", "Programmed") or ["", "", ""])[2])
        message = theirs.condition("theirs", "Programmed")[2]
        assert '"stranger"' in message and "metropolis-default" in message
        answer = stranger.get_admin("/readyz")
        assert answer.status_code == 503 and "belongs to owner" in answer.text
        assert stranger.metric("metropolis_controller_writes_total") == 0
        assert group.bucket() == before
        for ours in group.controllers:  # it is theirs to publish
            ours.start()
        eventually(lambda: all(g.get("/theirs", "owner.test").status_code == 503 for g in group.gateways))
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
