"""A policy keeps tenants apart, also while it changes under the controller."""

import os
import subprocess

import pytest

from harness import BUILD, Controller, Gateway, NatsServer, Worker, eventually, route, stop_all


def text(name, namespace, path, host, subject):
    return (
        "apiVersion: metropolis.dev/v1alpha1\nkind: Route\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{hostnames: [{host}], rules: [{{matches: [{{path: {{type: Exact, value: {path}}}}}],\n"
        f"  backends: [{{subject: {subject}}}]}}]}}\n"
    )


def policy(*rules):
    lines = [f"- {{namespaces: [{n}], hostnames: [{h}], subjects: [{s}]}}\n" for n, h, s in rules]
    return "rules:\n" + "".join(lines)


SHOP = ("shop", "shop.test", "shop.>")
BANK = ("bank", "bank.test", "bank.>")


class Tenants:
    """Two tenants, each with a Route of its own, and a third Route that takes the other's host and
    subject. The policy is where kubelet puts a ConfigMap: behind a link to a folder that changes."""

    def __init__(self, directory):
        self.directory = directory
        self.versions = 0
        self.routes, self.mount = directory / "routes", directory / "etc"
        self.routes.mkdir()
        self.mount.mkdir()
        (self.mount / "policy.yaml").symlink_to("..data/policy.yaml")
        self.set_policy(policy(SHOP, BANK))
        for name, *route in (("shop", "shop", "/", "shop.test", "shop.x"), ("bank", "bank", "/", "bank.test", "bank.x"),
                             ("thief", "shop", "/gold", "bank.test", "bank.gold")):
            (self.routes / f"{name}.yaml").write_text(text(name, *route))
        self.nats = NatsServer(directory).start()
        self.worker = Worker(self.nats.url)
        self.worker.serve("*.*", lambda message: message.subject.encode())
        self.controller = Controller(directory, self.nats.url, "--routes", self.routes,
                                     "--policy", self.mount / "policy.yaml").start()
        self.gateway = Gateway(directory, self.nats.url).start()
        self.controller.wait_ready()
        self.gateway.wait_ready()

    def set_policy(self, content):
        self.versions += 1
        folder = self.mount / f"..{self.versions}"
        folder.mkdir()
        (folder / "policy.yaml").write_text(content)
        (self.mount / "..new").symlink_to(folder.name)
        os.replace(self.mount / "..new", self.mount / "..data")

    def answer(self, host, path):
        response = self.gateway.get(path, host=host)
        return response.text if response.status_code == 200 else response.status_code

    def denied(self):
        return self.controller.metric("metropolis_controller_routes", verdict="PolicyDenied")


@pytest.fixture
def tenants(tmp_path):
    made = Tenants(tmp_path)
    yield made
    made.worker.close()
    stop_all([made.gateway, made.controller, made.nats])


def test_a_tenant_takes_neither_hosts_nor_subjects_of_another_and_a_change_is_followed(tenants):
    assert tenants.answer("shop.test", "/") == "shop.x"
    assert tenants.answer("bank.test", "/") == "bank.x"
    assert tenants.answer("bank.test", "/gold") == 404
    assert tenants.denied() == 1
    assert 'spec.hostnames: \\"bank.test\\" is not allowed' in tenants.controller.log
    before = tenants.controller.metric("metropolis_controller_entries_written_total")
    tenants.set_policy(policy(SHOP, BANK, ("shop", "bank.test", "bank.gold")))
    eventually(lambda: tenants.answer("bank.test", "/gold") == "bank.gold")
    assert tenants.controller.metric("metropolis_controller_entries_written_total") == before + 1
    tenants.set_policy(policy(BANK))
    eventually(lambda: tenants.answer("shop.test", "/") == 404)
    assert tenants.answer("bank.test", "/") == "bank.x" and tenants.answer("bank.test", "/gold") == 404
    assert tenants.denied() == 2


