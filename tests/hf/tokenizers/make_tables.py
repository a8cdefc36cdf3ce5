"""Writes src/text/library_tables.h: the characters that the library `tokenizers` takes for something else than Unicode 14 does,
because the tables that it is built with are older (marks, normal forms, punctuation) or newer (digits). The sets of its regular
expressions (Oniguruma) are compared with PCRE2's, which is asked through grep.

    make_tables.py > src/text/library_tables.h
"""
import os
import subprocess
import unicodedata
from itertools import groupby

from tokenizers import Regex, normalizers, pre_tokenizers

nfc, nfd, nfkd, accents = normalizers.NFC(), normalizers.NFD(), normalizers.NFKD(), normalizers.StripAccents()
clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
strip = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
punctuation, digits, scripts = pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True), pre_tokenizers.UnicodeScripts()
sets = {"forms": set(), "marks": set(), "nonspacing": set(), "others": set(), "points": set(), "numbers": set(), "scripts": set()}
for code in range(0x80, 0x110000):
    c, category = chr(code), unicodedata.category(chr(code))
    if category == "Cs":
        continue
    if any(unicodedata.normalize(form, c) != n.normalize_str(c) for form, n in (("NFC", nfc), ("NFD", nfd), ("NFKD", nfkd))):
        sets["forms"].add(code)
    if unicodedata.combining(c):
        text = "a" + c + "\u0334" if unicodedata.combining(c) > 1 else "a\u0301" + c
        if unicodedata.normalize("NFD", text) != nfd.normalize_str(text):
            sets["forms"].add(code)
    if (category[0] == "M") != (accents.normalize_str("a" + c) == "a"):
        sets["marks"].add(code)
    if category != "Cn" and code != 0xFFFD and (category in ("Cc", "Cf", "Co")) != (clean.normalize_str("a" + c + "b") == "ab"):
        sets["others"].add(code)
    if (category == "Mn") != (strip.normalize_str(c) == ""):
        sets["nonspacing"].add(code)
    if (category[0] == "P") != (len(punctuation.pre_tokenize_str("a" + c)) == 2):
        sets["points"].add(code)
    if (category[0] == "N") != (len(digits.pre_tokenize_str("a" + c)) == 2):
        sets["numbers"].add(code)
    # Of no script: cuts neither a Latin nor a Greek text.
    if category != "Cn" and len(scripts.pre_tokenize_str("a" + c + "a")) == 1 and len(scripts.pre_tokenize_str("\u03b1" + c + "\u03b1")) == 1:
        sets["scripts"].add(code)
# Code points in the order of lines and of offsets; a line end can't stand in a line.
codes = [code for code in range(1, 0x110000) if code != 0xA and not 0xD800 <= code < 0xE000]
every = "".join(map(chr, codes))
lines = "\n".join(every).encode() + b"\n"


def oniguruma_set(pattern):
    kept = set()
    for _, (begin, end) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(every):
        kept.update(range(begin, end))
    return {code for i, code in enumerate(codes) if i not in kept}


def pcre_set(items):
    found = subprocess.run(["grep", "-nP", f"^[{items}]$"], input=lines, capture_output=True, check=True, env=dict(os.environ, LC_ALL="C.UTF-8")).stdout
    return {codes[int(line.split(b":")[0]) - 1] for line in found.split(b"\n") if line}


graph = r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}"
for name, pattern, items in (
    ("more_alpha", r"[[:alpha:]]", r"\p{Alphabetic}"), ("more_digit", r"[[:digit:]]", r"\p{Nd}"), ("more_graph", r"[[:graph:]]", graph), ("more_lower", r"[[:lower:]]", r"\p{Lowercase}"),
    ("more_upper", r"[[:upper:]]", r"\p{Uppercase}"), ("more_punct", r"[[:punct:]]", r"\p{P}\p{S}"), ("more_points", r"\p{punct}", r"\p{P}"), ("more_word", r"[[:word:]]", r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}"),
):
    wanted, known = oniguruma_set(pattern), pcre_set(items)
    assert not known - wanted, (pattern, sorted(known - wanted)[:20])
    sets[name] = wanted - known
comments = {
    "more_alpha": "What [[:alpha:]] has beyond PCRE2's Alphabetic.", "more_digit": "What [[:digit:]] has beyond Nd.", "more_graph": "What [[:graph:]] has beyond L, M, N, P, S, Cf and Co: assigned since.",
    "more_lower": "What [[:lower:]] has beyond Lowercase.", "more_upper": "What [[:upper:]] has beyond Uppercase.", "more_punct": "What [[:punct:]] has beyond P and S.", "more_points": "What \\p{punct} has beyond P.", "more_word": "What [[:word:]] has beyond Alphabetic, M, Nd and Pc.",
    "forms": "Newer than the normal forms: they neither change nor move.", "marks": "Marks in only one of the two.", "nonspacing": "Nonspacing marks in only one of the two.",
    "others": "Control and format characters in only one of the two.", "points": "Punctuation in only one of the two.", "numbers": "Numbers in only one of the two.", "scripts": "Assigned characters of no script.",
}
print("// Made by tests/hf/tokenizers/make_tables.py: where the library for tokenizer.json, built with tables of other versions of\n// Unicode, differs from Unicode 14.\n#pragma once\n")
print("#include <algorithm>\n#include <iterator>\n#include <span>\n\nnamespace plimsoll::library {\n")
print("struct Range {\n  char32_t first, last;\n};\n")
print("inline bool contains(std::span<const Range> ranges, char32_t character) {\n  const auto range = std::ranges::lower_bound(ranges, character, {}, &Range::last);\n  return range != ranges.end() && range->first <= character;\n}\n")
for name, codes in sets.items():
    ranges = []
    for _, group in groupby(enumerate(sorted(codes)), lambda pair: pair[1] - pair[0]):
        group = [code for _, code in group]
        ranges.append("{0x%X, 0x%X}" % (group[0], group[-1]))
    line, lines = "   ", []
    for i, r in enumerate(ranges):
        item = " " + r + ("," if i + 1 < len(ranges) else "")
        if len(line) + len(item) > 100:
            lines.append(line)
            line = "   "
        line += item
    print(f"/// {comments[name]}\ninline constexpr Range {name}[] = {{\n" + "\n".join(lines + [line]) + "};\n")
print("}  // namespace plimsoll::library")
