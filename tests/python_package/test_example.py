"""The documented example does what it says."""

import subprocess
import sys

from conftest import root


def example(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, root / "examples" / "answer.py", *arguments], capture_output=True, text=True, timeout=120
    )


def test_it_streams_under_a_budget():
    done = example("32MiB", "The kernel keeps")
    assert done.returncode == 0 and len(done.stdout) > 20, done.stderr
    assert "of 32 MiB" in done.stderr


def test_it_refuses_by_code():
    done = example("3MiB", "The kernel keeps")
    assert done.returncode == 3 and done.stdout == "" and "budget_refused: needs" in done.stderr
    assert example().returncode == 2
