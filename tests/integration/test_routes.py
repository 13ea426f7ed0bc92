"""From kubectl to curl: a Route is applied, changed, deleted, refused; gateways and status follow."""

import json
import signal
import time

import pytest

from harness import PATIENCE_S, Gateway, eventually, route, subject_of


def programmed(kubectl, name):
    kubectl("wait", "--for=condition=Programmed", f"route/{name}", f"--timeout={PATIENCE_S:.0f}s")


def served(stack, path, host, body):
    """Every gateway answers with this body; no gateway may lag once the Route is Programmed."""
    return all(g.get(path, host).content == body for g in stack.gateways)


def test_programmed_means_that_every_gateway_serves_the_route(stack, kubectl):
    stack.worker().serve("first.>", subject_of)
    kubectl.apply(route("first", "/first/x", hostnames=["first.test"]))
    programmed(kubectl, "first")
    assert served(stack, "/first/x", "first.test", b"first.x.GET")
    status = kubectl.route("first")["status"]
    assert status["observedGeneration"] == 1
    assert status["gateways"]["ready"] == status["gateways"]["total"] == 2
    assert kubectl.condition("first", "Accepted")[:2] == ("True", "Accepted")


def test_a_change_reaches_every_gateway_and_status_observes_the_new_generation(stack, kubectl):
    stack.worker().serve("v1", subject_of)
    stack.worker().serve("v2", subject_of)
    kubectl.apply(route("changing", "/changing", "v1", hostnames=["changing.test"]))
    programmed(kubectl, "changing")
    assert served(stack, "/changing", "changing.test", b"v1")
    kubectl.apply(route("changing", "/changing", "v2", hostnames=["changing.test"]))
    eventually(lambda: kubectl.condition("changing", "Programmed")[3] == 2)
    programmed(kubectl, "changing")
    assert served(stack, "/changing", "changing.test", b"v2")


def test_a_deleted_route_is_gone_from_every_gateway(stack, kubectl):
    stack.worker().serve("gone", subject_of)
    kubectl.apply(route("gone", "/gone", "gone", hostnames=["gone.test"]))
    programmed(kubectl, "gone")
    kubectl("delete", "route", "gone")
    eventually(lambda: all(g.get("/gone", "gone.test").status_code == 404 for g in stack.gateways))


def test_a_relabelled_route_is_not_written_again(stack, kubectl):
    kubectl.apply(route("still", "/still", "still", hostnames=["still.test"]))
    programmed(kubectl, "still")
    before = kubectl.route("still")
    kubectl("label", "route", "still", "team=a")
    kubectl("label", "route", "still", "tier=b")
    time.sleep(1)
    after = kubectl.route("still")
    assert after["status"] == before["status"]
    revision = int(after["metadata"]["resourceVersion"])
    time.sleep(1)
    assert int(kubectl.route("still")["metadata"]["resourceVersion"]) == revision


def test_of_two_routes_for_the_same_request_the_older_serves_and_the_younger_names_it(stack, kubectl):
    stack.worker().serve("older", subject_of)
    stack.worker().serve("younger", subject_of)
    kubectl.apply(route("older", "/same", "older", hostnames=["conflict.test"]))
    programmed(kubectl, "older")
    time.sleep(1.1)  # creationTimestamp counts in seconds
    kubectl.apply(route("younger", "/same", "younger", hostnames=["conflict.test"]))
    eventually(lambda: kubectl.condition("younger", "Accepted"))
    status, reason, message, _ = kubectl.condition("younger", "Accepted")
    assert (status, reason) == ("False", "Shadowed")
    assert f"{kubectl.namespace}/older" in message
    assert served(stack, "/same", "conflict.test", b"older")

    kubectl("delete", "route", "older")
    eventually(lambda: kubectl.condition("younger", "Accepted")[0] == "True")
    programmed(kubectl, "younger")
    assert served(stack, "/same", "conflict.test", b"younger")


