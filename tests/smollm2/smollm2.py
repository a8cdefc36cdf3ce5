#!/usr/bin/env python3
"""Holds Plimsoll to what a real model is used for. Run by run.sh.

    smollm2.py ROOT BUILD_DIR MODEL_DIR PEER_BIN PEER_SOURCE HELD_OUT WORK_DIR [PART]...

Parts: texts, likelihood, prompts, peaks, losses, refusals, fits, conversation. Exit code 1 when a limit is passed.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from llama_cpp import LlamaCpp  # noqa: E402
from plimsoll import Plimsoll  # noqa: E402
from report import Report  # noqa: E402

import conversation  # noqa: E402
import fits  # noqa: E402
import plans  # noqa: E402
import texts  # noqa: E402


class Suite:
    def __init__(self, root, build, model, peer, source, held_out, work):
        self.root = Path(root)
        self.model = Path(model)
        self.held_out = Path(held_out)
        self.work = Path(work)
        self.source = Path(source)
        self.ours = Plimsoll(build)
        self.peer = LlamaCpp(peer)
        self.report = Report()
        self.text_file = self.work / "text.txt"
        help_text = subprocess.run(self.ours.command("run", "--help"), capture_output=True, check=True).stdout.decode()
        # Where a prompt is a question by default.
        self.raw = ["--raw"] if "--raw" in help_text else []
        self.gguf = self.model / "smollm2.gguf"
        # The peer reads no folders: its own converter's files, in floats that round nothing.
        self.judged = {"plain/": self.work / "plain-f32.gguf", "turned/": self.work / "turned-bf16.gguf"}

    def greedy(self, model, prompt, count, *options):
        return self.ours.greedy(model, prompt, count, *self.raw, *options)

    def convert(self):
        for name, file in self.judged.items():
            if not file.exists():
                partial = file.with_suffix(".partial")
                kind = file.stem.split("-")[1]
                subprocess.run([sys.executable, self.source / "convert_hf_to_gguf.py", self.model / name, "--outfile", partial,
                                "--outtype", kind], check=True, capture_output=True)
                partial.replace(file)


def main():
    suite = Suite(*sys.argv[1:8])
    plain, turned = suite.model / "plain", suite.model / "turned"
    least = {}

    def least_of(model):
        if model not in least:
            least[model] = suite.ours.refusal("plan", model, "--context", plans.CONTEXT, "--memory", "1MB").memory()
        return least[model]

    def compare_texts():
        texts.compare_texts(suite, "smollm2.gguf", suite.gguf, suite.gguf, "blocks")
        texts.compare_texts(suite, "plain/", plain, suite.judged["plain/"], "floats")

    def compare_likelihoods():
        texts.compare_likelihoods(suite, [("smollm2.gguf", suite.gguf, suite.gguf, "blocks"),
                                          ("plain/", plain, suite.judged["plain/"], "floats")])

    def compare_plans(compare):
        compare(suite, "turned/", turned)
        compare(suite, "smollm2.gguf", suite.gguf)

    def compare_refusals():
        plans.compare_refusals(suite, "turned/", turned)
        plans.compare_refusals(suite, "smollm2.gguf", suite.gguf)

    def converse():
        conversation.hold_conversation(suite, "turned/", turned, least_of(turned))
        conversation.hold_conversation(suite, "smollm2.gguf", suite.gguf, least_of(suite.gguf))

    parts = {
        "prompts": lambda: conversation.compare_prompts(suite),
        "refusals": compare_refusals,
        "peaks": lambda: compare_plans(plans.compare_peaks),
        "losses": lambda: compare_plans(plans.compare_losses),
        "conversation": converse,
        "likelihood": compare_likelihoods,
        "texts": compare_texts,
        "fits": lambda: fits.compare_fits(suite, "turned/", turned),
    }
    only = sys.argv[8:]
    for name in only:
        if name not in parts:
            print(f"no part '{name}'; known: {', '.join(parts)}", file=sys.stderr)
            return 2
    suite.convert()
    for name, part in parts.items():
        if not only or name in only:
            with suite.report.attempt(name):
                part()
    return suite.report.verdict()


sys.exit(main())
