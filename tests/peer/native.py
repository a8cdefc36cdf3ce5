#!/usr/bin/env python3
"""Holds Plimsoll against llama.cpp compiled for this machine, on the same files. Run by run.sh.

    native.py BUILD_DIR SHARED_DIR PEER_BIN WORK_DIR TEXTS SMOLLM2_FILE [text|tokens|likelihood]...

TEXTS is a JSON array of texts to tokenise; SMOLLM2_FILE may be missing. Exit code 1 when a limit is passed.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from llama_cpp import LlamaCpp, PeerError, against  # noqa: E402
from plimsoll import Plimsoll  # noqa: E402
from report import Report  # noqa: E402

build, shared, programs, work, texts, smollm2 = sys.argv[1:7]
only = sys.argv[7:]
shared, work, smollm2 = Path(shared), Path(work), Path(smollm2)
models = shared / "models"
stories, bundled = models / "stories260k-f32.gguf", models / "plimsoll-docs-4m-f16.gguf"
valid = shared / "text" / "valid.txt"
text_file = work / "native.txt"
ours, peer, report = Plimsoll(build), LlamaCpp(programs), Report()

BOS = 1  # of the two small models; SmolLM2 wants none
CONTEXT, CHUNKS = 256, 20
# Nats. Both engines round what goes into products with weights in blocks to 8 bits, each in its own way, which moves a real
# model of 30 layers more than these of 4 and 5. The native peer rounds it to 16 bits for weights of F16.
LIMITS = {"F32": (0.0005, 1e-5), "F16": (0.0005, 1e-5), "blocks": (0.02, 0.004), "SmolLM2": (0.008, 0.012)}


def compare_text():
    prompt, count = "Once upon a time", 100
    report.section(f'Greedy text: {count} tokens after "{prompt}"', "tokens", "same")
    for model, kind in ((stories, "F32"), (bundled, "F16")):
        with report.attempt(model.name):
            text_file.write_text(prompt)
            with peer.serve(model, 256) as server:
                wanted, _ = server.greedy([BOS, *peer.tokens(model, text_file)], count, 1)
            found = ours.greedy(model, prompt, count, "--context", 256)["token_ids"]
            same = next((i for i, (a, b) in enumerate(zip(wanted, found)) if a != b), min(len(wanted), len(found)))
            report.row(model.name, [len(wanted), same], "all", same == len(wanted) == count)


def compare_tokens():
    given = json.loads(Path(texts).read_text())
    report.section(f"Tokens of {len(given)} texts", "tokens", "different")
    files = [stories, bundled, *sorted((shared / "vocab").glob("*.gguf"))]
    for model in [*files, smollm2]:
        if not model.exists():
            report.skip(model.name, f"no {model.name}")
            continue
        with report.attempt(model.name):
            count, wrong = 0, 0
            for text in given:
                text_file.write_bytes(text.encode())
                wanted, found = peer.tokens(model, text_file), ours.tokens(model, text_file)
                count += len(wanted)
                if wanted != found:
                    wrong += 1
                    print(f"    {text!r}\n      peer: {wanted}\n      ours: {found}")
            report.row(model.name, [count, wrong], 0, wrong == 0)


def compare_likelihood():
    report.section(f"Nats per token, {CHUNKS} chunks of {CONTEXT} tokens, and KL from the peer", "peer", "ours", "apart", "KL")
    files = [(stories, "F32", BOS), (bundled, "F16", BOS)]
    files += [(model, "blocks", BOS) for model in sorted((models / "quantised").glob("*.gguf"))]
    for model, kind, bos in [*files, (smollm2, "SmolLM2", None)]:
        if not model.exists():
            report.skip(model.name, f"no {model.name}")
            continue
        name = model.stem.removeprefix("plimsoll-docs-4m-")
        with report.attempt(name):
            base = work / "native.kld"
            try:
                peer.distributions(model, valid, CONTEXT, CHUNKS, base)
            except PeerError as problem:
                # A file of a type that the peer does not know proves nothing.
                if kind != "blocks":
                    raise
                report.skip(name, f"the peer cannot open it ({problem})")
                continue
            found = against(base, lambda ids, model=model: ours.log_probabilities(model, ids, CONTEXT), bos)
            base.unlink()
            apart, (most, most_kl) = abs(found["nll"] - found["peer_nll"]), LIMITS[kind]
            report.row(name, [found["peer_nll"], found["nll"], apart, found["kl"]], f"{most}, {most_kl}",
                       apart <= most and found["kl"] <= most_kl)


parts = {"text": compare_text, "tokens": compare_tokens, "likelihood": compare_likelihood}
for name in only:
    if name not in parts:
        print(f"no part '{name}' of the native peer; known: {', '.join(parts)}", file=sys.stderr)
        sys.exit(2)
for name, part in parts.items():
    if not only or name in only:
        part()
sys.exit(report.verdict())
