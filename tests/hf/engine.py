"""Runs plimsoll_dump_logits and holds what it prints against the judge's log-probabilities."""

import os
import subprocess
from dataclasses import dataclass

import numpy as np


class Refused(Exception):
    """The engine does not take the model; says why."""


@dataclass
class Difference:
    logits: float  # the largest, in standard deviations of the judge's logits at the position
    kl: float  # nats, the largest of all positions

    def __str__(self):
        return f"logits {self.logits:.1e}, KL {self.kl:.1e}"

    def within(self, logits, kl):
        return self.logits <= logits and self.kl <= kl


def engine_logits(build, model, tokens, vocabulary, context, at_once, isa=None):
    """Log-probabilities, f64 [tokens][vocabulary]; `at_once`: in one pass, otherwise token by token."""
    chunk = len(tokens) if at_once else 1
    command = [str(build / "plimsoll_dump_logits"), str(model), str(context), str(chunk), "2"]
    environment = os.environ | ({"PLIMSOLL_ISA": isa} if isa else {})
    found = subprocess.run(command, input=" ".join(map(str, tokens)).encode(), capture_output=True, env=environment, timeout=300)
    if found.returncode != 0:
        raise Refused(found.stderr.decode(errors="replace").strip())
    return np.frombuffer(found.stdout, np.float32).reshape(len(tokens), vocabulary).astype(np.float64)


def difference(want, got):
    # Log-probabilities are logits less a constant of the position.
    spread = want.std(-1, keepdims=True)
    kl = (np.exp(want) * (want - got)).sum(-1)
    return Difference(float((np.abs(want - got) / spread).max()), float(kl.max()))


def usable_isas(build):
    """Names of the sets of instructions that this machine has, the plain one first."""
    names = []
    for isa in ("reference", "avx2", "avx512", "neon"):
        run = subprocess.run([str(build / "plimsoll"), "--help"], capture_output=True, env=os.environ | {"PLIMSOLL_ISA": isa})
        if run.returncode == 0:
            names.append(isa)
    return names
