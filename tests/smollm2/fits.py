"""Fitted files of the real model: at their size, opened by both engines, losing about what was said."""

# Of the BF16 file's bytes. Thorough fits of all recipes' sizes are `./test quality real`.
SHARES = (0.32, 0.42)
CONTEXT = 512
CHUNKS = 8


def compare_fits(suite, name, model):
    report, ours = suite.report, suite.ours
    report.section(f"fit of {name}, without measuring: files", "bytes", "of target", "said", "KL, eval", "KL, llama.cpp", "peak MiB")
    base = suite.work / "fits.kld"
    suite.peer.distributions(suite.judged[name], suite.held_out, CONTEXT, CHUNKS, base)
    whole = suite.judged[name].stat().st_size
    for share in SHARES:
        title = f"{share} of {whole} bytes"
        with report.attempt(title):
            target = int(whole * share)
            file = suite.work / "fitted.gguf"
            made = ours.json("fit", model, "--size", target, "--effort", "fast", "-o", file, "--memory", "512MiB")
            found = ours.json("eval", file, "--against", model, "--text", suite.held_out, "--context", CONTEXT, "--chunks", CHUNKS)
            peer = suite.peer.divergence(file, base, CONTEXT)["kl"]
            size = file.stat().st_size
            cells = [size, size / target, made["kl_nats"], found["kl"], peer, made["peak_bytes"] / 2**20]
            # The engines score different halves of different chunks, and round what goes into products each in its own way.
            good = 0.97 <= size / target <= 1 and made["peak_bytes"] <= 512 * 2**20 and 0.75 <= found["kl"] / peer <= 1.33
            report.row(title, cells, "1, 1.33", good)
            file.unlink()
    with report.attempt("too small"):
        refused = ours.refusal("fit", model, "--size", whole // 10, "--effort", "fast", "-o", suite.work / "no.gguf")
        report.row("a tenth", [refused.code, "", "", "", "", ""], "refused", refused.status == 3)
    base.unlink()
