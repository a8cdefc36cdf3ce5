#!/usr/bin/env python3
"""Keeps the transcripts in README.md and docs/ true: runs what they show, and compares.

  scripts/transcripts.py [--update] [--all] [--slow] [--binary PROGRAM] [FILE...]

A transcript is a block fenced as ```console. A line "$ COMMAND" is run by bash (a backslash at its end goes on), and what
follows it is its output, both streams together; a line "..." stands for any number of lines. Words behind "console":

  tty   the command runs on a terminal of 100 columns, without colours
  text  a model writes what it likes: only standard error is compared, which must be there in its order
  slow  only with --slow

Numbers, lengths of bars, curves and lists of formats vary from machine to machine: they count as equal. All blocks of a
file run in one folder that has models/ in it, the bundled and the shared models and the validation text, plimsoll on the
path, ./run beside it, and caches and settings of its own. A block whose models or texts are not there is left alone, which is said.

--update rewrites the blocks that are no longer true (with --all, every block), --slow runs the slow ones too. Exit code 0:
all are true; 1: some are not; 77: nothing could be run.
"""
import argparse
import difflib
import glob
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE_SECONDS = 300

FORMAT = r"(?:IQ\d\w*|Q\d\w*|TQ\d_\d|NEST\d|MXFP4|NVFP4|BF16|F16|F32)"


def normalised(line):
    """What must be equal of a line, on every machine."""
    line = re.sub(r"[\u2800-\u28ff●┊]+", " ", line)  # curves
    line = re.sub(r"[█▓▒░▪─⊖#=]{8,}", "BAR", line)
    line = re.sub(r"\b(reference|avx2|avx512|neon)\b", "ISA", line)
    line = re.sub(r"(?<![A-Za-z_])\d[\d,.]*(e-?\d+)?", "#", line)
    line = re.sub(FORMAT.replace(r"\d", r"[\d#]") + r" # [KMG]?i?B(, )?", "MIX ", line)
    line = re.sub(r"(MIX )+", "MIX ", line)
    line = re.sub(r"# [KMGT]?i?B\b|#[KMGT]\b", "BYTES", line)  # near a border the unit varies too
    line = re.sub(r"\s+", " ", line).strip()
    return line


def is_plot(line):
    """Axes and points of a plot: which ones there are depends on the curve."""
    return bool(re.search(r"[│┤└┬┘┼\u2800-\u28ff●┊]", line))


def comparable(lines):
    """Without plots and empty lines; "..." stays."""
    kept = []
    for line in lines:
        if is_plot(line):
            continue
        line = line.strip() if line.strip() == "..." else normalised(line)
        # Labels below an axis are numbers alone.
        if line and not re.fullmatch(r"(BYTES ?|# ?)+", line):
            kept.append(line)
    return kept


def matches(expected, found):
    """With "..." in `expected` for any lines."""
    if not expected:
        return not found
    if expected[0] == "...":
        return any(matches(expected[1:], found[i:]) for i in range(len(found) + 1))
    return bool(found) and expected[0] == found[0] and matches(expected[1:], found[1:])


def is_subsequence(part, whole):
    rest = iter(whole)
    return all(line in rest for line in part)


def braces(word):
    """As bash expands one pair of them."""
    found = re.fullmatch(r"(.*)\{([^{}]*)\}(.*)", word)
    return [found[1] + part + found[3] for part in found[2].split(",")] if found else [word]


class Command:
    def __init__(self, lines):
        self.lines = lines  # as they stand, "$ " included
        self.output = []

    @property
    def text(self):
        return "\n".join([self.lines[0][2:]] + self.lines[1:])

    def missing(self, folder):
        """Files that it reads and that are not there."""
        words = shlex.split(self.text.replace("\\\n", " "), posix=True)
        missing = []
        for at, word in enumerate(words):
            if at and words[at - 1] in ("-o", "--output", "--html", "--resume", ">", "2>"):
                continue
            if re.search(r"\.(gguf|txt|safetensors|json|toml)$", word):
                missing += [one for one in braces(word) if not glob.glob(os.path.join(folder, one))]
            if word.lower().startswith("smollm2") and not os.path.exists(os.path.join(folder, word)):
                missing.append(word)
        return missing


class Block:
    """One fenced block: lines [begin, end) of the file, the fences left out."""

    def __init__(self, words, begin, lines):
        self.words, self.begin, self.end = words, begin, begin + len(lines)
        self.commands = []
        continued = False
        for line in lines:
            if line.startswith("$ ") and not continued:
                self.commands.append(Command([line]))
                continued = line.endswith("\\")
            elif continued:
                self.commands[-1].lines.append(line)
                continued = line.endswith("\\")
            elif self.commands:
                self.commands[-1].output.append(line)


def blocks_of(lines):
    found, at = [], 0
    while at < len(lines):
        fence = re.fullmatch(r"```console\s*(.*)", lines[at])
        at += 1
        if not fence:
            continue
        begin = at
        while at < len(lines) and lines[at] != "```":
            at += 1
        found.append(Block(fence[1].split(), begin, lines[begin:at]))
    return found


