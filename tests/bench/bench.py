"""The benchmarks of hack/bench: real parts on loopback, started and ended here; bounded in time."""

import argparse
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import cluster  # noqa: E402
import request_path  # noqa: E402
import soak  # noqa: E402
import tables  # noqa: E402
from common import say  # noqa: E402
from harness import BUILD  # noqa: E402

BENCHMARKS = {
    "cpu": request_path.bench_cpu,
    "throughput": request_path.bench_throughput,
    "matching": tables.bench_matching,
    "compile": tables.bench_compile,
    "memory": tables.bench_memory,
    "changes": tables.bench_changes,
    "propagation": cluster.bench_propagation,
    "churn": cluster.bench_churn,
    "publish": tables.bench_publish,
    "takeover": cluster.bench_takeover,
    "scale": cluster.bench_scale,
    "soak": soak.bench_soak,
}
BY_NAME_ONLY = ("churn", "takeover", "scale", "soak")  # they take minutes each
NEED_KUBERNETES = ("propagation", "churn", "takeover", "scale")


def version_of(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def machine(names):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    about = {
        "date": time.strftime("%Y-%m-%d"), "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(), "kernel": platform.release(), "load": "%.1f %.1f %.1f" % os.getloadavg(),
        "metropolis": version_of(BUILD / "metropolis-gateway", "--version"),
        "nginx": version_of("nginx", "-v"), "nats-server": version_of("nats-server", "--version"),
        "wrk": version_of("wrk", "-v"),
    }
    if any(name in NEED_KUBERNETES for name in names):
        about["kubernetes"] = version_of("kube-apiserver", "--version")
    return about


def show(name, figures):
    print(f"\n{name}")
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        value = f"{figure.value:.3g}" if abs(figure.value) < 1000 else f"{figure.value:.0f}"
        verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
        print(f"  {figure.name:<{width}}  {value:>8} {figure.unit:<3}  {figure.target:>8}  {verdict:<6}  {figure.detail}")


def read_options():
    parser = argparse.ArgumentParser(prog="hack/bench")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--routes", type=int, default=0)
    parser.add_argument("--requests", type=int, default=soak.REQUESTS)
    parser.add_argument("--changes", type=int, default=soak.CHANGES)
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"unknown benchmark {name}; known: {', '.join(BENCHMARKS)}")
    options.names = options.names or [name for name in BENCHMARKS if name not in BY_NAME_ONLY]
    return options


def main():
    options = read_options()
    about = machine(options.names)
    results = {}
    for name in options.names:
        say(f"benchmark {name}")
        with tempfile.TemporaryDirectory(prefix="metropolis-bench-") as directory:
            results[name] = BENCHMARKS[name](directory, options)
    for key, value in about.items():
        print(f"{key:>12}  {value}")
    for name, figures in results.items():
        show(name, figures)
    if options.json:
        figures = {name: [{**dataclasses.asdict(figure), "met": figure.met} for figure in of] for name, of in results.items()}
        Path(options.json).write_text(json.dumps({"machine": about, "results": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
