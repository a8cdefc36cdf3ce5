"""Ctrl-C, as a real signal in a process of its own."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import run_python

_head = """
import os, signal, sys, threading, time, plimsoll
path = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it

def interrupted(work):
    "Seconds from the signal to the exception."
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(float(sys.argv[2]), send)
    timer.start()
    try:
        work()
    except KeyboardInterrupt:
        return time.monotonic() - sent[0]
    finally:
        timer.join()
    raise SystemExit("it was not interrupted")
"""

_work = {
    "loading": """
model = plimsoll.Model(path, memory="72MiB", threads=1)
seconds = interrupted(model.load)
assert not model.loaded
model.load()
""",
    "prefill": """
model = plimsoll.Model(path, memory="400MiB", threads=1)
model.load(context=6500)
prompt = [335] * 6000
seconds = interrupted(lambda: model.generate(prompt, max_tokens=1))
""",
    "stream prefill": """
model = plimsoll.Model(path, memory="400MiB", threads=1)
model.load(context=6500)
prompt = [335] * 6000
stream = model.stream(prompt, max_tokens=5)
seconds = interrupted(lambda: next(stream))
assert list(stream) == []
""",
    "append": """
model = plimsoll.Model(path, memory="400MiB", threads=1)
model.load(context=6500)
session = model.session()
seconds = interrupted(lambda: session.append([335] * 6000))
assert 0 < len(session) < 6000
session.truncate(1)
session.append([335])
session.close()
""",
    "decode": """
model = plimsoll.Model(path, memory="400MiB", threads=1)
model.load(context=8000)
seconds = interrupted(lambda: model.generate([335], temperature=0.5, seed=1))
""",
    "stream": """
model = plimsoll.Model(path, memory="400MiB", threads=1)
model.load(context=8000)
seconds = interrupted(lambda: list(model.stream([335], temperature=0.5, seed=1)))
""",
    "waiting for a turn": """
model = plimsoll.Model(path, memory="400MiB", threads=1)
model.load(context=6500)
thread = threading.Thread(target=lambda: model.generate([335] * 6000, max_tokens=1))
thread.start()
time.sleep(0.1)
seconds = interrupted(lambda: model.generate([335]))
assert thread.is_alive()
thread.join()
""",
}


@pytest.mark.parametrize("what", _work)
def test_ctrl_c_stops_promptly_and_nothing_is_broken(slow_path, what):
    done = run_python(
        _head + _work[what] + """
answer = model.generate([335, 808, 2031], temperature=0, max_tokens=3)
with plimsoll.Model(path, memory="72MiB" if not model.memory()["budget_bytes"] > 100 << 20 else "400MiB") as fresh:
    assert fresh.generate([335, 808, 2031], temperature=0, max_tokens=3).tokens == answer.tokens
model.close()
print(seconds)
""",
        slow_path, "0.4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # A chunk of the prompt, or a token, however busy the machine is.
    assert float(done.stdout) < 3


def test_a_handler_may_raise_what_it_likes(slow_path):
    done = run_python(
        _head + """
def handler(*_): raise TimeoutError("too long")
signal.signal(signal.SIGALRM, handler)
model = plimsoll.Model(path, memory="400MiB")
model.load(context=6500)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    model.generate([335] * 6000, max_tokens=1)
except TimeoutError as error:
    print(error)
model.close()
""",
        slow_path,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "too long\n", done.stderr


def test_a_program_ends_by_ctrl_c(slow_path):
    program = subprocess.Popen(
        [sys.executable, "-c", "import plimsoll, signal, sys\n"
         "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "with plimsoll.Model(sys.argv[1], memory='400MiB') as model:\n"
         "    model.load()\n    print('ready', flush=True)\n"
         "    for piece in model.stream([335], temperature=1): pass\n"
         "print('went on')\n", slow_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.3)
    program.send_signal(signal.SIGINT)
    out, errors = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGINT and "went on" not in out
    assert errors.rstrip().endswith("KeyboardInterrupt") and "Exception ignored" not in errors
