"""Our side: the programs of one build directory."""

import json
import re
import subprocess
from pathlib import Path

import numpy


class Failure(Exception):
    """What a command answered instead of a result."""

    def __init__(self, status, code, message, hint):
        super().__init__(f"{code} ({status}): {message}")
        self.status, self.code, self.message, self.hint = status, code, message, hint

    def memory(self):
        """The bytes of --memory in the hint."""
        found = re.search(r"--memory (\d+)", self.hint)
        if not found:
            raise ValueError(f"no --memory in the hint: {self.hint!r}")
        return int(found[1])


class Plimsoll:
    def __init__(self, build, threads=2):
        self.build = Path(build)
        self.threads = threads

    def command(self, *arguments):
        return [str(self.build / "plimsoll"), *map(str, arguments)]

    def json(self, *arguments, in_front=()):
        """The object that a command prints. Raises Failure for what it refuses."""
        done = subprocess.run([*in_front, *self.command(*arguments), "--json"], capture_output=True, check=False)
        try:
            result = json.loads(done.stdout)
        except ValueError:
            raise Failure(done.returncode, "no JSON", done.stderr.decode(errors="replace")[-300:], "") from None
        if done.returncode != 0:
            error = result.get("error", {})
            raise Failure(done.returncode, error.get("code"), error.get("message"), error.get("hint") or "")
        return result

    def refusal(self, *arguments):
        """The Failure of a command that must be refused."""
        try:
            result = self.json(*arguments)
        except Failure as failure:
            return failure
        raise AssertionError(f"{' '.join(map(str, arguments[:2]))} was not refused: {str(result)[:100]}")

    def tokens(self, model, text_file):
        return self.json("tokenize", model, "--file", text_file)["tokens"]

    def greedy(self, model, prompt, count, *options):
        return self.json("run", model, "--prompt", prompt, "--temperature", 0, "--repeat-penalty", 1, "--tokens", count,
                         "--threads", self.threads, *options)

    def log_probabilities(self, model, ids, context, together=None):
        """After each of `ids`: float32 [ids][vocabulary]; `together` tokens go through the model at once, all by default."""
        program = [str(self.build / "plimsoll_dump_logits"), str(model), str(context), str(together or len(ids)),
                   str(self.threads)]
        done = subprocess.run(program, input=" ".join(map(str, ids)).encode(), capture_output=True, check=False)
        if done.returncode != 0:
            raise Failure(done.returncode, "dump_logits", done.stderr.decode(errors="replace")[-300:], "")
        return numpy.frombuffer(done.stdout, numpy.float32).reshape(len(ids), -1)
