"""Many requests and many table changes, and whether the gateway's memory stays where it was."""

import time

from common import MIB, Figure, Stack, run_wrk, rss_bytes, say, url_of
from tables import CHANGES_PER_S, has_applied_all, load_while_changing, make_control_stream, wait_for_table
from harness import eventually

PART_S = 20
REQUESTS, CHANGES = 2_000_000, 20_000


def bench_soak(directory, options):
    """--requests of load and --changes of a table of 10,000 Routes, in parts; RSS after each part."""
    requests, changes, errors, sizes = 0, 0, 0, []
    with Stack(directory, 10000) as stack:
        wait_for_table(stack, 10001)
        stack.controller.stop()  # it would put its own values back
        pid = stack.gateway.popen.pid
        run_wrk(url_of(stack.gateway), 256, 5)  # pools as full as they get
        while requests < options.requests or changes < options.changes:
            load, written = load_while_changing(stack, "", PART_S, connections=256)
            requests += load.requests
            changes += written
            errors += load.errors
            eventually(lambda: has_applied_all(stack, stack.gateway))
            sizes.append(rss_bytes(pid))
            say(f"soak: {requests:,} requests, {changes:,} changes, RSS {sizes[-1] / MIB:.1f} MiB")
    half = sizes[len(sizes) // 2:]
    return [
        Figure("requests", requests, least=options.requests),
        Figure("table changes applied", changes, least=options.changes),
        Figure("errors", errors, most=0),
        Figure("RSS growth in the second half", (half[-1] - half[0]) / MIB, "MiB", most=0.5,
               detail=f"{sizes[0] / MIB:.1f} MiB after the first part, {sizes[-1] / MIB:.1f} after the last"),
    ]
