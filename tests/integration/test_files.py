"""Route files without Kubernetes: what editors, deployment scripts and accidents do to the folder."""

import os
import time

import pytest

from harness import Controller, Gateway, NatsServer, eventually, stop_all

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