def test_a_policy_that_cannot_be_read_changes_nothing_and_says_so(tenants):
    controller = tenants.controller
    for broken, said in (("rules:\n- namespaces: [shop\n", "policy.yaml:3:1: "),
                         ("rules:\n- namespaces: [shop]\n  hostnames: [shop.test]\n", "policy.yaml:2: rules[0]: needs"),
                         ("", "policy.yaml:1: policy: has 0 documents")):
        tenants.set_policy(broken)
        eventually(lambda s=said: s in controller.get_admin("/readyz").text)
        assert controller.ready() and controller.metric("metropolis_controller_policy_good") == 0
        assert "the last good one stays" in controller.log and said in controller.log
        assert tenants.answer("shop.test", "/") == "shop.x" and tenants.answer("bank.test", "/gold") == 404
    (tenants.mount / "..data").unlink()
    eventually(lambda: "No such file" in controller.get_admin("/readyz").text)
    assert tenants.answer("shop.test", "/") == "shop.x"
    assert controller.metric("metropolis_controller_policy_loads_total", result="bad") == 3
    tenants.set_policy(policy(BANK))
    eventually(lambda: tenants.answer("shop.test", "/") == 404)
    assert controller.get_admin("/readyz").text == "ready\n"
    assert controller.metric("metropolis_controller_policy_good") == 1


def test_a_restart_under_a_stricter_policy_takes_away_what_was_there(tenants):
    tenants.controller.stop()
    tenants.set_policy(policy(BANK))
    tenants.controller.start()
    eventually(lambda: tenants.answer("shop.test", "/") == 404)
    assert tenants.answer("bank.test", "/") == "bank.x"


@pytest.mark.parametrize("content, said", [
    ("rules:\n- {namespaces: [a], hostnames: ['*'], subjects: ['a.>.b']}\n", "2: rules[0].subjects[0]: "),
    ("rules:\n- {namespaces: [a], hostnames: [a.*], subjects: ['>']}\n", "2: rules[0].hostnames[0]: "),
    ("rules:\n- {namespaces: [a*b*], hostnames: ['*'], subjects: ['>']}\n", "2: rules[0].namespaces[0]: "),
    ("rules:\n- {namespaces: [a], hostnames: ['*'], subjects: ['>'], allow: all}\n", '2: rules[0]: unknown field "allow"'),
    ("rules:\n- namespaces: [a]\n  hostnames: []\n", "2: rules[0]: needs"),
    ("rules:\n- {namespaces: [a], subjects: ['>'],\n   hostnames: []}\n", "3: rules[0].hostnames: has 0 items"),
    (None, " No such file"),
])
def test_a_controller_does_not_start_with_a_policy_that_it_cannot_read(tmp_path, content, said):
    path = tmp_path / "policy.yaml"
    if content:
        path.write_text(content)
    done = subprocess.run([BUILD / "metropolis-controller", "--routes", tmp_path, "--policy", path,
                           "--admin", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert f"--policy {path}:{said}".replace('"', '\\"') in done.stderr


def test_kubectl_shows_what_is_denied_and_what_would_be_allowed(tmp_path, kubeconfig, kubectl):
    file = tmp_path / "policy.yaml"
    file.write_text(policy((kubectl.namespace, "own.test", "own.>")))
    nats = NatsServer(tmp_path).start()
    controller = Controller(tmp_path, nats.url, "--kubeconfig", kubeconfig, "--namespace", kubectl.namespace,
                            "--lease", "none", "--policy", file).start()

    def accepted(name):
        return (kubectl.condition(name, "Accepted") or ())[:2]

    try:
        kubectl.apply(route("mine", "/own/a", hostnames=["own.test"]), route("other", "/own/b", hostnames=["other.test"]))
        eventually(lambda: accepted("mine") == ("True", "Accepted"))
        status, reason, message, _ = eventually(lambda: kubectl.condition("other", "Accepted"))
        assert (status, reason) == ("False", "PolicyDenied")
        assert message == (f'spec.hostnames: "other.test" is not allowed to the namespace "{kubectl.namespace}"; '
                           "rules[0] of the policy allows own.test")
        file.write_text(policy((kubectl.namespace, "other.test", "own.>")))
        eventually(lambda: accepted("other") == ("True", "Accepted"))
        eventually(lambda: accepted("mine") == ("False", "PolicyDenied"))
    finally:
        stop_all([controller, nats])
