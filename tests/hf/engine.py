"""Runs plimsoll_dump_logits and holds what it prints against the judge's log-probabilities."""

import os
import subprocess
from dataclasses import dataclass

import numpy as np


class Refused(Exception):
    """The engine does not take the model; says why."""


@dataclass
class Difference:
    logits: float  # the largest, as a part of the judge's spread (from the least to the most likely token) at the position
    kl: float  # nats, the mean over positions

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
    spread = np.ptp(want, axis=-1, keepdims=True)
    kl = (np.exp(want) * (want - got)).sum(-1)
    return Difference(float((np.abs(want - got) / spread).max()), float(np.abs(kl.mean())))


def usable_isas(build, model):
    """Names of the sets of instructions that this machine has, the plain one first; tried on a model that is known to work."""
    names = []
    for isa in ("reference", "avx2", "avx512", "neon"):
        try:
            engine_logits(build, model, [0], -1, 16, True, isa)
            names.append(isa)
        except Refused as refusal:
            if "which this processor lacks" not in str(refusal):
                raise
    return names
