"""Route files without Kubernetes: what editors, deployment scripts and accidents do to the folder."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import BUILD, Controller, Gateway, NatsServer, eventually, stop_all

# Longer than the controller takes to look at the folder again.
LOOK_S = 2.5


def text(name, path):
    return (
        "apiVersion: metropolis.dev/v1alpha1\nkind: Route\n"
        f"metadata: {{name: {name}, namespace: test}}\n"
        f"spec: {{rules: [{{matches: [{{path: {{type: Exact, value: {path}}}}}]}}]}}\n"
    )


class Folder:
    def __init__(self, directory):
        self.directory = directory
        self.routes = directory / "routes"
        self.routes.mkdir()
        (self.routes / "a.yaml").write_text(text("a", "/a"))
        (self.routes / "b.yaml").write_text(text("b", "/b"))
        self.nats = NatsServer(directory).start()
        self.gateway = Gateway(directory, self.nats.url).start()
        self.controller = None

    def watch(self, folder):
        self.controller = Controller(self.directory, self.nats.url, "--routes", folder).start()
        self.controller.wait_ready()
        self.gateway.wait_ready()

    def paths(self):
        """Of all Routes that the gateway serves."""
        routes = self.gateway.get_admin("/table").json()["routes"]
        return {route["value"]["spec"]["rules"][0]["matches"][0]["path"]["value"] for route in routes}

    def wait_for(self, *paths):
        eventually(lambda: self.paths() == set(paths))

    def written(self):
        return self.controller.metric("metropolis_controller_entries_written_total")


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    yield made
    stop_all([process for process in (made.gateway, made.controller, made.nats) if process])


@pytest.mark.parametrize("option", ["namespace", "lease", "context"])
def test_an_option_that_needs_kubernetes_is_refused_beside_files(tmp_path, option):
    done = subprocess.run([BUILD / "metropolis-controller", "--routes", tmp_path, f"--{option}", "shop"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"--{option}" in done.stderr and "--routes" in done.stderr


def test_a_file_that_an_editor_saves_is_never_gone(folder):
    folder.watch(folder.routes)
    folder.wait_for("/a", "/b")
    before = folder.written()
    file, backup = folder.routes / "a.yaml", folder.routes / "a.yaml~"
    file.rename(backup)
    time.sleep(0.05)
    file.write_text(text("a", "/new"))
    backup.unlink()
    folder.wait_for("/new", "/b")
    assert folder.written() == before + 1  # changed; not deleted and made again
    file.unlink()
    folder.wait_for("/b")


def test_a_file_with_a_mistake_holds_up_no_other(folder):
    folder.watch(folder.routes)
    folder.wait_for("/a", "/b")
    (folder.routes / "c.yaml").write_text("rules: [")
    eventually(lambda: 'effect="none of its Routes is published"' in folder.controller.log)
    (folder.routes / "a.yaml").write_text("rules: [")
    eventually(lambda: 'effect="its last good Routes stay"' in folder.controller.log)
    (folder.routes / "b.yaml").write_text(text("b", "/new"))
    folder.wait_for("/a", "/new")
    assert "nothing is published" not in folder.controller.log
    # It is ready, and says which file it does not follow, until that is good again, or gone.
    answer = folder.controller.get_admin("/readyz")
    assert answer.status_code == 200 and answer.text.startswith("ready\n")
    assert "last good Routes stay: a.yaml:2:1: " in answer.text and "and more" in answer.text
    assert folder.controller.metric("metropolis_controller_route_files", state="bad") == 2
    assert folder.controller.metric("metropolis_controller_route_files", state="good") == 1
    (folder.routes / "a.yaml").write_text(text("a", "/a2"))
    folder.wait_for("/a2", "/new")
    assert "stay: c.yaml:2:1: " in folder.controller.get_admin("/readyz").text
    (folder.routes / "c.yaml").unlink()
    eventually(lambda: folder.controller.get_admin("/readyz").text == "ready\n")
    assert folder.controller.metric("metropolis_controller_route_files", state="bad") == 0


@pytest.fixture
def open_directory():
    """A folder that other users reach, too."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_what_may_be_read_after_all_is_read(open_directory):
    """A policy and a file of Routes that came with the wrong mode, which is then put right."""
    routes, policy = open_directory / "routes", open_directory / "policy.yaml"
    routes.mkdir()
    (routes / "a.yaml").write_text(text("a", "/a"))
    policy.write_text("rules: []\n")
    with NatsServer(open_directory) as nats, Gateway(open_directory, nats.url) as gateway:
        controller = Controller(open_directory, nats.url, "--routes", routes, "--policy", policy)
        if os.getuid() == 0:  # who may read everything
            nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            controller.argv = nobody + controller.argv
            if subprocess.run([*nobody, "test", "-x", BUILD / "metropolis-controller"]).returncode:
                pytest.skip("nobody may not run the program where it is")
        with controller:
            controller.wait_ready()
            for path, content in ((policy, "rules: [{namespaces: ['*'], hostnames: ['*'], subjects: ['>']}]\n"),
                                  (routes / "a.yaml", text("a", "/b"))):
                new = open_directory / "new"
                new.write_text(content)
                new.chmod(0)
                os.replace(new, path)
            eventually(lambda: controller.get_admin("/readyz").text.count("Permission denied") == 2)
            assert controller.ready()
            time.sleep(LOOK_S)
            policy.chmod(0o644)
            (routes / "a.yaml").chmod(0o644)
            eventually(lambda: controller.get_admin("/readyz").text == "ready\n")
            eventually(lambda: gateway.get("/b").status_code == 503)


def test_a_folder_that_went_takes_no_route_with_it(folder):
    folder.watch(folder.routes)
    folder.wait_for("/a", "/b")
    elsewhere = folder.directory / "elsewhere"
    folder.routes.rename(elsewhere)
    eventually(lambda: "folder is gone" in folder.controller.get_admin("/readyz").text)
    (elsewhere / "a.yaml").unlink()
    (elsewhere / "c.yaml").write_text(text("c", "/c"))
    time.sleep(LOOK_S)
    assert folder.paths() == {"/a", "/b"}
    new = folder.directory / "new"
    new.mkdir()
    (new / "d.yaml").write_text(text("d", "/d"))
    new.rename(folder.routes)
    folder.wait_for("/d")
    assert folder.controller.ready()
    (elsewhere / "d.yaml").write_text(text("d", "/wrong"))
    (folder.routes / "e.yaml").write_text(text("e", "/e"))
    folder.wait_for("/d", "/e")


def test_a_folder_behind_a_link_follows_the_link(folder):
    link, other = folder.directory / "current", folder.directory / "other"
    link.symlink_to(folder.routes)
    folder.watch(link)
    folder.wait_for("/a", "/b")
    other.mkdir()
    (other / "c.yaml").write_text(text("c", "/c"))
    (folder.directory / "next").symlink_to(other)
    os.replace(folder.directory / "next", link)
    folder.wait_for("/c")
    (other / "c.yaml").write_text(text("c", "/c2"))
    folder.wait_for("/c2")
