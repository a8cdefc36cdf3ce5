"""Opening, planning, loading, closing; what goes wrong, and how it is said."""

import gc
import json
import os
import pickle
import re
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import plimsoll
import pytest
from conftest import bundled, run_python


def test_bundled_model_is_found_without_a_path(model):
    assert model.name == "Plimsoll docs 4M"
    assert model.vocabulary_size == 4096 and model.trained_context == 256
    assert Path(model.path).parent.parent == Path(plimsoll.__file__).parent
    assert not model.loaded


def test_paths_and_sizes_come_in_every_usual_type():
    with plimsoll.Model(Path(bundled()), memory=np.int64(32 << 20), threads=1) as model:
        assert model.memory()["budget_bytes"] == 32 << 20
    with plimsoll.Model(bundled(), memory="0.5GiB") as model:
        assert model.memory()["budget_bytes"] == 512 << 20


@pytest.mark.parametrize(
    "arguments",
    [
        {"memory": "much"}, {"memory": 0}, {"memory": -1}, {"memory": "0"}, {"memory": 1 << 70},
        {"threads": -1}, {"threads": 257}, {"path": ""}, {"path": "a\0b"},
    ],
)  # fmt: skip
def test_wrong_arguments_are_value_errors(arguments):
    with pytest.raises(ValueError) as caught:
        plimsoll.Model(**arguments)
    assert isinstance(caught.value, plimsoll.UsageError) and caught.value.code == "usage"
    assert caught.value.message and str(caught.value).startswith(caught.value.message)


@pytest.mark.parametrize("arguments", [{"memory": 1.5}, {"memory": True}, {"path": 7}, {"threads": "2"}])
def test_wrong_types_are_type_errors(arguments):
    with pytest.raises(TypeError):
        plimsoll.Model(**arguments)


def test_missing_file_is_file_not_found():
    with pytest.raises(FileNotFoundError) as caught:
        plimsoll.Model("/nowhere/at/all.gguf")
    error = caught.value
    assert isinstance(error, plimsoll.FileNotFound) and error.code == "file_not_found"
    assert error.errno == 2 and error.hint


def test_damaged_file_is_a_model_error(tmp_path):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(Path(bundled()).read_bytes()[:100_000])
    with pytest.raises(plimsoll.ModelError) as caught:
        plimsoll.Model(damaged)
    assert caught.value.code == "file_corrupt"


def test_more_memory_than_there_is_is_refused():
    with pytest.raises(plimsoll.Error) as caught:
        plimsoll.Model(memory=1 << 60)
    assert caught.value.code == "machine_limit"


def test_following_the_hint_of_a_refusal_works():
    with plimsoll.Model(memory=3 << 20) as model:
        assert model.plan()["fits"] is False
        with pytest.raises(plimsoll.BudgetRefused) as caught:
            model.load()
        with pytest.raises(plimsoll.BudgetRefused):
            model.generate("The kernel")  # loads by itself
    least = re.search(r"give memory=(\d+)", caught.value.hint)
    assert least and "--" not in str(caught.value)
    with plimsoll.Model(memory=int(least[1])) as model:
        model.load()


def test_the_line_moves_while_a_session_goes_on(model):
    model.load(kv="8/4")
    assert model.plan(kv="8/4")["kv"] == "8/4"
    with model.session() as session:
        session.append(model.tokenize("The kernel keeps a list of"))
        before = model.memory()
        line = before["used_bytes"] - (2 << 20)
        model.move_line(line)
        assert model.memory()["budget_bytes"] == line
        assert model.memory()["accounts"]["weights"] < before["accounts"]["weights"]
        assert session.generate(max_tokens=5, temperature=0)
        with pytest.raises(plimsoll.BudgetRefused) as refused:
            model.move_line("1MiB")
        assert model.memory()["budget_bytes"] == line
        hint = int(re.search(r"give (\d+)", refused.value.hint)[1])
        model.move_line(hint)
        model.move_line(before["budget_bytes"])
        assert model.memory()["accounts"]["weights"] == before["accounts"]["weights"]
        assert session.generate(max_tokens=5, temperature=0)


