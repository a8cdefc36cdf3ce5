"""Vocabularies to compare: trained ones with every combination of parts, and those of GGUF files as tokenizer.json."""
import json
import struct
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern if isinstance(pattern, str) else pattern, behavior, invert)


def rx(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def bytes_after(*steps):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# Expressions that Oniguruma and PCRE read differently unless they are translated.
DIALECT = {
    "sets": r"[a-z&&[^aeiou]]+|[[:alpha:]&&[^a-z]]+|[^\S\r\n]+|[\W\d&&[^\s]]",
    "quantified": r"\p{L}{1,3}+|\p{N}{,2}x|\d{2}?\s|(?:ab)**c|[^\s\p{L}]++|\s+",
    "words": r"\b\w+\b|\W|\B.",
    "lines": r"^.+$|\n+",
    "options": r"a(?i)b|(?i:the|AND)|x(?m:.)y|(?x: \d + )|\p{Lu}(?i)s|T",
    "hex": r"\h+|\H",
    "unicode": r"[\u4E00-\u9FA5\u3040-\u30FF]+|\x{E9}|\xC3\xA9|\u0301+|\p{Han}+|\p{^L}",
    "posix": r"[[:punct:]]+|[[:space:]]+|[[:upper:]]+|[[:lower:]]+|[[:digit:]]+|[[:^ascii:]]+",
    "names": r"\p{Letter}+|\p{Decimal_Number}+|\p{Punct}|\p{Greek}+|\p{White_Space}+|\p{Symbol}",
    "looks": r"(?<=\s)\S+(?=\s|$)|(?<!\w)\d+(?!\w)|\s+(?!\S)|\G.",
    "escapes": r"[\t\v\f\e\a]+|\x20+|\040|[\]\[\-\\]|\-|[a\-z]+|[]a]",
    "lazy": r"\S+?e|\s*?\n|.{2,4}?",
    "groups": r"(a)(?<n>b)|(?>t|th)e|(?<q>l)\k<q>|(?#comment)z",
    "references": r"(o|l|e)\1|\s",
    "dot": r".\s|\N{2}|\O\n",
    "empty": r"x*",
    "alternatives": r"|abc",
}

NORMALIZERS = {
    "nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(), "lower": normalizers.Lowercase(),
    "strip": normalizers.Strip(), "strip_left": normalizers.Strip(left=True, right=False), "strip_right": normalizers.Strip(left=False, right=True),
    "accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "accents_only": normalizers.StripAccents(), "nmt": normalizers.Nmt(),
    "replace": normalizers.Replace("e", "\u2581"), "replace_rx": normalizers.Replace(Regex(r"\s{2,}|[0-9]"), " "), "replace_empty": normalizers.Replace(Regex(r"x*"), "-"), "replace_gone": normalizers.Replace(Regex(r"^[A-Za-z]"), ""),
    "prepend": normalizers.Prepend("\u2581"), "llama": normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), "gemma": normalizers.Replace(" ", "\u2581"),
    "bert": normalizers.BertNormalizer(), "bert_cased": normalizers.BertNormalizer(lowercase=False), "bert_accents": normalizers.BertNormalizer(lowercase=True, strip_accents=False), "bert_plain": normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, lowercase=False, strip_accents=True),
    "bytes": normalizers.ByteLevel(), "many": normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase(), normalizers.Replace("``", '"')]),
}
PRE_TOKENIZERS = {
    "none": None, "bytes": pre_tokenizers.ByteLevel(add_prefix_space=False), "bytes_space": pre_tokenizers.ByteLevel(add_prefix_space=True), "bytes_whole": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    "digits": pre_tokenizers.Digits(individual_digits=False), "digits_one": pre_tokenizers.Digits(individual_digits=True),
    "whitespace": pre_tokenizers.Whitespace(), "whitespace_split": pre_tokenizers.WhitespaceSplit(), "bert": pre_tokenizers.BertPreTokenizer(), "delimiter": pre_tokenizers.CharDelimiterSplit("e"),
    "meta": pre_tokenizers.Metaspace(), "meta_first": pre_tokenizers.Metaspace(prepend_scheme="first"), "meta_never": pre_tokenizers.Metaspace(prepend_scheme="never"), "meta_whole": pre_tokenizers.Metaspace(prepend_scheme="first", split=False), "meta_other": pre_tokenizers.Metaspace(replacement="_", prepend_scheme="always"),
    "scripts": pre_tokenizers.UnicodeScripts(), "fixed": pre_tokenizers.FixedLength(length=3), "space_meta": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")]), "xlnet": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    "falcon": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(individual_digits=False), rx("[0-9][0-9][0-9]")]),
    "starcoder": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "llama3": bytes_after(rx(LLAMA3)), "qwen2": bytes_after(rx(QWEN2)), "qwen35": bytes_after(rx(QWEN35)), "gpt4o": bytes_after(rx(GPT4O, "removed", True)), "deepseek3": bytes_after(rx(r"\p{N}{1,3}"), rx("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), rx(DEEPSEEK3)),
}
for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
    PRE_TOKENIZERS["punct_" + behavior] = pre_tokenizers.Punctuation(behavior)
    for invert in (False, True):
        PRE_TOKENIZERS[f"split_{behavior}_{int(invert)}"] = rx(r"\s|[aeiou]", behavior, invert)
        PRE_TOKENIZERS[f"text_{behavior}_{int(invert)}"] = split(" ", behavior, invert)
        PRE_TOKENIZERS[f"empty_{behavior}_{int(invert)}"] = rx(r"o*", behavior, invert)
for name, pattern in DIALECT.items():
    PRE_TOKENIZERS["rx_" + name] = rx(pattern)
    PRE_TOKENIZERS["rxb_" + name] = bytes_after(rx(pattern))
DECODERS = {
    "bytes": decoders.ByteLevel(), "meta": decoders.Metaspace(), "meta_never": decoders.Metaspace(prepend_scheme="never"), "word_piece": decoders.WordPiece(), "word_piece_raw": decoders.WordPiece(prefix="##", cleanup=False), "bpe": decoders.BPEDecoder(suffix="</w>"), "ctc": decoders.CTC(), "none": None,
    "llama": decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]), "gemma": decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]), "strip": decoders.Sequence([decoders.Strip("e", 1, 1), decoders.Replace(Regex("[0-9]+"), "#")]),
}
ADDED = [AddedToken("[tok]", special=False, normalized=False), AddedToken("[left]", lstrip=True, normalized=False), AddedToken("[right]", rstrip=True, normalized=False), AddedToken("[both]", lstrip=True, rstrip=True, normalized=False),
         AddedToken("[single]", single_word=True, normalized=False), AddedToken("single", single_word=True, normalized=False), AddedToken("[norm]", normalized=True), AddedToken("N\u00d3RM", normalized=True), AddedToken("<|im", normalized=False), AddedToken("\u2581\u2581", normalized=False)]