def test_an_update_that_cannot_be_compiled_keeps_the_last_good_generation_serving(stack, kubectl):
    stack.worker().serve("kept", subject_of)
    good = route("kept", "/kept", "kept", kind="RegularExpression", hostnames=["kept.test"])
    kubectl.apply(good)
    programmed(kubectl, "kept")
    good["spec"]["rules"][0]["matches"][0]["path"]["value"] = "/kept(["
    kubectl.apply(good)  # the schema cannot judge a regular expression
    eventually(lambda: kubectl.condition("kept", "Accepted")[0] == "False")
    _, reason, message, generation = kubectl.condition("kept", "Accepted")
    assert (reason, generation) == ("Invalid", 2)
    assert "spec.rules[0].matches[0].path.value" in message and "generation 1" in message
    assert served(stack, "/kept", "kept.test", b"kept")


def test_a_gateway_that_nobody_runs_is_named_in_status(stack, kubectl):
    kubectl.apply(route("lost", "/lost", "lost", gateway="elsewhere"))
    eventually(lambda: kubectl.condition("lost", "Accepted"))
    status, reason, message, _ = kubectl.condition("lost", "Accepted")
    assert (status, reason) == ("False", "NoSuchGateway")
    assert "elsewhere" in message and "default" in message
    assert kubectl.condition("lost", "Programmed")[0] == "False"


def test_the_columns_of_kubectl_get_tell_the_state(stack, kubectl):
    kubectl.apply(route("seen", "/seen", "seen", hostnames=["seen.test"]))
    programmed(kubectl, "seen")
    header, line = kubectl("get", "routes.metropolis.dev", "seen").stdout.splitlines()
    assert header.split() == ["NAME", "HOSTS", "GATEWAY", "ACCEPTED", "PROGRAMMED", "PODS", "AGE"]
    assert line.split()[0] == "seen" and "seen.test" in line
    assert line.split()[2:6] == ["default", "True", "True", "2/2"]


def test_a_pod_that_lags_is_named_until_it_has_caught_up(own_stack, kubectl):
    own_stack.worker().serve("lag", subject_of)
    slow = own_stack.gateways[1]
    slow.signal(signal.SIGSTOP)
    try:
        kubectl.apply(route("lag", "/lag", "lag", hostnames=["lag.test"]))
        eventually(lambda: (kubectl.condition("lag", "Programmed") or [""])[0] == "False")
        assert slow.name in kubectl.condition("lag", "Programmed")[2]
        assert kubectl.condition("lag", "Accepted")[0] == "True"
    finally:
        slow.signal(signal.SIGCONT)
    programmed(kubectl, "lag")
    assert served(own_stack, "/lag", "lag.test", b"lag")


def test_a_new_pod_serves_the_table_while_no_controller_runs(own_stack, kubectl):
    own_stack.worker().serve("late", subject_of)
    kubectl.apply(route("late", "/late", "late", hostnames=["late.test"]))
    programmed(kubectl, "late")
    own_stack.controller.kill()
    third = Gateway(own_stack.directory, own_stack.nats.url, "gw-late")
    own_stack.gateways.append(third)
    third.start().wait_ready()
    assert third.get("/late", "late.test").content == b"late"


def test_a_killed_gateway_comes_back_with_its_table(own_stack, kubectl):
    own_stack.worker().serve("back", subject_of)
    kubectl.apply(route("back", "/back", "back", hostnames=["back.test"]))
    programmed(kubectl, "back")
    victim = own_stack.gateways[0]
    victim.kill()
    assert own_stack.gateways[1].get("/back", "back.test").content == b"back"
    victim.start().wait_ready()
    assert victim.get("/back", "back.test").content == b"back"