@pytest.mark.parametrize("kv", ["", "7", "8/", "eight", "8/4/2"])
def test_wrong_precisions_are_value_errors(model, kv):
    with pytest.raises(ValueError):
        model.load(kv=kv)


def test_errors_can_be_pickled():
    for error in (
        plimsoll.BudgetRefused("budget_refused", "it has 3", "give 4"),
        plimsoll.FileNotFound("file_not_found", "x"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and again.code == error.code and str(again) == str(error)


def test_plans_are_carried_out_exactly(model):
    plan = model.plan(context=100, sessions=2)
    assert plan["fits"] and plan["context"] == 100 and plan["sessions"] == 2
    assert plan["peak_bytes"] <= 32 << 20
    assert not model.loaded
    model.load(plan=json.loads(json.dumps(plan)))
    assert model.loaded and model.context == 100
    with pytest.raises(plimsoll.UsageError):
        model.load()
    held = model.memory()
    assert held["accounts"]["weights"] == plan["accounts"]["weights"]
    assert sum(held["accounts"].values()) == held["used_bytes"] <= held["peak_bytes"] <= 32 << 20


def test_plans_for_something_else_are_refused(model):
    with pytest.raises(plimsoll.ModelError):
        model.load(plan={})
    with pytest.raises(plimsoll.ModelError):
        model.load(plan="no JSON")
    plan = model.plan()
    plan["made_for"]["model"]["fingerprint"] = "another"
    with pytest.raises(plimsoll.PlanMismatch) as caught:
        model.load(plan=plan)
    assert caught.value.code == "plan_mismatch"
    for wrong in ({"context": 0}, {"sessions": 0}, {"speed": -1}, {"speed": float("inf")}):
        with pytest.raises(plimsoll.UsageError):
            model.plan(**wrong)
    assert model.plan(speed=float("nan"))["fits"]
    model.load()


def test_progress_is_told_and_may_stop(model):
    seen = []

    def refuse(what, done, total, unit):
        seen.append((what, done, total, unit))
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        model.load(progress=refuse)
    assert len(seen) == 1 and not model.loaded
    seen.clear()
    model.load(progress=lambda *step: seen.append(step))
    what, done, total, unit = seen[-1]
    assert what == "loading" and done == total > 8_000_000 and unit == "bytes"


def test_progress_cannot_call_the_model(model):
    caught = []

    def call(*_):
        assert model.tokenize("The kernel")  # that needs no turn
        for again in (model.plan, model.session, model.close):
            with pytest.raises(plimsoll.UsageError) as error:
                again()
            caught.append(str(error.value))

    model.load(progress=call)
    assert len(caught) >= 3 and "at work" in caught[0]
    assert model.generate("The", max_tokens=2)


def test_a_closed_model_says_so(model):
    session = model.session()
    stream = model.stream("The kernel", max_tokens=50)
    model.close()
    model.close()
    assert model.closed and session.closed and "closed" in repr(model) + repr(session)
    for call in (
        model.plan, model.load, model.memory, model.session, lambda: model.generate("x"),
        lambda: model.stream("x"), lambda: model.tokenize("x"), lambda: model.name,
        lambda: session.append([1]), lambda: session.tokens, lambda: session.truncate(0), lambda: next(stream),
        lambda: session.generate("x"), lambda: len(session), model.__enter__,
    ):  # fmt: skip
        with pytest.raises(plimsoll.UsageError, match="closed"):
            call()
    session.close()
    stream.close()


def test_collected_without_close_warns_and_gives_back():
    model = plimsoll.Model(memory="32MiB")
    model.load()
    with pytest.warns(ResourceWarning, match="unclosed <plimsoll.Model"):
        del model
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = plimsoll.Model(memory="32MiB")
        model.close()
        del model
        with pytest.raises(plimsoll.FileNotFound):
            plimsoll.Model("/nowhere.gguf")  # half made: nothing to close
        gc.collect()


def test_sessions_outlive_their_models_name():
    session = plimsoll.Model(memory="32MiB").session()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
        assert session.append([335]).shape == (4096,)
        del session
        gc.collect()


def test_nothing_is_pickled(model):
    with model.session() as session:
        for thing in (model, session, session.stream("x")):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(thing)


_growth = """
import os, sys, plimsoll
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
path, line = sys.argv[1] or None, int(sys.argv[2])
before = resident()
model = plimsoll.Model(path, memory=line, threads=2)
model.load()
for _ in model.stream("The kernel keeps", max_tokens=60): pass
held = resident() - before
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 - before
model.close()
print(held, peak, resident() - before)
"""


@pytest.mark.parametrize("line", [16 << 20, 32 << 20])
def test_the_process_grows_by_no_more_than_the_line(line):
    done = run_python(_growth, "", str(line))
    assert done.returncode == 0, done.stderr
    held, peak, after = map(int, done.stdout.split())
    assert held <= line and peak <= line
    assert after < held


def test_rounding_keeps_the_line(slow_path):
    line = 72 << 20  # of a file of 120 MB
    assert os.path.getsize(slow_path) > 1.5 * line
    done = run_python(_growth, slow_path, str(line))
    assert done.returncode == 0, done.stderr
    held, peak, after = map(int, done.stdout.split())
    assert 30 << 20 < held <= line and peak <= line
    assert after < held - (20 << 20)  # close() gives it back


def test_the_process_stays_as_it_is():
    code = """
import signal, locale, os, threading, plimsoll
def state():
    status = open("/proc/self/status").read()
    return ([signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)], locale.setlocale(locale.LC_ALL),
            [l for l in status.splitlines() if l.startswith(("Sig", "THP_enabled"))], os.umask(0o22))
before = state()
with plimsoll.Model(memory="32MiB") as model:
    model.generate("The kernel", max_tokens=3)
    assert state() == before
assert state() == before
assert threading.active_count() == 1
"""
    done = run_python(code)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == "", done.stderr


def test_a_forked_child_is_told():
    code = """
import os, warnings, plimsoll
warnings.simplefilter("ignore")
model = plimsoll.Model(memory="32MiB")
session = model.session()
session.append([335])
child = os.fork()
if child == 0:
    refused = 0
    for call in (lambda: model.generate("x"), lambda: session.append([1]), model.memory):
        try: call()
        except plimsoll.UsageError as error: refused += "forked" in error.message
    session.close(); model.close(); del session, model
    with plimsoll.Model(memory="32MiB") as own:
        own.generate("x", max_tokens=1)
    os._exit(0 if refused == 3 else 1)
assert os.waitpid(child, 0)[1] == 0
print(len(session.append([808])))
"""
    done = run_python(code)
    assert done.returncode == 0 and done.stdout == "4096\n", done.stderr


def test_leaving_with_everything_open_is_quiet():
    code = """
import threading, plimsoll
model = plimsoll.Model(memory="32MiB")
stream = model.stream("The kernel")
next(stream)
session = None
thread = threading.Thread(target=lambda: [model.generate("x") for _ in range(1000)], daemon=True)
thread.start()
"""
    done = run_python(code)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_threads_load_once(model):
    answers, errors = [], []

    def ask():
        try:
            answers.append(model.generate("The kernel keeps", max_tokens=8, temperature=0).text)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(answers) == 6 and len(set(answers)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_closing_stops_what_is_under_way_elsewhere(slow_path):
    model = plimsoll.Model(slow_path, memory="400MiB")
    model.load(context=6000)
    caught = []

    def ask():
        try:
            model.generate([335] * 5000, max_tokens=1000)
        except plimsoll.UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(0.3)
    model.close()
    thread.join(60)
    assert not thread.is_alive() and len(caught) == 1 and "closed" in str(caught[0])
