"""What the programs have, the operator's page names."""

import re
import subprocess

import pytest

from harness import BUILD, ROOT

PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()


@pytest.mark.parametrize("program", ["metropolis-controller", "metropolis-gateway"])
def test_every_option_is_on_the_operators_page(program):
    listed = subprocess.run([BUILD / program, "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^\s+(--[a-z-]+)", listed, re.M)) - {"--help", "--version"}
    assert len(options) > 10
    assert [o for o in sorted(options) if f"`{o}`" not in PAGE] == []


def test_every_metric_is_on_the_operators_page_and_the_other_way_round(stack):
    pages = stack.gateways[0].get_admin("/metrics").text + stack.controller.get_admin("/metrics").text
    exported = set(re.findall(r"^# TYPE (\w+) ", pages, re.M))
    table = PAGE.split("## What to watch")[1].split("\n## ")[0]
    documented = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert [m for m in sorted(exported) if f"`{m}`" not in PAGE] == []
    assert sorted(documented - exported) == []


@pytest.mark.parametrize("program", ["metropolis-controller", "metropolis-gateway"])
@pytest.mark.parametrize("wrong", [["--no-such-option"], ["--log-level", "loud"], ["--admin", "nowhere"], ["stray"]])
def test_a_wrong_option_is_named_and_the_exit_code_is_2(program, wrong):
    done = subprocess.run([BUILD / program, *wrong], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert wrong[0] in done.stderr and done.stdout == ""
