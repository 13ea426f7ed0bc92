"""What may go wrong around a controller, with real servers: afterwards everything is as the Routes say, and
meanwhile gateways answer every request."""

import shutil
import threading
import time

from breakable import burst, cluster, kubectl, lists, proxy, serve, stack, traffic
from harness import PATIENCE_S, eventually, programmed_at


def test_a_connection_that_is_cut_in_the_middle_of_an_event(stack, proxy, kubectl):
    before = lists(stack)
    with traffic(stack):
        for number in range(5):
            proxy.cut_next = True
            kubectl.apply(burst(number))
            eventually(lambda: serve(stack, f"burst-{number}", f"burst.burst-{number}".encode()))
            programmed_at(kubectl, f"burst-{number}")
    assert proxy.cuts == 5
    assert lists(stack) == before  # it went on from the version before the cut


def test_a_nats_server_that_is_killed_and_comes_back_empty(stack, kubectl):
    # Nobody can reach a worker meanwhile; but there is an answer, and never "no such route".
    with traffic(stack, allowed=(200, 502, 503)):
        kubectl.apply(burst(0))
        stack.nats.kill()
        kubectl.apply(burst(1))
        shutil.rmtree(stack.nats.store)
        stack.nats.start()
        stack.nats.killed = False
        for number in range(2):
            eventually(lambda: serve(stack, f"burst-{number}", f"burst.burst-{number}".encode()))
            programmed_at(kubectl, f"burst-{number}")
        stack.controller.wait_ready()
        eventually(lambda: serve(stack, "steady", b"steady"))
    assert kubectl.condition("steady", "Programmed")[0] == "True"


def test_a_controller_that_is_killed_again_and_again_during_a_burst(stack, kubectl):
    count = 40

    def apply_all():
        for first in range(0, count, 5):
            kubectl.apply(*[burst(n) for n in range(first, first + 5)])
            if first:
                kubectl("delete", "route", f"burst-{first - 1}")

    with traffic(stack):
        writer = threading.Thread(target=apply_all)
        writer.start()
        while writer.is_alive():
            time.sleep(0.3)
            stack.controller.kill()
            stack.controller.start()
            stack.controller.killed = False
        writer.join()
        deleted = set(range(4, count - 1, 5))
        for number in range(count):
            if number in deleted:
                eventually(lambda: all(g.get(f"/burst-{number}", "faults.test").status_code == 404
                                       for g in stack.gateways))
            else:
                eventually(lambda: serve(stack, f"burst-{number}", f"burst.burst-{number}".encode()))
        kubectl("wait", "--for=condition=Programmed", "route", "--all", f"--timeout={PATIENCE_S:.0f}s")