SPECIAL = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False), AddedToken("<mask>", lstrip=True, special=True, normalized=False), AddedToken("<|im_end|>", special=True, normalized=False), AddedToken("<|endoftext|>", special=True, normalized=True)]
BYTES = ["<0x%02X>" % b for b in range(256)]


def train(kind, normalizer, pre, size, prose, **flags):
    """A tokenizer of these parts, trained on some lines of prose."""
    lines = prose.split("\n")[:400]
    specials = ["<unk>"] + (BYTES if flags.get("byte_fallback") else [])
    if kind == "bpe":
        model, trainer = models.BPE(unk_token=flags.pop("unk", "<unk>"), **flags), trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False, limit_alphabet=200, **{k: v for k, v in flags.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")})
    elif kind == "unigram":
        model, trainer = models.Unigram(), trainers.UnigramTrainer(vocab_size=size, special_tokens=specials, unk_token="<unk>", show_progress=False)
    elif kind == "word_piece":
        model, trainer = models.WordPiece(unk_token="<unk>", **flags), trainers.WordPieceTrainer(vocab_size=size, special_tokens=specials, show_progress=False, limit_alphabet=200, **{k: v for k, v in flags.items() if k == "continuing_subword_prefix"})
    else:
        model, trainer = models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    tokenizer.train_from_iterator(lines, trainer)
    j = json.loads(tokenizer.to_str())
    for key, value in flags.items():
        if key in j["model"] or key in ("byte_fallback", "ignore_merges", "fuse_unk"):
            j["model"][key] = value
    # What training takes for special is the model's own here.
    j["added_tokens"] = [t for t in j["added_tokens"] if t["content"] == "<unk>"] if flags.get("declared", True) else []
    tokenizer = Tokenizer.from_str(json.dumps(j))
    tokenizer.add_tokens(ADDED)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def trained(prose):
    """Yields (name, tokenizer)."""
    r = 0
    for name, normalizer in NORMALIZERS.items():
        pre = None if name in ("llama", "gemma", "bytes", "replace", "prepend") else [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Metaspace(), pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(prepend_scheme="first", split=False)][r % 4]
        r += 1
        yield f"normalizer-{name}", train("bpe", normalizer, pre, 500, prose)
    for name, pre in PRE_TOKENIZERS.items():
        yield f"pre-{name}", train("bpe", None, pre, 400, prose)
    for i, (name, decoder) in enumerate(DECODERS.items()):
        pre = pre_tokenizers.ByteLevel(add_prefix_space=False) if name == "bytes" else pre_tokenizers.Metaspace() if i % 2 else pre_tokenizers.Whitespace()
        tokenizer = train(["bpe", "word_piece"]["word_piece" in name], None, pre, 500, prose, **({"byte_fallback": True} if name in ("llama", "gemma") else {"end_of_word_suffix": "</w>"} if name == "bpe" else {}))
        if decoder is not None:
            tokenizer.decoder = decoder
        yield f"decoder-{name}", tokenizer
    for fuse in (False, True):
        for fallback in (False, True):
            for unk in ("<unk>", None):
                yield f"bpe-{int(fuse)}{int(fallback)}{int(unk is None)}", train("bpe", NORMALIZERS["llama"], None, 600, prose, fuse_unk=fuse, byte_fallback=fallback, unk=unk)
    for prefix, suffix in (("##", None), (None, "</w>"), ("@@", "</w>")):
        for pre in ("whitespace", "bytes", "meta"):
            yield f"bpe-{prefix}-{'w' if suffix else ''}-{pre}", train("bpe", None, PRE_TOKENIZERS[pre], 500, prose, **({"continuing_subword_prefix": prefix} if prefix else {}), **({"end_of_word_suffix": suffix} if suffix else {}))
    yield "bpe-whole", train("bpe", None, PRE_TOKENIZERS["llama3"], 600, prose, ignore_merges=True)
    yield "bpe-spaces", train("bpe", None, rx(r"\n+"), 600, prose)
    for fallback in (False, True):
        for normalizer, pre in (("many", "meta"), (None, "meta_first"), ("nfkc", "xlnet"), (None, "bytes"), ("llama", "none")):
            tokenizer = train("unigram", NORMALIZERS.get(normalizer), PRE_TOKENIZERS[pre], 500, prose)
            if fallback:
                j = json.loads(tokenizer.to_str())
                j["model"]["byte_fallback"] = True
                j["model"]["vocab"] += [[b, -9.0] for b in BYTES]
                j["added_tokens"] = []
                tokenizer = Tokenizer.from_str(json.dumps(j))
                tokenizer.add_tokens(ADDED)
                tokenizer.add_special_tokens(SPECIAL)
            tokenizer.decoder = decoders.Metaspace()
            yield f"unigram-{int(fallback)}-{normalizer}-{pre}", tokenizer
    for normalizer, pre, flags in (("bert", "bert", {}), ("bert_cased", "bert", {}), ("lower", "whitespace", {"continuing_subword_prefix": "_"}), ("nfd", "bert", {"max_input_chars_per_word": 5}), (None, "bytes", {}), ("nfkc", "punct_isolated", {"max_input_chars_per_word": 0})):
        tokenizer = train("word_piece", NORMALIZERS.get(normalizer), PRE_TOKENIZERS[pre], 600, prose, **flags)
        tokenizer.decoder = decoders.WordPiece(prefix=flags.get("continuing_subword_prefix", "##"))
        yield f"word-piece-{normalizer}-{pre}", tokenizer
    for pre in ("whitespace", "bytes", "bert"):
        yield f"word-level-{pre}", train("word_level", NORMALIZERS["lower"], PRE_TOKENIZERS[pre], 600, prose)


def write_folder(path, tokenizer_json, rows, settings=None):
    """What opening a folder needs, and no more: a model of a few numbers."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    width = 32
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=width, intermediate_size=width, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, vocab_size=rows, tie_word_embeddings=True, hidden_act="silu", torch_dtype="float16")
    (path / "config.json").write_text(json.dumps(config))
    head = json.dumps({"model.embed_tokens.weight": {"dtype": "F16", "shape": [rows, width], "data_offsets": [0, rows * width * 2]}}).encode()
    with open(path / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        f.truncate(8 + len(head) + rows * width * 2)
    if tokenizer_json is not None:
        (path / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    if settings is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
