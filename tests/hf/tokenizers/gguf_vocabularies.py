"""The vocabulary of a GGUF file as the tokenizer.json that its makers publish: what GGUF leaves out (how text is normalised and
cut) is that of the models' own files, by the kind that the GGUF file names."""
import base64
import json

from gguf import GGUFReader

from vocabularies import DEEPSEEK3, GPT2, LLAMA3, QWEN2, QWEN35

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)


def byte_level(add_prefix_space=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", kind="Regex", invert=False):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


NFC = {"type": "NFC"}
# (normalizer, pre-tokenizer, ignore_merges) by tokenizer.ggml.pre. GGUF files have no normalizer: those of NFC are left out, so
# that the same is compared; the texts' own normal form is the folders' business.
KINDS = {
    "gpt-2": byte_level(), "mpt": byte_level(), "gpt-neox": byte_level(), "refact": sequence(digits(True), byte_level()), "starcoder": sequence(digits(True), byte_level()), "smollm": sequence(digits(True), byte_level()), "command-r": sequence(digits(True), byte_level()),
    "falcon": sequence({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), digits(False), split("[0-9][0-9][0-9]")),
    "llama-bpe": sequence(split(LLAMA3), byte_level(use_regex=False)), "qwen2": sequence(split(QWEN2), byte_level(use_regex=False)), "qwen35": sequence(split(QWEN35), byte_level(use_regex=False)),
    "deepseek-llm": sequence(split("[\r\n]"), split("\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"),
                             split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"), split("\\s+$"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(True), byte_level(use_regex=False)),
    "deepseek-coder": sequence(split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), digits(True), byte_level(use_regex=False)),
    "deepseek-v3": sequence(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK3), byte_level(use_regex=False)),
}
SENTENCE_PIECE = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
SENTENCE_DECODER = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
IGNORES_MERGES = {"llama-bpe", "tekken"}


def field(reader, key, default=None):
    found = reader.fields.get(key)
    return default if found is None else found.contents()


def all_merges(tokens, scores, types):
    """Every way to put a token together out of two others, in the order of the results' scores."""
    known = {t: i for i, t in enumerate(tokens) if types[i] in (NORMAL, USER)}
    order = sorted(known.items(), key=lambda item: (-scores[item[1]], item[1]))
    return [[t[:i], t[i:]] for t, _ in order for i in range(1, len(t)) if t[:i] in known and t[i:] in known]


def tokenizer_json(path):
    """The document and the number of its tokens, or None and why there is none."""
    reader = GGUFReader(str(path))
    model, pre = field(reader, "tokenizer.ggml.model"), field(reader, "tokenizer.ggml.pre", "")
    tokens = [bytes(reader.fields["tokenizer.ggml.tokens"].parts[i]).decode("utf-8", "replace") for i in reader.fields["tokenizer.ggml.tokens"].data]
    types = field(reader, "tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    name = (field(reader, "general.name") or "").lower()
    is_phi = "phi-3" in name or "phi3" in name
    added = [dict(id=i, content=t, single_word=False, lstrip=t == "<mask>" and model == "t5", rstrip=is_phi and t not in ("<unk>", "<s>", "<|endoftext|>"), normalized=False, special=types[i] != USER)
             for i, t in enumerate(tokens) if types[i] in (UNKNOWN, CONTROL, USER) and t]
    vocab = {t: i for i, t in reversed(list(enumerate(tokens))) if types[i] != UNUSED or model != "gpt2"}
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    if model == "gpt2":
        if not pre and "neox" in path.name:
            return None, "the file is older than the names of pre-tokenizers, and says nothing of its own"
        if pre not in KINDS:
            return None, f"what the makers publish for {pre!r} is not known here"
        merges = [m.split(" ", 1) for m in field(reader, "tokenizer.ggml.merges")]
        merges = [m for m in merges if len(m) == 2 and m[0] in vocab and m[1] in vocab and m[0] + m[1] in vocab]
        document |= {"pre_tokenizer": KINDS[pre], "decoder": byte_level(), "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": pre in IGNORES_MERGES, "vocab": vocab, "merges": merges}}
    elif model in ("llama", "gemma4"):
        if model == "llama":
            merges = all_merges(tokens, field(reader, "tokenizer.ggml.scores"), types)
        else:
            merges = [m.split(" ", 1) for m in field(reader, "tokenizer.ggml.merges")]
            merges = [m for m in merges if len(m) == 2 and m[0] in vocab and m[1] in vocab and m[0] + m[1] in vocab]
        unknown = tokens[field(reader, "tokenizer.ggml.unknown_token_id", 0)]
        normalizer = SENTENCE_PIECE if field(reader, "tokenizer.ggml.add_space_prefix", True) else {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        document |= {"normalizer": normalizer, "decoder": SENTENCE_DECODER, "pre_tokenizer": split(" ", "MergedWithPrevious", "String") if model == "gemma4" else None,
                     "model": {"type": "BPE", "dropout": None, "unk_token": unknown, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges}}
    elif model == "bert":
        plain = {(t if types[i] != NORMAL or (t.startswith("[") and t.endswith("]")) else t[1:] if t.startswith("\u2581") else "##" + t): i for i, t in reversed(list(enumerate(tokens)))}
        document |= {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
                     "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": plain}}
    elif model == "t5":
        scores = field(reader, "tokenizer.ggml.scores")
        charsmap = bytes(bytearray(field(reader, "tokenizer.ggml.precompiled_charsmap") or []))
        steps = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}, {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}]
        metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
        document |= {"normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": metaspace, "decoder": metaspace,
                     "model": {"type": "Unigram", "unk_id": field(reader, "tokenizer.ggml.unknown_token_id"), "vocab": [[t, s] for t, s in zip(tokens, scores)], "byte_fallback": False}}
    else:
        return None, f"tokenizer {model!r} is of no kind that is known here"
    return json.dumps(document), len(tokens)
