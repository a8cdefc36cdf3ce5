"""Ten turns at a terminal under a line, and the prompt that such a conversation becomes."""

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time

from plans import CONTEXT, peak_of
from prompts import QUESTIONS

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


def conversations(questions, answer):
    """Of one to all turns, and some with a system text."""
    made = []
    for turns in range(1, len(questions) + 1):
        messages = []
        for question in questions[:turns]:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        made.append(messages[:-1])
    system = {"role": "system", "content": "You are a pirate.\nAnswer briefly."}
    return made + [[system, *messages] for messages in made[::3]]


def lines(program, given):
    """What a program makes of conversations, a line of JSON each."""
    text = "\n".join(json.dumps(messages) for messages in given)
    done = subprocess.run(list(map(str, program)), input=text.encode(), capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{program[0]}: {done.stderr.decode(errors='replace')[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare_prompts(suite):
    """Token ids of conversations: the folder's against transformers, the GGUF file's against llama.cpp.

    transformers does not read the file's own way of splitting numbers, and llama.cpp cannot be told which marks were typed:
    so the file's conversations have none.
    """
    report = suite.report
    report.section("Prompts of conversations: token ids", "messages", "tokens", "different")
    answer = "Certainly: <|im_start|> is no mark here.\n\nSecond paragraph  with two spaces, 1234 and 5.67."
    judge = [sys.executable, suite.root / "tests/smollm2/chat_ids.py", suite.model / "plain"]
    dump = suite.ours.build / "plimsoll_dump_prompt"
    if not dump.exists():
        report.skip("prompts", f"no {dump.name}")
        return
    typed = conversations(QUESTIONS, answer)
    plain = conversations([question.replace("<|", "<") for question in QUESTIONS], answer.replace("<|", "<"))

    def row(name, given, wanted, found):
        wrong = [i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b]
        for i in wrong[:1]:
            print(f"    {len(given[i])} messages\n      judge: {wanted[i]}\n      ours: {found[i]}")
        report.row(name, [sum(map(len, given)), sum(map(len, wanted)), len(wrong)], 0, not wrong)

    for name in ("plain", "turned"):
        with report.attempt(f"{name}/ and transformers"):
            wanted = [answered["ids"] for answered in lines(judge, typed)]
            row(f"{name}/ and transformers", typed, wanted, lines([dump, suite.model / name], typed))
    with report.attempt("smollm2.gguf and llama.cpp"):
        wanted = []
        for answered in lines(judge, plain):
            suite.text_file.write_text(answered["text"])
            wanted.append(suite.peer.tokens(suite.model / "smollm2.gguf", suite.text_file, with_control_tokens=True))
        row("smollm2.gguf and llama.cpp", plain, wanted, lines([dump, suite.model / "smollm2.gguf"], plain))


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, command):
        self.process, self.screen = pty.fork()
        if self.process == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        self.seen = ""

    def send(self, text):
        os.write(self.screen, text.encode())

    def until_prompt(self, seconds=300):
        """What came since the last call, once "> " waits at a line's beginning and nothing follows."""
        raw = b""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready, _, _ = select.select([self.screen], [], [], 0.4)
            if ready:
                try:
                    piece = os.read(self.screen, 65536)
                except OSError:
                    break
                if not piece:
                    break
                raw += piece
            elif CONTROL.sub("", raw.decode(errors="replace")).endswith("\n> "):
                return CONTROL.sub("", raw.decode(errors="replace"))
        raise AssertionError(f"no prompt came: {CONTROL.sub('', raw.decode(errors='replace'))[-300:]!r}")

    def close(self, seconds=20):
        """Exit code, after the program was left."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if select.select([self.screen], [], [], 0.05)[0]:
                    os.read(self.screen, 65536)
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                os.close(self.screen)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.process, 9)
        os.waitpid(self.process, 0)
        os.close(self.screen)
        return None


def hold_conversation(suite, name, model, least):
    """Ten turns under a line a tenth above the least, in a context that they do not fit: what is oldest is forgotten."""
    report = suite.report
    report.section(f"A conversation of {len(QUESTIONS)} turns at a terminal, {name}", "line MiB", "peak MiB", "answers")
    for share in (1.1, 1.5):
        line = int(least * share)
        with report.attempt(f"{share} of the least"):
            terminal = Terminal(suite.ours.command("run", model, "--chat", "--memory", line, "--context", CONTEXT, "--tokens", 48,
                                                   "--seed", 1, "--threads", suite.ours.threads))
            try:
                terminal.until_prompt()
                answers, peak = [], 0
                for question in QUESTIONS:
                    terminal.send(question.replace("\n", " ") + "\r")
                    answers.append(terminal.until_prompt())
                    peak = max(peak, peak_of(terminal.process))
                terminal.send("/quit\r")
            finally:
                code = terminal.close()
            told = [text for text in answers if re.search(r"prompt [\d,]+ tokens?", text) and len(text.strip()) > 60]
            (suite.work / f"conversation-{name.replace('/', '')}-{share}.txt").write_text("\n".join(answers))
            report.row(f"{share} of the least", [line / 2**20, peak / 2**20, f"{len(told)} of {len(QUESTIONS)}"], "line",
                       peak <= line and len(told) == len(QUESTIONS) and code == 0)
