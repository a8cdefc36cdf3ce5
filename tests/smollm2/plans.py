"""Budgets from the least to all: what was said before, and what is."""

import re
from pathlib import Path

from report import median

BUDGETS = 12
CONTEXT = 512
CHUNKS = 8
PROMPT = "The kernel writes every page that it has changed to the disk before it gives it to another program. " * 10


def spread(least, most):
    """Budgets from the least to all, at equal ratios: more of them where little is left."""
    ratio = (most / least) ** (1 / (BUDGETS - 1))
    return [least] + [round(least * ratio**i) for i in range(1, BUDGETS - 1)] + [most]


def in_group(suite, limit, *arguments):
    """What a command prints inside a memory control group of that limit, and the group's peak (None without one)."""
    peak = suite.work / "group.peak"
    result = suite.ours.json(*arguments, in_front=[suite.root / "tests/memory/with_limit.sh", str(limit), peak])
    text = peak.read_text().strip()
    return result, int(text) if text.isdigit() and int(text) > 0 else None


def compare_peaks(suite, name, model):
    report, ours = suite.report, suite.ours
    least = ours.refusal("plan", model, "--context", CONTEXT, "--memory", "1MB").memory()
    whole = ours.json("plan", model, "--context", CONTEXT)["peak_bytes"]
    report.section(f"Peaks of {name}, {CONTEXT} tokens of context, MiB", "predicted", "VmHWM", "of it", "group", "KL, said")
    for budget in spread(least, whole):
        title = f"{budget / 2**20:.1f}"
        with report.attempt(title):
            plan = ours.json("plan", model, "--context", CONTEXT, "--memory", budget)
            run, group = in_group(suite, budget, "run", model, "--context", CONTEXT, "--memory", budget, "--prompt", PROMPT,
                                  *suite.raw, "--tokens", 32, "--temperature", 0, "--threads", ours.threads)
            said, peak = run["predicted_peak_bytes"], run["peak_bytes"]
            share = peak / said
            good = plan["fits"] and peak <= said <= budget and 0.97 <= share and abs(plan["kl_nats"] - run["kl_nats"]) <= run["kl_nats"] / 20
            good = good and abs(plan["peak_bytes"] - said) <= said / 100
            cells = [said / 2**20, peak / 2**20, share, group / 2**20 if group else "none", run["kl_nats"]]
            report.row(title, cells, "0.97 to 1", good)
    return least


def compare_losses(suite, name, model):
    """KL by `eval` under budgets that hold the reference too, against what was predicted."""
    report, ours = suite.report, suite.ours
    # With the budget of the text alone the refusal is about the plan.
    asked = ["eval", model, "--against", model, "--text", suite.held_out, "--context", CONTEXT, "--chunks", CHUNKS]
    least = ours.refusal(*asked, "--memory", "32MiB").memory()
    whole = ours.json(*asked[:-1], 1)["predicted_peak_bytes"]
    report.section(f"KL of {name} under budgets that hold the reference too, {CHUNKS} chunks of {CONTEXT} tokens", "weights MiB",
                   "predicted", "KL", "KL / said", "same top")
    budgets = spread(least + 2**20, whole)  # several budgets take a little more than one
    found = ours.json(*asked, "--memory", ",".join(map(str, budgets)))["models"]
    ratios = []
    for row in found:
        title = f"{row['budget_bytes'] / 2**20:.1f} ({row['quality']})"
        with report.attempt(title):
            said, kl = row["predicted_kl_nats"], row["kl"]
            cells = [row["weight_bytes"] / 2**20, said, kl]
            if said == 0:
                report.row(title, [*cells, "exact", row["same_top"]], 0, kl <= 1e-9)
                continue
            ratios.append(kl / said)
            report.row(title, [*cells, kl / said, row["same_top"]], "0.5 to 2", 0.5 <= kl / said <= 2)
    if ratios:
        off = [abs(ratio - 1) for ratio in ratios]
        worst = max(ratios, key=lambda ratio: max(ratio, 1 / ratio))
        report.row("median off", ["", "", "", median(off), ""], 0.25, median(off) <= 0.25)
        report.row("worst", ["", "", "", worst, ""], "0.5 to 2", 0.5 <= worst <= 2)


def compare_refusals(suite, name, model):
    """Below the least: refused before anything is loaded, with a number that works, at the first time and at the second."""
    report, ours = suite.report, suite.ours
    report.section(f"Below the least of {name}: the hint is followed", "asked MiB", "hinted MiB", "peak MiB")
    commands = {
        "run": ["run", model, "--prompt", "Hello", *suite.raw, "--tokens", 4],
        "run --context 512": ["run", model, "--prompt", "Hello", *suite.raw, "--tokens", 4, "--context", CONTEXT],
        "run --context 4096": ["run", model, "--prompt", "Hello", *suite.raw, "--tokens", 4, "--context", 4096],
        "eval": ["eval", model, "--text", suite.held_out, "--context", 256, "--chunks", 1],
        "bench": ["bench", model, "--prompt", 16, "--tokens", 4, "--repeats", 1],
    }
    for title, command in commands.items():
        with report.attempt(title):
            asked = 24 * 2**20
            for _ in range(3):
                refused = ours.refusal(*command, "--memory", asked)
                hint = refused.memory()
                done = ours.json(*command, "--memory", hint)
                good = refused.status == 3 and refused.code == "budget_refused" and done["peak_bytes"] <= hint
                report.row(title, [asked / 2**20, hint / 2**20, done["peak_bytes"] / 2**20], "hint", good)
                # Of a context of its own choice the refusal need not name the least.
                if "--context" not in command:
                    break
                asked = int(hint * 0.96)


def peak_of(process):
    """VmHWM in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