def test_what_changed_while_the_controller_was_dead_is_caught_up(own_stack, kubectl):
    own_stack.worker().serve("catch.*", subject_of)
    for name in ("changed", "deleted"):
        kubectl.apply(route(name, f"/{name}", f"catch.{name}", hostnames=["catch.test"]))
        programmed(kubectl, name)
    own_stack.controller.kill()
    kubectl.apply(route("changed", "/changed", "catch.again", hostnames=["catch.test"]))
    kubectl.apply(route("added", "/added", "catch.added", hostnames=["catch.test"]))
    kubectl("delete", "route", "deleted")
    time.sleep(0.5)
    assert served(own_stack, "/changed", "catch.test", b"catch.changed")  # the last table serves on
    own_stack.controller.start().wait_ready()
    eventually(lambda: served(own_stack, "/changed", "catch.test", b"catch.again"))
    eventually(lambda: served(own_stack, "/added", "catch.test", b"catch.added"))
    eventually(lambda: all(g.get("/deleted", "catch.test").status_code == 404 for g in own_stack.gateways))
    programmed(kubectl, "added")


def test_after_a_restart_of_nats_everything_goes_on(own_stack, kubectl):
    own_stack.worker().serve("again.*", subject_of)
    kubectl.apply(route("again", "/again", "again.one", hostnames=["again.test"]))
    programmed(kubectl, "again")
    own_stack.nats.stop()
    down = own_stack.gateways[0].get("/again", "again.test")
    assert down.status_code == 503 and "Retry-After" in down.headers
    own_stack.nats.start()
    eventually(lambda: served(own_stack, "/again", "again.test", b"again.one"))
    kubectl.apply(route("again", "/again", "again.two", hostnames=["again.test"]))
    eventually(lambda: served(own_stack, "/again", "again.test", b"again.two"))
    eventually(lambda: kubectl.condition("again", "Programmed")[0::3] == ("True", 2))


def test_an_emptied_jetstream_is_filled_again_and_no_route_is_lost(own_stack, kubectl):
    import shutil

    own_stack.worker().serve("refill", subject_of)
    kubectl.apply(route("refill", "/refill", "refill", hostnames=["refill.test"]))
    programmed(kubectl, "refill")
    own_stack.nats.stop()
    shutil.rmtree(own_stack.nats.store)
    own_stack.nats.start()
    # Workers reconnect on their own time; a 404 would mean that a gateway dropped its table.
    def answers():
        statuses = [g.get("/refill", "refill.test").status_code for g in own_stack.gateways]
        assert 404 not in statuses
        return statuses == [200, 200]

    eventually(answers)
    fresh = Gateway(own_stack.directory, own_stack.nats.url, "gw-fresh")
    own_stack.gateways.append(fresh)
    fresh.start().wait_ready()
    assert fresh.get("/refill", "refill.test").content == b"refill"


def test_a_burst_with_a_killed_controller_converges(own_stack, kubectl):
    names = [f"burst-{i}" for i in range(40)]
    own_stack.worker().serve("burst.*", subject_of)
    kubectl.apply(*[route(n, f"/{n}", f"burst.{n}", hostnames=["burst.test"]) for n in names[:20]])
    own_stack.controller.kill()
    kubectl.apply(*[route(n, f"/{n}", f"burst.{n}", hostnames=["burst.test"]) for n in names[20:]])
    own_stack.controller.start()
    for name in names:
        programmed(kubectl, name)
        assert served(own_stack, f"/{name}", "burst.test", f"burst.{name}".encode())


@pytest.mark.parametrize("program", ["controller", "gateway"])
def test_fleet_and_table_show_what_is_in_force(stack, kubectl, program):
    kubectl.apply(route("shown", "/shown", "shown", hostnames=["shown.test"]))
    programmed(kubectl, "shown")
    if program == "controller":
        fleet = json.dumps(stack.controller.get_admin("/fleet").json())
        assert all(g.name in fleet for g in stack.gateways)
    else:
        table = json.dumps(stack.gateways[0].get_admin("/table").json())
        assert "shown.test" in table and kubectl.namespace in table
