"""What the tests of the Python package share. run.sh says where programs and models are."""

import os
import subprocess
import sys
from pathlib import Path

import plimsoll
import pytest

build = Path(os.environ.get("PLIMSOLL_BUILD", "out/release"))
root = Path(__file__).parent.parent.parent


def made(name: str, *options: str) -> str:
    """A model with random weights, which stays."""
    path = root / "out" / "models" / name
    if not path.exists():
        program = build / "plimsoll_make_model"
        if not program.exists():
            pytest.skip(f"{program} is not built")
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        subprocess.run(
            [program, part, "--vocab-from", bundled(), *options], check=True, stdout=subprocess.DEVNULL
        )
        part.rename(path)
    return str(path)


def bundled() -> str:
    return str(root / "models" / "plimsoll-docs-4m-f16.gguf")


@pytest.fixture
def model():
    with plimsoll.Model(memory="32MiB", threads=2) as opened:
        yield opened


@pytest.fixture(scope="session")
def slow_path() -> str:
    """Takes seconds to load, rounded, and to read a prompt of its context."""
    return made(
        "python-slow.gguf", "--layers", "8", "--width", "768", "--heads", "12", "--kv-heads", "12",
        "--feed-forward", "2048", "--context", "8192",
    )  # fmt: skip


@pytest.fixture(scope="session")
def chat_path() -> str:
    path = Path(os.environ.get("PLIMSOLL_CHAT_MODEL", "/tmp/smol/smollm2.gguf"))
    if not path.exists():
        pytest.skip(f"no chat model: {path} (PLIMSOLL_CHAT_MODEL)")
    return str(path)


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, *arguments],
        capture_output=True, text=True, timeout=240, **options,
    )  # fmt: skip
