"""From kubectl to curl: a Route is applied, changed, deleted, refused; gateways and status follow."""

import json
import time

import pytest

from harness import eventually, programmed, route, served, subject_of


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
