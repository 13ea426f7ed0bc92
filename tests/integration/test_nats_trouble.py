"""NATS is not there, or not as it should be: programs say why, and recover alone."""

import json
import time

import pytest

from harness import PATIENCE_S, Controller, Gateway, NatsServer, Worker, eventually, free_port, route, stop_all


@pytest.fixture
def start(tmp_path):
    """Starts a controller on route files with these options; all is stopped in the end."""
    processes = []
    (tmp_path / "routes").mkdir()

    def start_controller(url, *args):
        processes.insert(0, Controller(tmp_path, url, "--routes", tmp_path / "routes", *args).start())
        return processes[0]

    def new_server(**options):
        processes.append(NatsServer(tmp_path, **options))
        return processes[-1]

    start_controller.new_server = new_server
    yield start_controller
    stop_all([process for process in processes if process.running])


@pytest.mark.parametrize(
    ("url", "args", "message"),
    [
        ("http://127.0.0.1:4222", (), "--nats: the scheme of a server is nats:// or tls://"),
        ("nats://127.0.0.1:4222", ("--nats-creds", "/no/such"), "--nats-creds /no/such: No such file"),
        ("nats://127.0.0.1:4222", ("--nats-ca", "/no/such"), "--nats-ca /no/such: No such file"),
    ],
)
def test_what_cannot_work_ends_at_once(start, url, args, message):
    controller = start(url, *args)
    assert controller.popen.wait(PATIENCE_S) == 2
    assert message in controller.log


@pytest.mark.parametrize("option", ["creds", "table-creds", "ca", "cert", "key"])
def test_a_gateway_without_a_file_that_it_was_told_of_ends_at_once(tmp_path, option):
    others = ["--nats-cert", "/dev/null"] if option == "key" else []
    gateway = Gateway(tmp_path, "nats://127.0.0.1:4222", "gw-0", f"--nats-{option}", "/no/such", *others).start()
    assert gateway.popen.wait(PATIENCE_S) == 2
    assert f"--nats-{option} /no/such: No such file or directory" in gateway.log


def readyz_says(controller, text):
    page = controller.get_admin("/readyz")
    assert page.status_code == 503
    assert text in page.text, page.text
    assert controller.running
    return True


def test_a_server_that_comes_later(start):
    server = start.new_server()
    controller = start(server.url)
    eventually(lambda: readyz_says(controller, "not connected to NATS: no server answers"))
    server.start()
    controller.wait_ready()


def test_a_wrong_password(start):
    server = start.new_server(config='authorization { user: "u", password: "right" }').start()
    controller = start(f"nats://u:wrong@127.0.0.1:{server.port}")
    eventually(lambda: readyz_says(controller, "not connected to NATS: Authorization Violation"))
    assert "wrong" not in controller.log  # the password


def test_a_user_that_may_not(start):
    server = start.new_server(
        config="authorization { users: [{user: u, password: p, permissions: {publish: [nothing]}}] }"
    ).start()
    controller = start(f"nats://u:p@127.0.0.1:{server.port}")
    eventually(lambda: readyz_says(controller, 'Permissions Violation for Publish to "$JS.API.STREAM.INFO'))


def test_a_table_that_the_gateways_user_may_not_read(tmp_path, start):
    server = start.new_server(config="""authorization { users: [
        { user: u, password: p },
        { user: gw, password: p, permissions: { publish: { deny: ["$JS.API.CONSUMER.CREATE.>"] } } } ] }""").start()
    start(f"nats://u:p@127.0.0.1:{server.port}").wait_ready()
    gateway = Gateway(tmp_path, f"nats://gw:p@127.0.0.1:{server.port}", "gw-0").start()
    try:
        eventually(lambda: readyz_says(gateway, "may not create a consumer of the table's stream"))
        time.sleep(3)  # it asks again and again
        assert readyz_says(gateway, "may not create a consumer of the table's stream")
        assert "the table's user may not publish in NATS" in gateway.log
    finally:
        gateway.stop()


def test_tables_of_another_domain_are_reached_over_a_leaf_node(tmp_path, start):
    """Programs that know only the leaf, whose JetStream is its own; the tables are in the hub's."""
    address = f"127.0.0.1:{free_port()}"
    hub = start.new_server(name="hub", config=f"""
        jetstream {{ store_dir: "{tmp_path}/hub", domain: hub }}
        leafnodes {{ listen: "{address}" }}""").start()
    leaf = start.new_server(name="leaf", config=f"""
        jetstream {{ store_dir: "{tmp_path}/leaf", domain: leaf }}
        leafnodes {{ remotes: [{{ url: "nats-leaf://{address}" }}] }}""").start()
    controller = start(leaf.url, "--nats-js-domain", "hub")
    gateway = Gateway(tmp_path, leaf.url, "gw-0", "--nats-js-domain", "hub").start()
    worker = Worker(hub.url)
    worker.serve("echo.*", lambda message: b"here")
    try:
        for path in ("/one", "/two"):
            file = tmp_path / "routes" / "echo.yaml"
            file.with_suffix(".new").write_text(json.dumps(route("echo", path, "echo.{method}")))
            file.with_suffix(".new").rename(file)
            eventually(lambda p=path: gateway.get(p).text == "here")
            eventually(lambda: controller.metric("metropolis_controller_table_routes", phase="programmed") == 1)
        assert gateway.get("/one").status_code == 404

        def streams(domain):
            return {s.config.name for s in worker.run(worker.client.jetstream(domain=domain).streams_info())}

        assert streams("hub") == {"KV_metropolis-default", "KV_metropolis_acks"} and not streams("leaf")
    finally:
        worker.close()
        gateway.stop()