def plain(text):
    """Without escape sequences, and what was written over on a line."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r\n", "\n"))
    return "\n".join(line.rsplit("\r", 1)[-1] for line in text.split("\n"))


class Runner:
    def __init__(self, binary, folder):
        self.folder = folder
        home = os.path.join(folder, ".home")
        programs = os.path.join(folder, ".bin")
        os.makedirs(home)
        os.makedirs(programs)
        os.symlink(binary, os.path.join(programs, "plimsoll"))
        os.symlink(os.path.join(ROOT, "models"), os.path.join(folder, "models"))
        shared = os.environ.get("PLIMSOLL_SHARED", os.path.join(ROOT, "..", "shared"))
        for pattern in (os.path.join(ROOT, "models", "*.gguf"), os.path.join(shared, "models", "quantised", "*.gguf"),
                        os.path.join(shared, "text", "valid.txt")):
            for path in glob.glob(pattern):
                os.symlink(os.path.abspath(path), os.path.join(folder, os.path.basename(path)))
        with open(os.path.join(folder, "run"), "w") as script:
            script.write('#!/bin/sh\nexec plimsoll run "$@"\n')
        os.chmod(os.path.join(folder, "run"), 0o755)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PLIMSOLL_")}
        self.environment.update(
            HOME=home, XDG_CACHE_HOME=os.path.join(home, ".cache"), XDG_CONFIG_HOME=os.path.join(home, ".config"),
            LC_ALL="C.UTF-8", NO_COLOR="1", TERM="xterm", PATH=programs + ":" + os.environ["PATH"])

    def warm(self):
        """Measures the machine where there is room for it, so that small budgets have speeds to show."""
        subprocess.run(["plimsoll", "plan", "--memory", "48MiB", "--json"], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, check=False)

    def hide(self, text):
        """This folder is nowhere to be seen."""
        return text.replace(os.path.realpath(self.folder) + "/.home", "/home/you").replace(
            self.folder + "/.home", "/home/you").replace(ROOT + "/", "").replace(self.folder + "/", "")

    def run(self, command, on_terminal):
        """All that it wrote, and what of it was on standard error."""
        if on_terminal:
            return self.run_on_terminal(command), None
        done = subprocess.run(["bash", "-c", "{ " + command + "\n} 2>&1"], cwd=self.folder, env=self.environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
        return self.hide(plain(done.stdout.decode("utf-8", "replace"))), None

    def errors_of(self, command):
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
        return self.hide(plain(done.stderr.decode("utf-8", "replace")))

    def run_on_terminal(self, command):
        import fcntl
        import struct
        import termios
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        process = subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.environment, stdin=theirs,
                                   stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        out = b""
        while True:
            ready, _, _ = select.select([ours], [], [], PATIENCE_SECONDS)
            if not ready:
                process.kill()
                break
            try:
                got = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not got:
                break
            out += got
        process.wait()
        os.close(ours)
        return self.hide(plain(out.decode("utf-8", "replace")))


def output_lines(text):
    lines = text.rstrip("\n").split("\n")
    return [] if lines == [""] else [line.rstrip() for line in lines]


def check_block(runner, block, name, update, everything):
    """New lines of the block, or None where it stays; and whether it was true."""
    true, lines = True, []
    for command in block.commands:
        found, _ = runner.run(command.text, "tty" in block.words)
        found_lines = output_lines(found)
        if "text" in block.words:
            errors = found_lines if "tty" in block.words else output_lines(runner.errors_of(command.text))
            if "tty" in block.words:  # both are one stream there: what has a number or a bar is no text
                errors = [line for line in errors if normalised(line) != re.sub(r"\s+", " ", line).strip()]
            good = is_subsequence(comparable(errors), comparable(command.output))
        else:
            good = matches(comparable(command.output), comparable(found_lines))
        keep = good and not everything
        if "..." in command.output and not keep:
            keep = update  # what is left out is for a person to choose
            if update:
                print(f"{name}: has \"...\", left to you: {command.text}")
        if not good:
            true = False
            print(f"{name}: no longer true: $ {command.text}")
            for line in difflib.unified_diff(comparable(command.output), comparable(found_lines), "shown", "found",
                                             lineterm="", n=1):
                print("    " + line)
        lines += command.lines + (command.output if keep else found_lines)
    return lines, true


def check_file(path, binary, args):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    blocks, true, ran = blocks_of(lines), True, 0
    replaced = {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(binary, folder)
        for block in blocks:
            name = f"{os.path.relpath(path, ROOT)}:{block.begin}"
            if "slow" in block.words and not args.slow:
                continue
            missing = [word for command in block.commands for word in command.missing(folder)]
            made = [word for command in block.commands for word in re.findall(r"-o (\S+)", command.text)]
            missing = [word for word in missing if word not in made]
            if missing:
                print(f"{name}: left alone, there is no {missing[0]}")
                continue
            ran += 1
            if ran == 1:
                runner.warm()
            new, good = check_block(runner, block, name, args.update, args.all)
            true = true and good
            if args.update:
                replaced[block.begin] = (block.end, new)
    if replaced:
        out, at = [], 0
        for begin, (end, new) in sorted(replaced.items()):
            out += lines[at:begin] + new
            at = end
        out += lines[at:]
        if out != lines:
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(out))
            print(f"{os.path.relpath(path, ROOT)}: rewritten")
    return true or args.update, ran


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--binary", default=os.path.join(ROOT, "out", "release", "plimsoll"))
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    # As on the smallest machine: what a process holds depends on the number of its workers.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    if not shutil.which("bash") or not os.path.exists(args.binary):
        print(f"there is no {args.binary}")
        return 77
    files = args.files or [os.path.join(ROOT, "README.md")] + sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")))
    true, ran = True, 0
    for path in files:
        good, count = check_file(os.path.abspath(path), os.path.abspath(args.binary), args)
        true, ran = true and good, ran + count
    print(f"{ran} blocks were run")
    return 0 if true else 1


if __name__ == "__main__":
    sys.exit(main())
