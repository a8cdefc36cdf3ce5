"""The native peer: llama.cpp's own tools, as scripts/native_peer.sh compiles them."""

import contextlib
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy


class PeerError(Exception):
    pass


class LlamaCpp:
    """PLIMSOLL_PEER_THREADS (2) is its number of threads: beside other work one is faster, for they wait busily."""

    def __init__(self, programs):
        self.programs = Path(programs)
        self.threads = int(os.environ.get("PLIMSOLL_PEER_THREADS", "2"))

    def run(self, program, *arguments):
        """Both outputs of one of its tools."""
        done = subprocess.run([str(self.programs / program), *map(str, arguments)], capture_output=True, check=False)
        if done.returncode != 0:
            complaint = (done.stderr.decode(errors="replace") or done.stdout.decode(errors="replace")).strip()
            raise PeerError(f"{program} ended with {done.returncode}: {' '.join(complaint.splitlines()[-3:])[:300]}")
        return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def tokens(self, model, text_file, with_control_tokens=False):
        """Without BOS; control tokens in the text are plain text unless they are asked for."""
        parsed = [] if with_control_tokens else ["--no-parse-special"]
        listed, _ = self.run("llama-tokenize", "-m", model, "-f", text_file, "--ids", "--no-bos", *parsed, "--no-escape",
                             "--log-disable")
        return json.loads(listed.strip().splitlines()[-1])

    def quantise(self, source, target, kind, importance=None):
        partial = Path(f"{target}.partial")
        weighed = ["--imatrix", importance] if importance else []
        self.run("llama-quantize", *weighed, source, partial, kind, self.threads)
        partial.replace(target)

    def importance(self, model, text, context, chunks, target):
        """Writes an importance matrix."""
        partial = Path(target).with_suffix(".partial.gguf")
        self.run("llama-imatrix", "-m", model, "-f", text, "-o", partial, "-c", context, "--chunks", chunks, "-t",
                 self.threads)
        partial.replace(target)

    def distributions(self, model, text, context, chunks, base):
        """Scores the second halves of chunks of a text: what the model expects there goes to the file `base`."""
        partial = Path(f"{base}.partial")
        self.run("llama-perplexity", "-m", model, "-f", text, "-c", context, "-b", context, "--chunks", chunks, "-t",
                 self.threads, "--kl-divergence-base", partial)
        partial.replace(base)

    def divergence(self, model, base, context):
        """Of the model from the distributions in `base`: mean KL in nats per token, its standard error, same likeliest."""
        for _ in range(5):  # its last lines are sometimes lost as it ends
            out, err = self.run("llama-perplexity", "-m", model, "-c", context, "-b", context, "-t", self.threads,
                                "--kl-divergence-base", base, "--kl-divergence")
            kl = re.search(r"Mean +KLD: +([-\d.]+) ± +([\d.]+)", out + err)
            top = re.search(r"Same top p: +([\d.]+)", out + err)
            if kl and top:
                return {"kl": float(kl[1]), "kl_error": float(kl[2]), "same_top": float(top[1]) / 100}
        raise PeerError(f"no divergence in what llama-perplexity printed: {(out + err)[-300:]}")

    @contextlib.contextmanager
    def serve(self, model, context):
        """A Server on a free port of the loopback interface."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = ["llama-server", "-m", model, "-c", context, "-t", self.threads, "--host", "127.0.0.1", "--port", port,
                   "-np", 1, "--no-warmup", "--offline"]
        command[0] = self.programs / command[0]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            server = Server(port)
            server.wait(process)
            yield server
        finally:
            process.terminate()
            process.wait()


class Server:
    def __init__(self, port):
        self.address = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def wait(self, process, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                with self.opener.open(f"{self.address}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            time.sleep(0.1)
        raise PeerError("llama-server does not answer")

    def greedy(self, ids, count, likeliest):
        """The tokens that follow, and for each the `likeliest` ids with their log-probabilities."""
        asked = {"prompt": ids, "n_predict": count, "temperature": 0, "n_probs": likeliest, "cache_prompt": False,
                 "return_tokens": True, "samplers": ["temperature"], "repeat_penalty": 1}
        request = urllib.request.Request(f"{self.address}/completion", json.dumps(asked).encode(),
                                         {"Content-Type": "application/json"})
        with self.opener.open(request, timeout=600) as answer:
            result = json.load(answer)
        steps = result["completion_probabilities"]
        return result["tokens"], [{top["id"]: top["logprob"] for top in step["top_logprobs"]} for step in steps]


class Distributions:
    """A file of llama-perplexity --kl-divergence-base: chunks of tokens, and log-probabilities of their second halves.

    Values are 16-bit steps between the likeliest and what is 16 nats below it, where everything lower stands too.
    """

    def __init__(self, path):
        self.file = open(path, "rb")  # noqa: SIM115 read piece by piece
        if self.file.read(8) != b"_logits_":
            raise PeerError(f"{path} is no file of distributions")
        self.context, self.vocabulary, self.chunks = map(int, numpy.fromfile(self.file, numpy.int32, 3))
        self.tokens = numpy.fromfile(self.file, numpy.int32, self.context * self.chunks).reshape(self.chunks, -1)
        self.first = self.context // 2
        self.start = self.file.tell()

    def scored(self, chunk):
        """Positions `first` to context - 2 of one chunk: float64 [positions][vocabulary]."""
        width = 2 * ((self.vocabulary + 1) // 2) + 4
        rows = self.context - 1 - self.first
        self.file.seek(self.start + 2 * rows * width * chunk)
        raw = numpy.fromfile(self.file, numpy.uint16, rows * width).reshape(rows, width)
        head = numpy.ascontiguousarray(raw[:, :4]).view(numpy.float32).astype(numpy.float64)
        return head[:, 1:2] + head[:, :1] * raw[:, 4 : 4 + self.vocabulary]


def against(base, log_probabilities, bos=None):
    """Another engine against a file of distributions. `log_probabilities(ids)` gives float [ids][vocabulary].

    Gives both engines' nats per token of what the file has more than a bound for, and the mean KL of the other from the file's.
    What has less than e^-16 is left out of that, as the peer itself does. `bos` stands at the beginning of every chunk where the model wants it.
    """
    distributions = Distributions(base)
    peer_nll, nll, kl, scored, count = 0.0, 0.0, 0.0, 0, 0
    for chunk in range(distributions.chunks):
        ids = distributions.tokens[chunk]
        if bos is not None:
            ids[0] = bos
        peer = distributions.scored(chunk)
        ours = log_probabilities(ids.tolist())[distributions.first : -1].astype(numpy.float64)
        at = numpy.arange(len(peer)), ids[distributions.first + 1 :]
        said = peer[at] > peer.min(axis=1)
        peer_nll -= peer[at][said].sum()
        nll -= ours[at][said].sum()
        kl += numpy.where(peer > -16, numpy.exp(peer) * (peer - ours), 0).sum()
        scored += said.sum()
        count += len(peer)
    return {"peer_nll": float(peer_nll / scored), "nll": float(nll / scored), "kl": float(kl / count), "count": count}
