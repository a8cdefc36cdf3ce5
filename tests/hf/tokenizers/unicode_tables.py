"""Every character by itself through every step that goes by properties of characters: where the tables here and in the library
`tokenizers` differ. Words of one character, "a" before and behind it, as tokens of a vocabulary of single characters.

    unicode_tables.py PLIMSOLL OUT
"""
import json
import shutil
import sys
import unicodedata
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers

import judge as judging
import vocabularies

STEPS = {
    "nfc": (normalizers.NFC(), None), "nfd": (normalizers.NFD(), None), "nfkc": (normalizers.NFKC(), None), "nfkd": (normalizers.NFKD(), None), "lower": (normalizers.Lowercase(), None), "strip": (normalizers.Strip(), None),
    "accents": (normalizers.StripAccents(), None), "nmt": (normalizers.Nmt(), None), "bert": (normalizers.BertNormalizer(), None), "bert_clean": (normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False), None),
    "punctuation": (None, pre_tokenizers.Punctuation()), "digits": (None, pre_tokenizers.Digits(True)), "whitespace": (None, pre_tokenizers.Whitespace()), "whitespace_split": (None, pre_tokenizers.WhitespaceSplit()), "scripts": (None, pre_tokenizers.UnicodeScripts()), "bert_words": (None, pre_tokenizers.BertPreTokenizer()),
}
for name in (r"\p{L}", r"\p{N}", r"\p{P}", r"\p{S}", r"\p{M}", r"\p{Lu}", r"\p{Ll}", r"\w", r"\d", r"\s", r"[[:alpha:]]", r"[[:alnum:]]", r"[[:punct:]]", r"[[:lower:]]", r"[[:upper:]]", r"[[:print:]]", r"[[:graph:]]", r"[[:cntrl:]]", r"[[:blank:]]", r"[[:word:]]", r"[[:digit:]]", r"[[:space:]]", r"[[:xdigit:]]", r"[[:ascii:]]", r"\p{punct}", r"[\w]", r"\p{Han}", r"\p{Greek}", r"(?i:s)", r"(?i:k)", r"\p{Hiragana}", r"\p{Cyrillic}", r"\p{Latin}", r"\p{Alphabetic}"):
    STEPS["regex " + name] = (None, vocabularies.rx(name))


def main():
    program, out = sys.argv[1], Path(sys.argv[2])
    # Assigned in the standard that the regular expressions' libraries are of (Python's own is that too, or newer).
    characters = [chr(c) for c in range(0x30000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    wrong = 0
    for name, (normalizer, pre) in STEPS.items():
        # Words of up to three bytes and "a": each byte is a token, and cuts show as which merges happen.
        pairs = ["a" + b for b in vocabularies.BYTES]
        letters = {b: i for i, b in enumerate(vocabularies.BYTES)}
        vocabulary = dict(letters)
        merges = []
        for token in ["a"]:
            vocabulary[token] = len(vocabulary)
        for byte in vocabularies.BYTES:
            vocabulary["a" + byte] = len(vocabulary)
            merges.append(["a", byte])
        for byte in vocabularies.BYTES:
            vocabulary[byte + "a"] = len(vocabulary)
            merges.append([byte, "a"])
        document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
                    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": True, "ignore_merges": False, "vocab": vocabulary, "merges": merges}}
        judge = Tokenizer.from_str(json.dumps(document))
        if normalizer is not None:
            judge.normalizer = normalizer
        if pre is not None:
            judge.pre_tokenizer = pre
        folder = out / "unicode"
        vocabularies.write_folder(folder, judge.to_str(), judge.get_vocab_size())
        texts = [f"a{c}a" for c in characters]
        found, message = judging.ask(program, folder, texts)
        shutil.rmtree(folder)
        if found is None:
            print(f"WRONG {name}: {message}")
            wrong += 1
            continue
        different = [c for c, text, answer in zip(characters, texts, found) if answer.get("tokens") != judge.encode(text).ids]
        wrong += len(different)
        print(f"{'ok   ' if not different else 'WRONG'} {name}: {len(different)} of {len(characters)} characters differ" + (": " + " ".join(f"{ord(c):04X}" for c in different[:40]) if different else ""), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
