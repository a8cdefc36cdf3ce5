"""Texts and model files of the memory suite, made once in a folder."""

import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20

PROSE = "The kernel writes every page that it has changed to the disk, and the ship may not be loaded beyond its line.\n"


def _repeated(unit, size):
    text = unit.encode()
    return (text * (size // len(text) + 1))[:size // len(text) * len(text) or size]


def _letters(size):
    draw = random.Random(1)
    block = bytes(draw.choice(b"acgt") for _ in range(min(size, MIB)))
    return b"".join(block[i % 997:] + block[:i % 997] for i in range(size // len(block))) + block[:size % len(block)]


KINDS = {
    "prose": lambda size: _repeated(PROSE, size),
    "acgt": _letters,
    "acgtacgt": lambda size: _repeated("acgt", size),
    "aaaa": lambda size: b"a" * size,
    "emoji": lambda size: _repeated("\U0001f680", size),
    "NULs": bytes,
}


def size_name(size):
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB" if size >= KIB else f"{size} B"


class Texts:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def file(self, kind, size):
        path = self.folder / f"{kind}-{size}.txt"
        if not path.exists():
            path.write_bytes(KINDS[kind](size))
        return path


def _gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


class Models:
    """The bundled model, and what is made of it and beside it."""

    STRING, ARRAY, U8 = 8, 9, 0

    def __init__(self, folder, bundled, maker):
        self.folder, self.bundled, self.maker = Path(folder), Path(bundled), maker
        self.folder.mkdir(parents=True, exist_ok=True)

    def with_long_key(self, size):
        """One more key: a string of `size` bytes."""
        return self._with_key(f"key-{size}", "general.long", struct.pack("<I", self.STRING), struct.pack("<Q", size), size)

    def with_long_array(self, size):
        """One more key: an array of strings of three bytes, `size` bytes in all, as a vocabulary has."""
        count = size // 11
        entry = struct.pack("<Q", 3) + b"abc"
        return self._with_key(f"array-{size}", "general.words", struct.pack("<I", self.ARRAY),
                              struct.pack("<IQ", self.STRING, count), count * len(entry), entry)

    def _with_key(self, name, key, kind, head, size, entry=None):
        path = self.folder / f"{name}.gguf"
        if path.exists():
            return path
        source = self.bundled.read_bytes()
        counts, first_key, alignment = 16, 24, 32
        keys = struct.unpack_from("<Q", source, counts)[0] + 1
        added = _gguf_string(key) + kind + head
        # Where tensors begin goes by what is before them: the whole is one more multiple of the alignment.
        added_size = len(added) + size
        filler = _gguf_string("general.filler") + struct.pack("<IIQ", self.ARRAY, self.U8, 0)
        missing = -(added_size + len(filler)) % alignment
        filler = _gguf_string("general.filler") + struct.pack("<IIQ", self.ARRAY, self.U8, missing) + bytes(missing)
        with path.open("wb") as file:
            file.write(source[:counts] + struct.pack("<Q", keys + 1) + filler + added)
            if entry:
                block = entry * 65536
                for start in range(0, size, len(block)):
                    file.write(block[:size - start])
            else:
                file.seek(size, 1)  # a hole: zeros
            file.write(source[first_key:])
        return path

    def folder_with_long_tokenizer(self, size):
        """A folder whose tokenizer.json has a text of `size` bytes that says nothing."""
        path = self.folder / f"folder-{size}"
        if path.exists():
            return path
        plain = self.folder / "folder-plain"
        if not plain.exists():
            self.make(self.folder / "plain.gguf", "--folder", plain)
        shutil.copytree(plain, path)
        tokenizer = json.loads((path / "tokenizer.json").read_text())
        with (path / "tokenizer.json").open("w") as file:
            file.write('{"nothing": "')
            for _ in range(size // MIB):
                file.write("x" * MIB)
            file.write('", ' + json.dumps(tokenizer)[1:])
        return path

    def long_context(self, context=131072):
        """A small model that was trained for a long context; its vocabulary is bytes."""
        path = self.folder / f"context-{context}.gguf"
        if not path.exists():
            self.make(path, "--context", context, "--layers", 1, "--width", 64, "--heads", 2, "--kv-heads", 1, "--feed-forward", 64,
                      "--vocabulary", 300)
        return path

    def synthetic(self, shape, format_name):
        path = self.folder / f"{shape}-{format_name}.gguf"
        if not path.exists():
            self.make(path, "--shape", shape, "--format", format_name)
        return path

    def make(self, path, *options):
        subprocess.run([str(self.maker), str(path), *map(str, options)], check=True, stdout=subprocess.DEVNULL)
