"""Ways to reach and to log in to a real API server that kubeconfigs have."""

import base64
import json
import sys
import time

import pytest
import yaml

from faults import Proxy, client_certificate, kubeconfig_with, server_address
from harness import Controller, NatsServer, eventually, route, stop_all

PLUGIN = """#!{python}
import json, os, sys
directory = {directory!r}
with open(directory + "/runs", "a") as runs:
    runs.write(os.environ["KUBERNETES_EXEC_INFO"] + "\\n")
if os.path.exists(directory + "/fails"):
    sys.exit("log in at https://login.example first")
status = json.load(open(directory + "/status"))
print(json.dumps({{"kind": "ExecCredential", "apiVersion": sys.argv[1], "status": status}}))
"""


class Plugin:
    def __init__(self, directory, kubeconfig):
        self.directory = directory
        path = directory / "plugin"
        path.write_text(PLUGIN.format(python=sys.executable, directory=str(directory)))
        path.chmod(0o755)
        version = "client.authentication.k8s.io/v1"
        user = {"exec": {"apiVersion": version, "command": "./plugin", "args": [version], "interactiveMode": "Never",
                         "provideClusterInfo": True}}
        self.kubeconfig = kubeconfig_with(kubeconfig, directory / "kubeconfig", user=user)

    def give(self, **status):
        (self.directory / "status").write_text(json.dumps(status))

    @property
    def runs(self):
        return [json.loads(line) for line in (self.directory / "runs").read_text().splitlines()]


@pytest.fixture
def plugin(tmp_path, kubeconfig):
    return Plugin(tmp_path, kubeconfig)


@pytest.fixture
def start(tmp_path):
    """Starts a controller with this kubeconfig."""
    nats = NatsServer(tmp_path).start()
    controllers = []

    def start_controller(path):
        controllers.append(Controller(tmp_path, nats.url, "--kubeconfig", path).start())
        return controllers[-1]

    yield start_controller
    stop_all([*controllers, nats])


def token_of(kubectl, *args):
    account = f"controller-{len(args)}"
    kubectl("create", "serviceaccount", account)
    kubectl("create", "clusterrolebinding", f"{kubectl.namespace}-{account}", "--clusterrole=cluster-admin",
            f"--serviceaccount={kubectl.namespace}:{account}")
    return kubectl("create", "token", account, *args).stdout


def works(kubectl, name):
    kubectl.apply(route(name, f"/{name}", "login"))
    eventually(lambda: (kubectl.condition(name, "Accepted") or [""])[0] == "True", every_s=0.2)


def test_an_exec_plugin_gives_a_token(start, plugin, kubectl, kubeconfig):
    plugin.give(token=token_of(kubectl), expirationTimestamp="2999-01-01T00:00:00Z")
    controller = start(plugin.kubeconfig)
    controller.wait_ready()
    works(kubectl, "token")
    assert len(plugin.runs) == 1
    cluster = plugin.runs[0]["spec"]["cluster"]
    assert cluster["server"] == f"https://{server_address(kubeconfig)}"
    assert "certificate-authority-data" in cluster


def test_an_exec_plugin_is_asked_anew_when_its_token_is_refused(start, plugin, kubectl):
    plugin.give(token="not-a-token")
    controller = start(plugin.kubeconfig)
    eventually(lambda: controller.metric("rest_client_requests_total", code="401") > 0)
    assert "Unauthorized" in controller.get_admin("/readyz").text
    plugin.give(token=token_of(kubectl))
    controller.wait_ready()
    works(kubectl, "refused")


def test_an_exec_plugin_gives_a_client_certificate(start, plugin, kubectl, kubeconfig):
    certificate, key = client_certificate(kubeconfig)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8))
    plugin.give(clientCertificateData=certificate, clientKeyData=key, expirationTimestamp=soon)
    controller = start(plugin.kubeconfig)
    controller.wait_ready()
    works(kubectl, "certificate")
    time.sleep(8)
    plugin.give(clientCertificateData=certificate, clientKeyData=key)
    works(kubectl, "renewed")  # a status needs a request after it has expired
    assert len(plugin.runs) >= 2


def test_what_an_exec_plugin_complains_of_is_shown(start, plugin, kubectl):
    (plugin.directory / "fails").touch()
    controller = start(plugin.kubeconfig)
    eventually(lambda: "exit code 1: log in at https://login.example first" in controller.get_admin("/readyz").text)
    assert controller.get_admin("/healthz").status_code == 200
    plugin.give(token=token_of(kubectl))
    (plugin.directory / "fails").unlink()
    controller.wait_ready()


def test_a_proxy_of_the_kubeconfig_is_used(tmp_path, start, kubectl, kubeconfig):
    proxy = Proxy(connect=True)
    path = kubeconfig_with(kubeconfig, tmp_path / "kubeconfig", **{"proxy-url": f"http://127.0.0.1:{proxy.port}"})
    controller = start(path)
    controller.wait_ready()
    works(kubectl, "proxied")
    proxy.shut()
    eventually(lambda: controller.get_admin("/readyz").status_code == 503)
    assert set(proxy.tunnels) == {server_address(kubeconfig)}
    proxy.close()


def test_an_authority_that_is_replaced_in_its_file_is_trusted_at_once(tmp_path, start, kubectl, kubeconfig):
    config = yaml.safe_load(open(kubeconfig))
    good = base64.b64decode(config["clusters"][0]["cluster"].pop("certificate-authority-data")).decode()
    authority = tmp_path / "ca.crt"
    authority.write_text(client_certificate(kubeconfig)[0])  # a certificate, but of no authority
    config["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    controller = start(tmp_path / "kubeconfig")
    eventually(lambda: "certificate" in controller.get_admin("/readyz").text)
    authority.write_text(good)
    eventually(controller.ready, 40)  # not only when what was read is a minute old
    works(kubectl, "trusted")


def test_the_certificate_may_be_for_another_name_if_the_kubeconfig_says_so(tmp_path, start, kubectl, kubeconfig):
    named = kubeconfig_with(kubeconfig, tmp_path / "named", **{"tls-server-name": "kubernetes.default.svc"})
    controller = start(named)
    controller.wait_ready()
    works(kubectl, "named")
    controller.stop()
    wrong = kubeconfig_with(kubeconfig, tmp_path / "wrong", **{"tls-server-name": "other.example"})
    controller = start(wrong)
    eventually(lambda: "other.example" in controller.get_admin("/readyz").text)
