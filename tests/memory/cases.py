"""What the memory suite runs: every command over texts, headers, prompts and threads, with the line that each is held to."""

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from inputs import KIB, KINDS, MIB, size_name

DONE, TYPED, REFUSED = 0, 1, 3
FRESH = "an empty folder"  # in the environment of a case: another one for each run


@dataclass
class Case:
    """A command with {memory} where the line goes. `limit`: the line, and the limit of the group."""

    command: str
    threads: int
    text: str
    words: list
    limit: int
    stdin: Path | None = None
    terminal: tuple | None = None  # lines that are typed
    wanted: set = field(default_factory=lambda: {DONE})
    # The limit is what was predicted for this very command: the peak may not be far below it.
    is_predicted: bool = True
    # Exit code 3 with an offer that works is as good.
    may_refuse: bool = False


class Cases:
    """`plimsoll` is the program; `scratch` a folder for what is written."""

    def __init__(self, plimsoll, texts, models, threads, environment, scratch):
        self.plimsoll, self.texts, self.models, self.threads = plimsoll, texts, models, threads
        self.environment, self.scratch, self.known = environment, Path(scratch), {}

    def json(self, *words, fresh=False):
        """What a command prints where memory is plenty; asked once. `fresh`: with nothing in its cache."""
        key = (*map(str, words), *([FRESH] if fresh else []))
        if key not in self.known:
            with tempfile.TemporaryDirectory() as cache:
                environment = {**self.environment, "XDG_CACHE_HOME": cache} if fresh else self.environment
                done = subprocess.run([str(self.plimsoll), *map(str, words), "--json"], capture_output=True, env=environment, check=False,
                                      stdin=subprocess.DEVNULL)
            try:
                self.known[key] = json.loads(done.stdout)
            except ValueError:
                raise RuntimeError(f"{' '.join(key)}: {done.stderr.decode(errors='replace')[-400:]}") from None
        return self.known[key]

    def planned(self, model, threads, *more):
        return self.json("plan", model, "--no-measure", "--threads", threads, *more)["peak_bytes"]

    def predicted(self, *words, fresh=False):
        """What a command itself says that it needs."""
        result = self.json(*words, "--memory", "2GiB", fresh=fresh)
        if "predicted_peak_bytes" not in result:
            raise RuntimeError(f"{' '.join(map(str, words))}: no prediction in {str(result)[:300]}")
        return result["predicted_peak_bytes"]

    def all(self):
        for of_command in (self.run, self.run_tightly, self.run_long_prompts, self.chat, self.plan, self.tokenize, self.evaluate, self.bench,
                           self.inspect, self.measure, self.fit, self.headers, self.headers_of_folders, self.cache_files):
            yield of_command.__name__, of_command

    def _sizes(self, largest=16 * MIB):
        return [size for size in (10, 4 * KIB, 256 * KIB, 16 * MIB) if size <= largest]

    def run(self):
        model = self.models.bundled
        context = self.json("plan", model, "--no-measure")["context"]
        for threads in self.threads:
            limit = self.planned(model, threads)
            common = ["run", model, "--memory", "{memory}", "--threads", threads, "--temperature", 0, "--tokens", 16]
            for kind in KINDS:
                for size in self._sizes():
                    wanted = {DONE} if size <= context - 16 else {DONE, TYPED}
                    yield Case("run", threads, f"{kind}, {size_name(size)}", [*common, "--json"], limit,
                               stdin=self.texts.file(kind, size), wanted=wanted, may_refuse=size > 64 * KIB,
                               is_predicted=size <= context - 16)
            for text in ("prose", "emoji"):
                yield Case("run", threads, f"{text}, on a terminal", [*common, "--prompt", KINDS[text](100).decode()], limit, terminal=())

    def run_tightly(self):
        """Lines that weights are rounded for."""
        for model in (self.models.bundled, self.models.synthetic("small", "F16")):
            for threads in self.threads:
                whole = self.json("plan", model, "--no-measure", "--threads", threads)
                least, most = whole["least_bytes"] + 256 * KIB, whole["peak_bytes"]
                for part in (0, 0.3, 0.7):
                    limit = int(least + (most - least) * part)
                    words = ["run", model, "--memory", "{memory}", "--threads", threads, "--temperature", 0, "--tokens", 16, "--prompt",
                             "The kernel keeps", "--json"]
                    yield Case("run", threads, f"{model.stem}, {part:.0%} of the way", words, limit)

    def run_long_prompts(self):
        model = self.models.long_context()
        for threads in self.threads:
            for tokens in (1000, 30000, 100000):
                context = tokens + 32
                limit = self.planned(model, threads, "--context", context)
                words = ["run", model, "--memory", "{memory}", "--threads", threads, "--context", context, "--temperature", 0, "--tokens",
                         24]
                text = self.texts.file("prose", tokens - 1)
                yield Case("run", threads, f"{tokens} tokens", [*words, "--json"], limit, stdin=text)
                yield Case("run", threads, f"{tokens} tokens, on a terminal", [*words, "--file", text], limit, terminal=())

    def chat(self):
        for model, typed in ((self.models.bundled, 30), (self.models.long_context(), 600)):
            for threads in self.threads:
                limit = self.planned(model, threads, "--chat")
                words = ["run", model, "--memory", "{memory}", "--threads", threads, "--temperature", 0, "--tokens", 16, "--chat",
                         "--no-history"]
                lines = ["The kernel writes " + "x" * typed] * 5 + ["/quit"]
                yield Case("chat", threads, f"{model.stem}, five turns", words, limit, terminal=lines)

    def plan(self):
        for model in (self.models.bundled, self.models.long_context(), self.models.synthetic("small", "F16")):
            for threads in self.threads:
                limit = self.planned(model, threads)
                words = ["plan", model, "--memory", "{memory}", "--threads", threads]
                yield Case("plan", threads, model.stem, [*words, "--json"], limit, is_predicted=False)
                yield Case("plan", threads, f"{model.stem}, on a terminal", words, limit, terminal=(), is_predicted=False)

    def tokenize(self):
        model = self.models.bundled
        limit = self.planned(model, 2)
        for kind in KINDS:
            for size in self._sizes():
                text = self.texts.file(kind, size)
                words = ["tokenize", model, "--memory", "{memory}", "--file", text]
                yield Case("tokenize", 1, f"{kind}, {size_name(size)}", words, limit, is_predicted=False, may_refuse=size > MIB)
                yield Case("tokenize", 1, f"{kind}, {size_name(size)}, JSON", [*words, "--json"], limit, is_predicted=False,
                           may_refuse=size > MIB)

    def evaluate(self):
        model = self.models.bundled
        for threads in self.threads:
            def words(kind, size):
                return ["eval", model, "--text", self.texts.file(kind, size), "--threads", threads, "--chunks", 2]
            for kind in KINDS:
                for size in self._sizes():
                    if size < KIB:
                        continue  # nothing would be scored
                    limit = self.predicted(*words("prose", min(size, 4 * KIB)))
                    yield Case("eval", threads, f"{kind}, {size_name(size)}", [*words(kind, size), "--memory", "{memory}", "--json"], limit,
                               may_refuse=size > 64 * KIB, is_predicted=size <= 4 * KIB)
            yield Case("eval", threads, "prose, on a terminal", [*words("prose", 4 * KIB), "--memory", "{memory}"],
                       self.predicted(*words("prose", 4 * KIB)), terminal=())

    def bench(self):
        for model in (self.models.bundled, self.models.synthetic("small", "F16")):
            for threads in self.threads:
                words = ["bench", model, "--threads", threads, "--prompt", 64, "--tokens", 16, "--repeats", 1]
                limit = self.predicted(*words)
                yield Case("bench", threads, model.stem, [*words, "--memory", "{memory}", "--json"], limit)
                yield Case("bench", threads, f"{model.stem}, on a terminal", [*words, "--memory", "{memory}"], limit, terminal=())

    def inspect(self):
        for model in (self.models.bundled, self.models.synthetic("small", "F16")):
            limit = self.planned(model, 2)
            for more in ([], ["--tensors"], ["--json"]):
                yield Case("inspect", 1, " ".join([model.stem, *more]), ["inspect", model, *more], limit, is_predicted=False)
            yield Case("inspect", 1, f"{model.stem}, on a terminal", ["inspect", model, "--tensors"], limit, terminal=(),
                       is_predicted=False)

    def measure(self):
        for model in (self.models.bundled, self.models.synthetic("tiny", "F16")):
            for threads in self.threads:
                words = ["measure", model, "--threads", threads]
                yield Case("measure", threads, model.stem, [*words, "--memory", "{memory}", "--json"], self.predicted(*words))

    def fit(self):
        for model in (self.models.bundled, self.models.synthetic("tiny", "F16")):
            for threads in self.threads:
                for effort in ("fast", "thorough"):
                    words = ["fit", model, "--threads", threads, "--bits", 5, "--effort", effort, "-o", self.scratch / "fitted.gguf"]
                    cache = ("XDG_CACHE_HOME", FRESH)
                    for limit in {self.predicted(*words, fresh=True), *([80 * MIB] if effort == "thorough" else [])}:
                        yield Case("fit", threads, f"{model.stem}, {effort}, {size_name(limit)}",
                                   [*words, "--memory", "{memory}", "--json", cache], limit)
                # With what was measured before.
                words = ["fit", model, "--threads", threads, "--bits", 5, "-o", self.scratch / "fitted.gguf"]
                self.predicted(*words)
                yield Case("fit", threads, f"{model.stem}, measured before", [*words, "--memory", "{memory}", "--json"], 80 * MIB)

    def _commands(self, model, threads):
        """Every command on a model, with what is wanted of it."""
        text = self.texts.file("prose", 4 * KIB)
        with_line = ["--memory", "{memory}"]
        with_workers = [*with_line, "--threads", threads, "--json"]
        yield "run", ["run", model, *with_workers, "--prompt", "The", "--tokens", 4, "--no-measure"]
        yield "plan", ["plan", model, *with_workers, "--no-measure"]
        yield "eval", ["eval", model, *with_workers, "--text", text, "--chunks", 1, "--no-measure"]
        yield "bench", ["bench", model, *with_workers, "--prompt", 16, "--tokens", 4, "--repeats", 1, "--no-measure"]
        yield "fit", ["fit", model, *with_workers, "--bits", 5, "--effort", "fast", "-o", self.scratch / "fitted.gguf", "--no-measure"]
        yield "measure", ["measure", model, *with_workers]
        yield "tokenize", ["tokenize", model, *with_line, "--json", "--text", "The"]
        yield "inspect", ["inspect", model]
        yield "inspect", ["inspect", model, "--json"]

    def headers(self):
        bundled = self.planned(self.models.bundled, 2)
        for size in (4 * MIB, 64 * MIB, 256 * MIB):
            for make in (self.models.with_long_key, self.models.with_long_array):
                model = make(size)
                kind = model.stem.split("-")[0]
                fitting = self.planned(model, 2)
                for limit in (bundled, 64 * MIB, fitting):
                    for command, words in self._commands(model, 2):
                        label = f"{size_name(size)} {kind}{', JSON' if command == 'inspect' and '--json' in words else ''}"
                        yield Case(command, 2, label, words, limit, may_refuse=True, is_predicted=limit == fitting and command == "run")

    def headers_of_folders(self):
        for size in (4 * MIB, 64 * MIB, 256 * MIB):
            model = self.models.folder_with_long_tokenizer(size)
            for limit in (64 * MIB, 3 * size + 64 * MIB):
                for command, words in self._commands(model, 2):
                    yield Case(command, 2, f"{size_name(size)} tokenizer.json", words, limit, may_refuse=True, is_predicted=False)

    def cache_files(self):
        """Files beside the model that this program has written, grown or damaged: read within bounds, or not at all."""
        model = self.models.bundled
        limit = self.planned(model, 2) * 8 // 10
        home = self.scratch / "large-cache"
        for size in (3 * MIB, 30 * MIB):
            for command, words in self._commands(model, 2):
                if command not in ("inspect", "tokenize", "fit", "measure"):
                    yield Case(command, 2, f"cache of {size_name(size)} files", [*words, ("XDG_CACHE_HOME", home / str(size))], limit,
                               may_refuse=True, is_predicted=False)
