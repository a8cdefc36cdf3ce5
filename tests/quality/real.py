#!/usr/bin/env python3
"""Fits a real model at the bytes of llama.cpp's own recipes, and has llama.cpp say what both lose. Run by run.sh.

    real.py BUILD_DIR MODEL_DIR PEER_BIN PEER_SOURCE CALIBRATION HELD_OUT WORK_DIR [recipes]

Recipes are made by llama.cpp with an importance matrix from the calibration text, on which fits are measured too. The judge is
KL from the BF16 weights on the held-out text. Everything made stays in WORK_DIR and is not made again; figures of fitted files
are kept by the program that fitted them. With `recipes` only these are made.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from llama_cpp import LlamaCpp  # noqa: E402
from plimsoll import Plimsoll  # noqa: E402
from report import Report, median  # noqa: E402

RECIPES = ["IQ4_XS", "Q4_0", "Q4_K_M", "Q5_K_M", "Q3_K_M", "Q2_K", "Q6_K", "Q8_0"]
CONTEXT = 512
CHUNKS = 16
IMPORTANCE_CHUNKS = 40
MEDIAN_LIMIT, WORST_LIMIT = 0.40, 0.60


def kept(file, make):
    """The JSON value in a file, made first if there is none."""
    if not file.exists():
        value = make()
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(value))
        partial.replace(file)
    return json.loads(file.read_text())


class Real:
    def __init__(self, build, model, peer, source, calibration, held_out, work):
        self.ours = Plimsoll(build)
        self.peer = LlamaCpp(peer)
        self.model = Path(model) / "turned"
        self.source = Path(source)
        self.calibration, self.held_out = Path(calibration), Path(held_out)
        self.work = Path(work)
        self.original = self.work / "turned-bf16.gguf"
        self.base = self.work / "held-out.kld"
        # What was measured of the model is this suite's own, and of this program.
        program = (Path(build) / "plimsoll").read_bytes()
        self.program = hashlib.sha256(program).hexdigest()[:12]
        os.environ["XDG_CACHE_HOME"] = str(self.work / f"cache-{self.program}")

    def prepare(self):
        if not self.original.exists():
            partial = self.original.with_suffix(".partial")
            subprocess.run([sys.executable, self.source / "convert_hf_to_gguf.py", self.model, "--outfile", partial, "--outtype",
                            "bf16"], check=True, capture_output=True)
            partial.replace(self.original)
        self.importance = self.work / "importance.gguf"
        if not self.importance.exists():
            self.peer.importance(self.original, self.calibration, CONTEXT, IMPORTANCE_CHUNKS, self.importance)
        if not self.base.exists():
            self.peer.distributions(self.original, self.held_out, CONTEXT, CHUNKS, self.base)

    def judged(self, file):
        return {"bytes": file.stat().st_size, **self.peer.divergence(file, self.base, CONTEXT)}

    def recipe(self, kind):
        def make():
            file = self.work / f"recipe-{kind}.gguf"
            if not file.exists():
                self.peer.quantise(self.original, file, kind, self.importance)
            return self.judged(file)

        return kept(self.work / f"recipe-{kind}.json", make)

    def fitted(self, kind, size):
        def make():
            file = self.work / f"fitted-{kind}.gguf"
            made = self.ours.json("fit", self.model, "--size", size, "--text", self.calibration, "-o", file)
            return {**self.judged(file), "said": made["kl_nats"], "seconds": made["seconds"]}

        return kept(self.work / f"fitted-{kind}-{self.program}.json", make)


def main():
    real = Real(*sys.argv[1:8])
    report = Report()
    real.prepare()
    if "recipes" in sys.argv[8:]:
        report.section(f"llama.cpp's recipes, KL of {CHUNKS} chunks of {CONTEXT} held-out tokens", "bytes", "KL", "±", "same top")
        for kind in RECIPES:
            with report.attempt(kind):
                found = real.recipe(kind)
                report.note(kind, [found["bytes"], found["kl"], found["kl_error"], found["same_top"]])
        return report.verdict()
    report.section(f"SmolLM2-135M at the bytes of llama.cpp's recipes, KL of {CHUNKS} chunks of {CONTEXT} held-out tokens",
                   "its bytes", "its KL", "fitted", "said", "KL", "ratio", "seconds")
    ratios, offs = [], []
    for kind in RECIPES:
        with report.attempt(kind):
            theirs = real.recipe(kind)
            ours = real.fitted(kind, theirs["bytes"])
            ratios.append(ours["kl"] / theirs["kl"])
            offs.append(abs(ours["said"] / ours["kl"] - 1))
            cells = [theirs["bytes"], theirs["kl"], ours["bytes"], ours["said"], ours["kl"], ratios[-1], ours["seconds"]]
            report.row(kind, cells, WORST_LIMIT, ours["bytes"] <= theirs["bytes"] and ratios[-1] <= WORST_LIMIT)
    if ratios:
        report.row("median", ["", "", "", "", "", median(ratios), ""], MEDIAN_LIMIT, median(ratios) <= MEDIAN_LIMIT)
        report.row("predictions off, median", ["", "", "", "", "", median(offs), ""], 0.25, median(offs) <= 0.25)
    return report.verdict()


sys.exit(main())
