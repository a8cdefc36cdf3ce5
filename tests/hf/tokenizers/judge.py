"""Compares `plimsoll tokenize` with the library `tokenizers`: ids of every text, with and without control tokens parsed, and texts
back from ids, for trained vocabularies of every combination of parts (as folders) and for those of GGUF files.

    judge.py PLIMSOLL OUT [--only NAME]... [--gguf FILE]... [--texts N] [--prose FILE]
"""
import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

import gguf_vocabularies
import texts as text_maker
import vocabularies


def ask(program, model, requests):
    """Answers of `plimsoll tokenize --json-lines`, or the message with which it refuses the model."""
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    done = subprocess.run([program, "tokenize", str(model), "--json-lines"], input=lines.encode(), capture_output=True)
    if done.returncode != 0:
        return None, done.stderr.decode(errors="replace").strip()
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line], ""


class Result:
    def __init__(self, name):
        self.name, self.compared, self.wrong, self.control, self.examples = name, 0, 0, 0, []

    def add(self, what, text, wanted, found):
        self.wrong += 1
        if len(self.examples) < 3:
            self.examples.append(f"    {what} {text!r:.200}\n      wanted {wanted!r:.300}\n      found  {found!r:.300}")


def compare(name, program, model, judge, texts, decodes=True):
    """`judge` is a Tokenizer whose ids are the model's."""
    result = Result(name)
    normalize = judge.normalizer.normalize_str if judge.normalizer else lambda text: text
    restated = {i for i, t in judge.get_added_tokens_decoder().items() if t.normalized and normalize(t.content) != t.content}
    # Some files do not declare their marks special; those are never read out of a user's text either.
    looks = lambda t: t in ("<pad>", "<mask>", "</s>", "<eos>", "<EOT>", "[EOS]", "[PAD]", "<end_of_turn>") or t.startswith("<|") and t.endswith("|>") or t.startswith("<\uff5c") and t.endswith("\uff5c>") or t.startswith("<unused")
    marks = {i for i, t in judge.get_added_tokens_decoder().items() if t.special or looks(t.content)}
    undeclared = {i for i in marks if not judge.get_added_tokens_decoder()[i].special}
    requests = [{"text": t, "parse_special": p} for p in (True, False) for t in texts]
    found, message = ask(program, model, requests)
    if found is None:
        result.add("refused", message, None, None)
        return result
    decoding = []
    for parse in (True, False):
        judge.encode_special_tokens = not parse
        for i, text in enumerate(texts):
            answer = found[i + (0 if parse else len(texts))]
            try:
                wanted = judge.encode(text, add_special_tokens=False).ids
            except BaseException as error:  # the judge refuses a text, as where it has no unknown token, or panics in Rust
                if isinstance(error, KeyboardInterrupt):
                    raise
                if "tokens" in answer and isinstance(error, Exception):
                    result.add(f"parse={parse}: the judge says {error}", text, None, answer)
                continue
            result.compared += 1
            ids = answer.get("tokens")
            if ids != wanted:
                # Text never becomes a control token here where those are not parsed; the judge's models find their texts.
                unknown = {judge.token_to_id("<unk>"), judge.token_to_id("[UNK]")}
                if not parse and (any(w in marks and w not in unknown for w in wanted) or "<unk>" in text):
                    result.control += 1
                    continue
                result.add(f"parse={parse}", text, wanted, answer)
            elif parse:
                decoding.append(wanted)
    if decodes:
        for show in (False, True):
            answers, message = ask(program, model, [{"tokens": ids, "show_special": show} for ids in decoding])
            for ids, answer in zip(decoding, answers or []):
                # The library gives tokens that are looked for in normalised text back as that has them, and shows special ones.
                if any(i in restated or (not show and i in undeclared) for i in ids):
                    continue
                result.compared += 1
                try:
                    wanted = judge.decode(ids, skip_special_tokens=not show)
                except BaseException as error:  # a panic in Rust, as at bytes in the midst of a character
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    result.compared -= 1
                    continue
                if answer.get("text") != wanted:
                    result.add(f"decode show={show}", ids, wanted, answer)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--gguf", action="append", default=[], type=Path)
    parser.add_argument("--folder", action="append", default=[], type=Path, help="a folder with tokenizer.json")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--trained-texts", type=int, default=2000)
    parser.add_argument("--prose", type=Path)
    parser.add_argument("--no-trained", action="store_true")
    arguments = parser.parse_args()
    prose = arguments.prose.read_text(encoding="utf-8") if arguments.prose else ""
    texts = text_maker.texts(prose, arguments.texts)
    few = text_maker.texts(prose, arguments.trained_texts)
    wanted = lambda name: not arguments.only or any(o in name for o in arguments.only)
    results = []

    def report(result):
        results.append(result)
        print(f"{'ok   ' if not result.wrong else 'WRONG'} {result.name}: {result.compared} compared, {result.wrong} wrong" + (f", {result.control} with control tokens out of text left out" if result.control else ""), flush=True)
        for example in result.examples:
            print(example, flush=True)

    for path in arguments.gguf:
        name = path.stem.replace("ggml-vocab-", "")
        if not wanted("gguf-" + name) and not wanted("folder-" + name):
            continue
        document, rows = gguf_vocabularies.tokenizer_json(path)
        if document is None:
            print(f"skip  gguf-{name}: {rows}")
            continue
        judge = Tokenizer.from_str(document)
        if json.loads(document)["model"]["type"] == "Unigram":
            print(f"skip  gguf-{name}: as GGUF it is normalised by sentencepiece's own rules (the longest match), which the library does by grapheme clusters")
        elif wanted("gguf-" + name):
            report(compare("gguf-" + name, arguments.program, path, judge, texts, decodes=False))
        if wanted("folder-" + name):
            folder = arguments.out / ("folder-" + name)
            vocabularies.write_folder(folder, document, rows)
            report(compare("folder-" + name, arguments.program, folder, judge, texts))
            shutil.rmtree(folder)
    for path in arguments.folder:
        if not wanted("folder-" + path.name):
            continue
        document = (path / "tokenizer.json").read_text(encoding="utf-8")
        judge = Tokenizer.from_str(document)
        judge.no_truncation(); judge.no_padding()
        folder = arguments.out / ("folder-" + path.name)
        vocabularies.write_folder(folder, document, judge.get_vocab_size())
        report(compare("folder-" + path.name, arguments.program, folder, judge, texts))
        shutil.rmtree(folder)
    if not arguments.no_trained:
        for name, judge in vocabularies.trained(prose or " ".join(text_maker.HAND_PICKED)):
            if not wanted(name):
                continue
            folder = arguments.out / name
            vocabularies.write_folder(folder, judge.to_str(), judge.get_vocab_size())
            report(compare(name, arguments.program, folder, judge, few))
            if not results[-1].wrong:
                shutil.rmtree(folder)
    wrong = sum(r.wrong for r in results)
    print(f"{len(results)} vocabularies, {sum(r.compared for r in results)} comparisons, {wrong} wrong")
    return 1 if wrong or not results else 0


if __name__ == "__main__":
    sys.exit(main())
