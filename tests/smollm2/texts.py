"""Greedy texts, likelihoods and distributions, against llama.cpp on the same weights."""

import math

import numpy

from llama_cpp import against
from prompts import BEGINNINGS
from report import median

TOKENS = 200
CONTEXT = 1024
LIKELIEST = 40  # of each of the peer's steps

# How far two engines may be apart, in nats. Each rounds what goes into a product with weights of 4 to 8 bits to 8 bits of its
# own, which moves this model's margins by 0.15 (root of the mean square); in floats they move by less than 0.001.
# A difference of texts is excused only where the margin was so small, and only if margins are no further apart all along.
KINDS = {
    "blocks": {"margin": 0.25, "near_tie": 0.75, "nll": 0.002, "kl": 0.012},
    "floats": {"margin": 0.005, "near_tie": 0.02, "nll": 0.002, "kl": 0.0001},
}


class Beginning:
    """What both engines made of one prompt."""

    def __init__(self, suite, server, model, prompt):
        suite.text_file.write_text(prompt)
        self.ids = suite.ours.tokens(model, suite.text_file)
        self.peer, steps = server.greedy(self.ids, TOKENS, LIKELIEST)
        self.ours = suite.greedy(model, prompt, TOKENS, "--context", CONTEXT)["token_ids"]
        # A model that ends says so with a token that only one of the two lists count.
        length = min(len(self.ours), len(self.peer))
        pairs = zip(self.ours[:length], self.peer[:length])
        self.same = next((i for i, (a, b) in enumerate(pairs) if a != b), length)
        self.differs = self.same < length
        rows = suite.ours.log_probabilities(model, self.ids + self.peer[: self.same], CONTEXT, together=1)
        rows = rows[len(self.ids) - 1 :]
        self.apart = [self._apart(rows[i], steps[i]) for i in range(self.same)]
        self.margins = self._margins(rows[self.same], steps[self.same]) if self.differs else None

    @staticmethod
    def _apart(row, step):
        """Difference of the two engines' margins between the peer's two likeliest tokens."""
        first, second = sorted(step, key=step.get, reverse=True)[:2]
        return float(row[first] - row[second]) - (step[first] - step[second])

    def _margins(self, row, step):
        """By how much each engine prefers its own token to the other's; None for what the peer does not list."""
        mine, theirs = self.ours[self.same], self.peer[self.same]
        if mine not in step or theirs not in step:
            return None
        return float(row[mine] - row[theirs]), step[theirs] - step[mine]


def compare_texts(suite, name, model, judged, kind):
    """`judged` is the peer's file of the same weights."""
    limit = KINDS[kind]
    report = suite.report
    report.section(f"Greedy text, {TOKENS} tokens, {name}: the same as llama.cpp's, and margins at the first difference",
                   "same", "ours", "peer's")
    found = []
    with suite.peer.serve(judged, CONTEXT) as server:
        for prompt in BEGINNINGS:
            title = repr(prompt[:26])
            with report.attempt(title):
                seen = Beginning(suite, server, model, prompt)
                found.append(seen)
                if not seen.differs:
                    report.row(title, [seen.same, "", ""], "", abs(len(seen.ours) - len(seen.peer)) <= 1)
                elif seen.margins is None:
                    report.row(title, [seen.same, "unlisted", ""], limit["near_tie"], False)
                else:
                    report.row(title, [seen.same, *seen.margins], limit["near_tie"], max(seen.margins) <= limit["near_tie"])
    apart = numpy.concatenate([seen.apart for seen in found])
    rms = math.sqrt(float((apart**2).mean()))
    report.row("margins apart, rms", [rms, "", ""], limit["margin"], rms <= limit["margin"])
    report.note("all the way", [f"{sum(not seen.differs for seen in found)} of {len(found)}"])
    report.note("same tokens, median", [median([seen.same for seen in found])])


def compare_likelihoods(suite, models):
    """`models`: rows of name, our model, the peer's file of the same weights, kind."""
    # Rounding moves a token's likelihood by some 0.1 nats either way: over so many the mean is sure to 0.0009.
    context, chunks = 512, 64
    report = suite.report
    report.section(f"Nats per token, {chunks} chunks of {context} tokens, and KL from llama.cpp", "peer", "ours", "apart", "KL")
    for name, model, judged, kind in models:
        with report.attempt(name):
            limit = KINDS[kind]
            base = suite.work / "likelihood.kld"
            suite.peer.distributions(judged, suite.held_out, context, chunks, base)
            found = against(base, lambda ids, model=model: suite.ours.log_probabilities(model, ids, context + 8))
            apart = abs(found["nll"] - found["peer_nll"])
            report.row(name, [found["peer_nll"], found["nll"], apart, found["kl"]], f"{limit['nll']}, {limit['kl']}",
                       apart <= limit["nll"] and found["kl"] <= limit["kl"])
            base.unlink()
