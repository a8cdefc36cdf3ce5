"""Writes tests/text/golden/tokenizers.json: small trained vocabularies of many parts with the ids that the library `tokenizers`
gives for some texts, so that the ordinary tests cover them without Python.

    make_golden.py PROSE > tests/text/golden/tokenizers.json
"""
import json
import sys
from pathlib import Path

from tokenizers import decoders

import texts as text_maker
import vocabularies as v

prose = Path(sys.argv[1]).read_text(encoding="utf-8")
texts = [t for t in text_maker.texts(prose, 800)[: len(text_maker.HAND_PICKED)] if 0 < len(t) < 120][:110:2] + [t for t in text_maker.texts(prose, 800)[-60:] if len(t) < 80][:20]
N, P = v.NORMALIZERS, v.PRE_TOKENIZERS
CASES = [
    ("gpt-2", "bpe", None, P["bytes"], decoders.ByteLevel(), {}), ("qwen", "bpe", N["nfc"], P["qwen2"], decoders.ByteLevel(), {}), ("llama-3", "bpe", None, P["llama3"], decoders.ByteLevel(), {"ignore_merges": True}),
    ("falcon", "bpe", None, P["falcon"], decoders.ByteLevel(), {}), ("gpt-4o", "bpe", None, P["gpt4o"], decoders.ByteLevel(), {}), ("llama", "bpe", N["llama"], None, v.DECODERS["llama"], {"byte_fallback": True, "fuse_unk": True}),
    ("metaspace", "bpe", N["many"], P["meta_first"], decoders.Metaspace(), {"fuse_unk": True}), ("suffix", "bpe", N["lower"], P["whitespace"], decoders.BPEDecoder(suffix="</w>"), {"end_of_word_suffix": "</w>"}),
    ("prefix", "bpe", N["nmt"], P["bert"], None, {"continuing_subword_prefix": "##"}), ("bert", "word_piece", N["bert"], P["bert"], decoders.WordPiece(), {}), ("unigram", "unigram", N["nfkc"], P["meta"], decoders.Metaspace(), {}),
    ("words", "word_level", N["accents"], P["punct_merged_with_next"], None, {}), ("dialect", "bpe", N["replace_rx"], v.bytes_after(v.rx(v.DIALECT["sets"]), v.rx(v.DIALECT["quantified"], "merged_with_previous"), v.rx(v.DIALECT["lines"], "contiguous", True)), decoders.ByteLevel(), {}), ("scripts", "bpe", None, P["scripts"], None, {}), ("fixed", "bpe", N["bytes"], P["fixed"], decoders.ByteLevel(), {}),
]
cases = []
for name, kind, normalizer, pre, decoder, flags in CASES:
    tokenizer = v.train(kind, normalizer, pre, 420 if "byte_fallback" in flags else 260, prose[:20000], **flags)
    if decoder is not None:
        tokenizer.decoder = decoder
    parsed = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    tokenizer.encode_special_tokens = True
    plain = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    special = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special} - {tokenizer.token_to_id("<unk>")}
    # Control tokens never come out of text here.
    plain = [None if special & set(p) or "<unk>" in t else p if p != q else 0 for p, q, t in zip(plain, parsed, texts)]
    restated = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.normalized}
    decoded = [None if restated & set(ids) else tokenizer.decode(ids, skip_special_tokens=True) for ids in parsed]
    cases.append({"name": name, "tokenizer": json.loads(tokenizer.to_str()), "size": tokenizer.get_vocab_size(), "parsed": parsed, "plain": plain, "decoded": decoded})
print(json.dumps({"texts": texts, "cases": cases}, ensure_ascii=True, separators=(",", ":")).replace('{"name"', '\n{"name"'))
