"""Commands inside memory control groups of one limit, without swap; version 1 or 2, whichever the machine mounts.

https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v1/memory.html
https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html
"""

import itertools
import os
import pty
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096


class Groups:
    """Where groups can be made; none without the right to."""

    numbers = itertools.count()

    def __init__(self):
        self.parent, self.version = None, 0
        for version, mount, own in self._hierarchies():
            for parent in (mount + own, mount + os.path.dirname(own), mount):
                if self._is_usable(version, Path(parent)):
                    self.parent, self.version = Path(parent), version
                    return

    @staticmethod
    def _hierarchies():
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                for _, mount, kind, options, *_ in mounts:
                    if kind == "cgroup" and "memory" in options.split(","):
                        yield 1, mount, path
            elif controllers == "":
                for _, mount, kind, *_ in mounts:
                    if kind == "cgroup2":
                        yield 2, mount, path

    @staticmethod
    def _is_usable(version, parent):
        if version == 2:
            # A controller is handed down only where it is asked to, and only from groups without processes.
            try:
                (parent / "cgroup.subtree_control").write_text("+memory")
            except OSError:
                pass
        trial = parent / f"plimsoll-trial-{os.getpid()}"
        try:
            trial.mkdir()
        except OSError:
            return False
        limit = trial / ("memory.limit_in_bytes" if version == 1 else "memory.max")
        usable = limit.exists() and os.access(limit, os.W_OK)
        if usable:
            usable = subprocess.run(["sh", "-c", 'echo $$ >"$1/cgroup.procs"', "sh", trial], check=False,
                                    stderr=subprocess.DEVNULL).returncode == 0
        time.sleep(0.02)
        trial.rmdir()
        return usable

    def __bool__(self):
        return self.parent is not None


class Group:
    """One group while the block lasts; the most that it held (file cache and kernel memory included) after it."""

    def __init__(self, groups, limit):
        self.groups, self.limit, self.peak, self.path = groups, limit // PAGE * PAGE, 0, "-"

    def __enter__(self):
        if self.groups:
            self.path = self.groups.parent / f"plimsoll-{os.getpid()}-{next(Groups.numbers)}"
            self.path.mkdir()
            if self.groups.version == 1:
                self._write("memory.swappiness", 0)
                self._write("memory.limit_in_bytes", self.limit)
                # Memory and swap together: there only where the kernel counts swap.
                self._write("memory.memsw.limit_in_bytes", self.limit)
            else:
                self._write("memory.swap.max", 0)
                self._write("memory.max", self.limit)
        return self

    def _write(self, name, value):
        if (self.path / name).exists():
            (self.path / name).write_text(str(value))

    def __exit__(self, *_):
        if not self.groups:
            return
        peak = self.path / ("memory.max_usage_in_bytes" if self.groups.version == 1 else "memory.peak")
        self.peak = int(peak.read_text()) if peak.exists() else 0  # version 2 has it from Linux 5.19
        for _ in range(50):  # a killed process may take a moment to leave
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)


@dataclass
class Outcome:
    """How a command ended. `code` is -N for one that signal N ended, None for one that took too long."""

    code: int | None
    peak: int  # the kernel's count of the process
    group_peak: int
    out: bytes
    error: bytes

    @property
    def was_killed(self):
        return self.code == -signal.SIGKILL


class Runner:
    """Runs commands in groups."""

    def __init__(self, launcher, environment, seconds):
        self.groups, self.launcher, self.environment, self.seconds = Groups(), launcher, environment, seconds

    def run(self, command, limit, stdin=None, terminal=None):
        """`stdin`: a file to read, otherwise there is nothing. `terminal`: lines to type on one, which then is all three streams."""
        with tempfile.TemporaryDirectory() as folder, Group(self.groups, limit) as group:
            report = Path(folder) / "report"
            words = [str(self.launcher), str(report), str(group.path), *map(str, command)]
            if terminal is None:
                code, out, error = self._piped(words, stdin)
            else:
                code, out, error = self._on_terminal(words, terminal)
            peak = 0
            if report.exists() and code is not None:
                exit_code, ended_by, peak = map(int, report.read_text().split())
                code = -ended_by if ended_by else exit_code
        return Outcome(code, peak, group.peak, out, error)

    def _piped(self, words, stdin):
        with open(stdin or os.devnull, "rb") as source:
            process = subprocess.Popen(words, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
                                       start_new_session=True)
            try:
                out, error = process.communicate(timeout=self.seconds)
                return process.returncode, out, error
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return None, b"", b""

    def _on_terminal(self, words, lines):
        child, terminal = pty.fork()
        if child == 0:
            os.environ.clear()
            os.environ.update(self.environment)
            os.execvp(words[0], words)
        out, end, lines = b"", time.monotonic() + self.seconds, list(lines)
        try:
            while time.monotonic() < end:
                if select.select([terminal], [], [], 1)[0]:
                    block = os.read(terminal, 65536)
                    if not block:
                        break
                    out += block
                # Type-ahead would come as one paste: each line waits for its prompt.
                if lines and out.endswith(b"> "):
                    os.write(terminal, lines.pop(0).encode() + b"\r")
        except OSError:  # EIO: the other side is closed
            pass
        late = time.monotonic() >= end
        if late:
            os.killpg(child, signal.SIGKILL)
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        return (None if late else os.waitstatus_to_exitcode(status)), out, b""
