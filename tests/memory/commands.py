#!/usr/bin/env python3
"""The suite `memory`, all commands: each in a memory control group of just its line, without swap, several times.

  tests/memory/commands.py BUILD_DIR [--only PART,...] [--threads 1,2,8] [--repeats 3] [--quiet]

A command is never killed. What ends well peaks, by the kernel's count, at most where the line is; where the line is what was predicted
for the command, not below it by more than 3 % and 2 MiB. What is refused says what would fit, and following that works. Where no group
can be made (needs root), only the count of the process is looked at.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

from cases import DONE, FRESH, REFUSED, Case, Cases
from control_group import Runner
from inputs import KIB, MIB, Models, Texts

SLACK, PERCENT = 2 * MIB, 3
SHORTER, WITHOUT = "a text of so many bytes", "without an option"


def mib(value):
    return f"{value / MIB:9.2f}" if value else "        -"


def words_of(case, limit):
    """The command line and what it wants in its environment."""
    words, environment = [], {}
    for word in case.words:
        if isinstance(word, tuple):
            environment[word[0]] = str(word[1])
        else:
            words.append(str(limit) if word == "{memory}" else str(word))
    return words, environment


def document(outcome):
    try:
        return json.loads(outcome.out)
    except ValueError:
        return {}


def complaint(outcome):
    error = document(outcome).get("error", {})
    if error:
        return f"{error.get('message')}: {error.get('hint')}"
    return (outcome.error or outcome.out).decode(errors="replace").strip()[-500:]


def offers(text):
    """What a refusal says would do: bytes of --memory and other words, each a way by itself."""
    for found in re.finditer(r"--memory (\d+)", text):
        yield int(found[1]), []
    for found in re.finditer(r"that has (\d+) bytes to give", text):
        yield int(found[1]), []
    for found in re.finditer(r"or (\d+) and --context (\d+)", text):
        yield int(found[1]), ["--context", found[2]]
    for found in re.finditer(r"(?:, or|give) --context (\d+)", text):
        yield None, ["--context", found[1]]
    for found in re.finditer(r"at most (\d+) bytes", text):
        yield None, [SHORTER, found[1]]
    if "leave --json away" in text:
        yield None, [WITHOUT, "--json"]
    for found in re.finditer(r"--size (\d+) or more", text):
        yield None, ["--size", found[1]]
    for found in re.finditer(r"--bits ([\d.]+) or more", text):
        yield None, ["--bits", found[1]]
    if "--effort fast" in text:
        yield None, ["--effort", "fast"]


def is_text(word):
    return os.path.isabs(word) and os.path.isfile(word) and not str(word).endswith(".gguf")


def shortened(path, count):
    """The beginning of a text, up to a whole character."""
    short = Path(tempfile.gettempdir()) / f"plimsoll-short-{os.getpid()}-{count}"
    short.write_bytes(Path(path).read_bytes()[:count].decode(errors="ignore").encode())
    return short if isinstance(path, Path) else str(short)


class Suite:
    def __init__(self, runner, plimsoll, repeats, quiet):
        self.runner, self.plimsoll, self.repeats, self.quiet, self.failures, self.count = runner, plimsoll, repeats, quiet, [], 0
        self.differences = {}  # what was said minus the kernel's count, by command and threads

    def run(self, case):
        self.count += 1
        outcomes, problems = [], []
        for _ in range(self.repeats):
            outcome = self.once(case, case.limit)
            outcomes.append(outcome)
            self.note_difference(case, outcome)
            problem = self.problem_of(case, outcome)
            if problem and problem not in problems:
                problems.append(problem)
            if problem and outcome.code is None:
                break
        refused = next((o for o in outcomes if o.code == REFUSED), None)
        if refused and case.may_refuse and not problems:
            problems += self.follow(case, refused)
        self.show(case, outcomes, problems, refused)

    def once(self, case, limit, more=()):
        words, environment = words_of(case, limit)
        stdin = case.stdin
        for option, value in zip(more[::2], more[1::2]):
            if option == SHORTER:
                stdin = stdin and shortened(stdin, int(value))
                words = [shortened(w, int(value)) if is_text(w) else w for w in words]
            elif option == WITHOUT:
                words = [w for w in words if w != value]
            elif option in words:
                words[words.index(option) + 1] = value
            else:
                if option == "--size" and "--bits" in words:
                    at = words.index("--bits")
                    del words[at:at + 2]
                words += [option, value]
        before = dict(self.runner.environment)
        fresh = tempfile.TemporaryDirectory()
        self.runner.environment.update({name: fresh.name if value == FRESH else value for name, value in environment.items()})
        try:
            return self.runner.run([self.plimsoll, *words], limit, stdin, case.terminal)
        finally:
            self.runner.environment = before
            fresh.cleanup()

    def note_difference(self, case, outcome):
        if outcome.code != DONE or not case.is_predicted:
            return
        predicted = document(outcome).get("predicted_peak_bytes", case.limit)
        allowed = max(SLACK, predicted * PERCENT // 100)
        self.differences.setdefault((case.command, case.threads), []).append((predicted - outcome.peak, allowed, case.text))

    def show_differences(self):
        """How far below what was said for it each command stayed, where that was said for just this."""
        print(f"\nsaid minus VmHWM, MiB\n{'command':<9}{'thr':>3}{'runs':>6}{'least':>9}{'median':>9}{'most':>9}  the most with")
        for (command, threads), found in sorted(self.differences.items()):
            values = [difference for difference, _, _ in found]
            furthest = max(found, key=lambda one: one[0] / one[1])
            print(f"{command:<9}{threads:>3}{len(found):>6}{min(values) / MIB:9.2f}{statistics.median(values) / MIB:9.2f}"
                  f"{max(values) / MIB:9.2f}  {furthest[2]} ({furthest[0] / MIB:.2f} of {furthest[1] / MIB:.2f})")

    @staticmethod
    def problem_of(case, outcome):
        if outcome.code is None:
            return "it took too long"
        if outcome.code < 0:
            return f"ended by signal {-outcome.code}, at {outcome.peak} bytes"
        if outcome.code == REFUSED and case.may_refuse:
            return None
        if outcome.code not in case.wanted:
            return f"exit code {outcome.code}: {complaint(outcome)}"
        if outcome.peak > case.limit:
            return f"a peak of {outcome.peak} bytes, {outcome.peak - case.limit} above the line of {case.limit}"
        predicted = document(outcome).get("predicted_peak_bytes", case.limit)
        if outcome.peak > predicted:
            return f"a peak of {outcome.peak} bytes, {outcome.peak - predicted} above the prediction of {predicted}"
        if outcome.code == DONE and case.is_predicted and predicted - outcome.peak > max(SLACK, predicted * PERCENT // 100):
            return f"a peak of {outcome.peak} bytes, {predicted - outcome.peak} below the prediction of {predicted}"
        own = document(outcome).get("peak_bytes")
        # What is said is what the kernel counts when it is written; what comes after is not told.
        if case.command in ("run", "eval", "bench", "fit", "measure") and own and outcome.peak - own > 256 * KIB:
            return f"the command says that its peak was {own} bytes; it was {outcome.peak}"
        return None

    def follow(self, case, refused):
        text = complaint(refused)
        ways = list(offers(text))
        if not ways:
            return [f"refused without an offer: {text}"]
        problems = []
        for memory, more in ways:
            limit = case.limit if memory is None else memory
            again = self.once(case, limit, more)
            # A file whose header alone is larger than what was asked for: known when there was room to read it.
            bits = re.search(r"--(bits|size) ([\d.]+) or more", complaint(again)) if again.code == REFUSED else None
            if bits:
                more = [*more, "--" + bits[1], bits[2]]
                again = self.once(case, limit, more)
            way = f"--memory {limit} {' '.join(more)}"
            if again.code is None or again.code < 0:
                problems.append(f"following the advice, {way}: ended by {again.code}")
            elif again.code not in case.wanted:
                problems.append(f"following the advice, {way}: exit code {again.code}: {complaint(again)}; first: {text}")
            elif again.peak > limit:
                problems.append(f"following the advice, {way}: a peak of {again.peak} bytes")
        return problems

    def show(self, case, outcomes, problems, refused):
        peak = max(o.peak for o in outcomes)
        group = max(o.group_peak for o in outcomes)
        predicted = document(outcomes[-1]).get("predicted_peak_bytes", case.limit if case.is_predicted else 0)
        verdict = "FAILED" if problems else "refused, advice works" if refused else "kept" if outcomes[-1].code == DONE else "said"
        line = (f"{case.command:<9}{case.threads:>3}  {case.text:<38.38}{mib(case.limit)}{mib(predicted)}{mib(peak)}{mib(group)}"
                f"{sum(o.code is not None and o.code >= 0 for o in outcomes):>4}/{len(outcomes)}  {verdict}")
        if problems or not self.quiet:
            print(line, flush=True)
        for problem in problems:
            print(f"    {problem}", flush=True)
            self.failures.append(f"{case.command}, {case.threads} threads, {case.text}: {problem}")


def large_cache_files(folder, environment, plimsoll):
    """Caches whose files this program wrote, grown to many times what they had to be."""
    plain = Path(folder) / "plain"
    for size in (3 * MIB, 30 * MIB):
        target = Path(folder) / "large-cache" / str(size) / "plimsoll"
        target.mkdir(parents=True)
        source = Path(environment["XDG_CACHE_HOME"]) / "plimsoll"
        for path in source.rglob("*.json"):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes().rstrip()[:-1] + b',"more":[' + b"1," * (size // 2) + b"1]}")
    return plain


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--only", default="", help="parts, with commas between them")
    parser.add_argument("--threads", default="1,2,8")
    parser.add_argument("--repeats", type=int, default=int(os.environ.get("REPEATS", "3")))
    parser.add_argument("--quiet", action="store_true", help="what fails alone")
    parser.add_argument("--seconds", type=int, default=600, help="that a command may take")
    options = parser.parse_args()
    root, build = Path(__file__).resolve().parents[2], Path(options.build).resolve()
    plimsoll, kept = build / "plimsoll", root / "out" / "memory"
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{scratch}/cache", "PLIMSOLL_CONFIG": "/dev/null", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        runner = Runner(build / "plimsoll_limited", environment, options.seconds)
        if not runner.groups:
            print("SKIPPED: control groups: none can be made here (needs root and a memory controller); only the process is counted")
        models = Models(kept, root / "models/plimsoll-docs-4m-f16.gguf", build / "plimsoll_make_model")
        threads = [int(number) for number in options.threads.split(",")]
        cases = Cases(plimsoll, Texts(kept / "texts"), models, threads, environment, scratch)
        suite = Suite(runner, plimsoll, options.repeats, options.quiet)
        wanted = set(filter(None, options.only.split(",")))
        unknown = wanted - {name for name, _ in cases.all()}
        if unknown:
            parser.error(f"no such part: {', '.join(sorted(unknown))}")
        print(f"MiB; {options.repeats} runs each\n{'command':<9}{'thr':>3}  {'what':<38}{'line':>9}{'predicted':>9}{'VmHWM':>9}{'group':>9}"
              f"{'alive':>6}")
        for name, part in cases.all():
            if wanted and name not in wanted:
                continue
            if name == "cache_files":
                cases.json("measure", models.bundled)
                cases.json("plan", models.bundled)
                cases.json("run", models.bundled, "--prompt", "The", "--tokens", 40)
                large_cache_files(scratch, environment, plimsoll)
            for case in part():
                suite.run(case)
    suite.show_differences()
    print(f"{suite.count} configurations, {len(suite.failures)} failures")
    for failure in suite.failures:
        print(f"  {failure}")
    return 1 if suite.failures else 0


if __name__ == "__main__":
    sys.exit(main())
