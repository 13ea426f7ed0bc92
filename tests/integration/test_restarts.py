"""What stops, dies or lags, and comes back. A file of its own: each test has the API server for itself."""

import signal
import time

from harness import Gateway, eventually, programmed, route, served, subject_of


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
