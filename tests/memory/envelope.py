#!/usr/bin/env python3
"""What a process is declared to hold besides its accounts (src/probe/process_envelope.cpp), against the kernel's count.

  tests/memory/envelope.py BUILD_DIR [--only COMMAND,...] [--ways WAY,...] [--threads 1,2,8] [--repeats 50] [--least KIB]

Each command in a memory control group of the peak that was said for it, started in every way that changes what of the program is resident
or how heap and stacks are backed: alone, beside two busy loops, from a fresh copy of the program, with its file out of the cache, through
a shell, nicer, with symbols bound at once, with huge pages wherever the kernel can. Shown is the least, median and most of what was
said minus the kernel's count; less than --least KiB fails.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from cases import Cases
from control_group import Runner
from inputs import KIB, MIB, Models, Texts

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@contextmanager
def busy(loops):
    others = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(loops)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def huge_pages(mode):
    before = THP.read_text().split("[")[1].split("]")[0]
    THP.write_text(mode)
    try:
        yield
    finally:
        THP.write_text(before)


class Ways:
    """How a program is started; each is given it and says what is started."""

    def __init__(self, plimsoll, scratch):
        self.plimsoll, self.scratch = plimsoll, Path(scratch)

    def all(self):
        for way in (self.alone, self.loaded, self.copied, self.evicted, self.shell, self.nicer, self.bound, self.huge):
            yield way.__name__, way

    @contextmanager
    def alone(self):
        yield lambda: [self.plimsoll], {}

    @contextmanager
    def loaded(self):
        with busy(2):
            yield lambda: [self.plimsoll], {}

    @contextmanager
    def copied(self):
        blocks = [4, 64, 1024, 16384]  # KiB: a file's folios are as large as what was written at once

        def copy():
            blocks.append(blocks.pop(0))
            target = self.scratch / "copied"
            target.unlink(missing_ok=True)
            with open(self.plimsoll, "rb") as source, open(target, "wb", buffering=0) as out:
                while block := source.read(blocks[0] * KIB):
                    out.write(block)
            target.chmod(0o755)
            return [target]

        yield copy, {}

    @contextmanager
    def evicted(self):
        def evict():
            descriptor = os.open(self.plimsoll, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
            return [self.plimsoll]

        yield evict, {}

    @contextmanager
    def shell(self):
        yield lambda: ["sh", "-c", '"$0" "$@"; exit $?', self.plimsoll], {}

    @contextmanager
    def nicer(self):
        yield lambda: ["nice", "-n", "15", self.plimsoll], {}

    @contextmanager
    def bound(self):
        yield lambda: [self.plimsoll], {"LD_BIND_NOW": "1"}

    @contextmanager
    def huge(self):
        with huge_pages("always"):
            yield lambda: [self.plimsoll], {}


def hinted(plimsoll, words, environment):
    """The --memory that a refusal offers."""
    done = subprocess.run([str(plimsoll), *map(str, words), "--memory", "2MiB"], capture_output=True, env=environment, check=False)
    text = (done.stdout + done.stderr).decode(errors="replace")
    return int(text.split("--memory ")[-1].split()[0].strip('.,"')) if "give --memory" in text else None


def commands(cases, models, texts, scratch, threads):
    """Command, its words and what was said for it."""
    bundled, small = models.bundled, models.synthetic("small", "F16")
    workers = ["--threads", threads]
    for model in (bundled, small):
        run = ["run", model, *workers, "--temperature", 0, "--tokens", 16, "--prompt", "The kernel keeps", "--json"]
        whole = cases.json("plan", model, "--no-measure", *workers)
        yield f"run {model.stem}", run, whole["peak_bytes"]
        least, most = whole["least_bytes"] + 256 * KIB, whole["peak_bytes"]
        for part in (0, 0.3, 0.7):
            yield f"run {model.stem} {part:.0%}", run, int(least + (most - least) * part)
    for name, words in (("eval", ["eval", bundled, "--text", texts.file("prose", 4 * KIB), *workers, "--chunks", 2]),
                        ("bench", ["bench", bundled, *workers, "--prompt", 64, "--tokens", 16, "--repeats", 1]),
                        ("measure", ["measure", models.synthetic("tiny", "F16"), *workers]),
                        ("fit fast", ["fit", bundled, *workers, "--bits", 5, "--effort", "fast", "-o", Path(scratch) / "fitted.gguf"])):
        yield name, [*words, "--json"], cases.predicted(*words)
    environment = {**cases.environment}
    for name, words in (("plan", ["plan", bundled, *workers, "--json"]), ("plan text", ["plan", bundled, *workers]),
                        ("tokenize", ["tokenize", bundled, "--text", "The kernel keeps", "--json"]),
                        ("inspect", ["inspect", bundled, "--json"]), ("inspect tensors", ["inspect", bundled, "--tensors"])):
        yield name, words, hinted(cases.plimsoll, words, environment) or cases.planned(bundled, threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--only", default="", help="commands, by how their name begins")
    parser.add_argument("--ways", default="", help="how they are started")
    parser.add_argument("--threads", default="1,2,8")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--least", type=int, default=256, help="KiB that have to be left")
    options = parser.parse_args()
    root, build = Path(__file__).resolve().parents[2], Path(options.build).resolve()
    plimsoll, kept = build / "plimsoll", root / "out" / "memory"
    wanted, failures, least = tuple(filter(None, options.only.split(","))), [], {}
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{scratch}/cache", "PLIMSOLL_CONFIG": "/dev/null", "LC_ALL": "C.UTF-8"}
        models = Models(kept, root / "models/plimsoll-docs-4m-f16.gguf", build / "plimsoll_make_model")
        texts = Texts(kept / "texts")
        threads = [int(number) for number in options.threads.split(",")]
        cases = Cases(plimsoll, texts, models, threads, environment, scratch)
        print(f"said minus VmHWM, KiB; {options.repeats} runs each\n{'started':<9}{'command':<32}{'thr':>3}{'said, MiB':>11}{'least':>9}"
              f"{'median':>9}{'most':>9}")
        for way_name, way in Ways(plimsoll, scratch).all():
            if options.ways and way_name not in options.ways.split(","):
                continue
            with way() as (start, more):
                runner = Runner(build / "plimsoll_limited", {**environment, **more}, 600)
                for count in threads:
                    for name, words, said in commands(cases, models, texts, scratch, count):
                        if wanted and not name.startswith(wanted):
                            continue
                        line = [] if name.startswith("inspect") else ["--memory", said]
                        margins = []
                        for _ in range(options.repeats):
                            (Path(scratch) / "fitted.gguf").unlink(missing_ok=True)
                            outcome = runner.run([*start(), *words, *line], said)
                            if outcome.code != 0:
                                failures.append(f"{way_name}, {name}, {count} threads: {outcome.code}: "
                                                f"{(outcome.error + outcome.out)[-300:].decode(errors='replace')}")
                                continue
                            try:
                                now = json.loads(outcome.out).get("predicted_peak_bytes", said)
                            except ValueError:
                                now = said
                            margins.append((now - outcome.peak) / KIB)
                        if not margins:
                            continue
                        print(f"{way_name:<9}{name:<32}{count:>3}{said / MIB:>11.2f}{min(margins):>9.0f}{statistics.median(margins):>9.0f}"
                              f"{max(margins):>9.0f}", flush=True)
                        least[name] = min(least.get(name, min(margins)), min(margins))
                        if min(margins) < options.least:
                            failures.append(f"{way_name}, {name}, {count} threads: {min(margins):.0f} KiB left")
    print("\nleast of all")
    for name, margin in least.items():
        print(f"{name:<32}{margin:>9.0f}")
    for failure in dict.fromkeys(failures):
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
