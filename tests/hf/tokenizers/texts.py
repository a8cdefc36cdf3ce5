"""At least 2,000 texts that are hard to tokenize, the same ones every time."""
import random
import unicodedata

HAND_PICKED = [
    "", " ", "  ", "\n", "\t", "\r\n", "a", " a", "a ", " a ", "  a  b  ", "Hello, world!", "hello world", "HELLO World",
    "I'll go; you're, we've, they'd, he's, I'm, don't, IT'S, DON'T, 'S 'T 'LL", "it\u2019s \u2018quoted\u2019 \u201cdouble\u201d",
    "1", "12", "123", "1234", "12345", "123456", "1234567", "3.14159", "1,000,000", "0x1F", "1e-10", "2024-11-28T09:07:15Z", "+1 (555) 010-9999",
    "\u00bd\u00b2\u00b3\u00b9\u00bc\u2167\u0663\u0664\u0969\uff11\uff12", "x\u00b2+y\u00b2=z\u00b2",
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n", "int main(void) { return 0; }\r\n", "<div class=\"x\">&nbsp;</div>",
    "https://example.org/a/b?c=d&e=%20f#g", "user@example.org", "C:\\Users\\x\\file.txt", "/usr/lib/x86_64-linux-gnu", "$HOME/.config", "a_b_c camelCase PascalCase SCREAMING_CASE kebab-case",
    "\ufeffBOM first", "BOM \ufeff inside", "nul\x00inside\x00", "\x01\x02\x07\x08\x0b\x0c\x0e\x1b\x1f\x7f\x80\x85\x9f", "\ufffd replacement \ufffd\ufffd", "\\ud800 \\udfff escapes of surrogates",
    "\u00e9 e\u0301 \u1ec7 e\u0323\u0302 \u1ebfe\u0302\u0301 Vi\u1ec7t Nam Vie\u0323\u0302t Nam", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165", "\u0041\u030a \u00c5 \u212b \u212a \u2126",
    "\u2460\u2461 \ufb01 \ufb02 \uff21\uff22\uff23 \u3392 \u2122 \u2026 \u33a5 \ufdfa", "\u0130stanbul I\u0131iI \u00df\u1e9e \u03a3\u03c3\u03c2 \u01c5 \u0149 \ufb03",
    "\u6f22\u5b57\u304b\u306a\u30ab\u30ca\u30fc\u3001\u6f22\u5b57\u3002", "\u4e2d\u6587\u5206\u8bcd\u6d4b\u8bd5\uff0c\u4f60\u597d\uff01", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627", "\u05e2\u05d1\u05e8\u05d9\u05ea \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u0937\u0947\u0924\u094d\u0930", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0e19\u0e49\u0e33", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 \u0531\u0580\u0565\u057e", "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442 \u0419 \u0418\u0306", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u1f08\u03b8\u1fc6\u03bd\u03b1\u03b9", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0c24\u0c46\u0c32\u0c41\u0c17\u0c41", "\u1018\u102c\u101e\u102c \u1797\u17b6\u179f\u17b6", "\ua4d3\ua4f4 \u13a0\u13b4 \U00012000 \U0001d504\U0001d505",
    "\U0001f600\U0001f469\u200d\U0001f4bb\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd\u2764\ufe0f 1\ufe0f\u20e3", "\u200bzero\u200cwidth\u200djoin\u2060er\u00ad soft", "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306 zalgo\u0337\u0338",
    " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u180e ", "a\u00a0b\u3000c\u2028d\u2029e\u0085f", "\t\t\tindent\n\n\n\n    four\n        eight\n", "trailing   ", "   leading", "a\n\nb\r\n\r\nc\n \n d", "\r\r\n\n\r",
    "\u2581\u2581 marks \u2581the\u2581 \u2581", "##ing ##\u00e9 word ##", "<0x0A><0xFF> <0x", "\u0120the \u010a \u00c3\u00a9",
    "a" * 200, "ab" * 150, " " * 100, "\n" * 60, "\u00e9" * 80, "\u6f22" * 90, "!" * 70, "1" * 50, "a " * 60, "=-" * 50, "_" * 64, ".\n" * 20, "\U0001f600" * 20,
    "[CLS] hello [SEP] [MASK] [UNK] [PAD]", "<s>Hi</s> <unk> <pad> <mask>", "<|endoftext|>", "x <|endoftext|> y", "<|im_start|>user\nHi<|im_end|>\n", "<|begin_of_text|><|eot_id|>", "[INST] a [/INST]", "<start_of_turn>model<end_of_turn>", "<tool_call>{}</tool_call>", "</s></s>", "<s><s>", "< s>", "<|im_end", "|>",
    "[tok]", " [tok] ", "x[tok]y", "x [tok] y", "[TOK] [Tok]", "tok word tokword wordtok word.", "[left] [right] [both] [single] [norm]", "a [left]b", "a[right] b", "a  [both]  b", "a single b singles unsingle single.", "caf\u00e9 cafe\u0301 NORM norm N\u00f3RM", "\n[left]\n[right]\n[both]\n",
]


SCRIPTS = [(0x20, 0x7F), (0xA0, 0x180), (0x180, 0x250), (0x300, 0x370), (0x370, 0x400), (0x400, 0x530), (0x530, 0x590), (0x590, 0x600), (0x600, 0x700), (0x700, 0x800),
           (0x900, 0x980), (0x980, 0xA00), (0xB80, 0xC00), (0xE00, 0xE80), (0xE80, 0xF00), (0xF00, 0x1000), (0x1000, 0x10A0), (0x10A0, 0x1100), (0x1100, 0x1200), (0x1200, 0x1380), (0x13A0, 0x1400),
           (0x1780, 0x1800), (0x1800, 0x18B0), (0x1AB0, 0x1B00), (0x1D00, 0x1DC0), (0x1E00, 0x1F00), (0x1F00, 0x2000), (0x2000, 0x2070), (0x2070, 0x20D0), (0x20D0, 0x2100), (0x2100, 0x2190), (0x2190, 0x2300),
           (0x2460, 0x2600), (0x2600, 0x27C0), (0x2E80, 0x3000), (0x3000, 0x3040), (0x3040, 0x3100), (0x3100, 0x3200), (0x3200, 0x3400), (0x4E00, 0x9FFF), (0xA000, 0xA4D0), (0xAC00, 0xD7A4), (0xE000, 0xE020), (0xF900, 0xFB00),
           (0xFB00, 0xFB50), (0xFB50, 0xFE00), (0xFE00, 0xFE10), (0xFE20, 0xFE30), (0xFE50, 0xFF00), (0xFF00, 0xFFF0), (0x10000, 0x10100), (0x10330, 0x10350), (0x12000, 0x12400), (0x1D400, 0x1D800), (0x1F000, 0x1F200), (0x1F300, 0x1F650), (0x1F680, 0x1F700), (0x1F900, 0x1FA00), (0x20000, 0x20100), (0xE0100, 0xE0110)]
SPACES = [" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u200b", "   ", "\x0b", "\x85"]
MARKS = ["<s>", "</s>", "<unk>", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<mask>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "[tok]", "[left]", "[right]", "[both]", "[single]", "single", "[norm]", "norm", "N\u00d3RM", "\u2581", "##"]


def assigned(code):
    # Characters that are newer than the judges' own tables are left out.
    return unicodedata.category(chr(code)) != "Cn" and unicodedata.category(chr(code)) != "Cs"


def random_word(r):
    low, high = r.choice(SCRIPTS)
    chars = [chr(c) for c in (r.randrange(low, high) for _ in range(r.randrange(1, 9))) if assigned(c)]
    return "".join(chars)


def texts(prose="", count=2000, seed=12):
    """HAND_PICKED, pieces of prose in several forms, and mixtures of everything."""
    r = random.Random(seed)
    out = list(HAND_PICKED)
    for _ in range(count // 4 if prose else 0):
        begin = r.randrange(max(1, len(prose) - 300))
        piece = prose[begin:begin + r.randrange(1, 300)]
        form = r.randrange(6)
        out.append(unicodedata.normalize(["NFC", "NFD", "NFKC", "NFKD"][form], piece) if form < 4 else piece.upper() if form == 4 else piece)
    words = [w for w in (prose.split(" ")[:3000] if prose else ["the", "of", "and"]) if w]
    while len(out) < count:
        parts = []
        for _ in range(r.randrange(1, 16)):
            kind = r.randrange(12)
            if kind < 4:
                parts.append(random_word(r))
            elif kind < 7:
                parts.append(r.choice(words))
            elif kind == 7:
                parts.append(str(r.randrange(10 ** r.randrange(1, 12))))
            elif kind == 8:
                parts.append(r.choice(MARKS))
            elif kind == 9:
                parts.append("".join(r.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(r.randrange(1, 5))))
            elif kind == 10:
                parts.append(r.choice(HAND_PICKED)[:40])
            else:
                parts.append(unicodedata.normalize("NFD", random_word(r)))
            if r.randrange(3):
                parts.append(r.choice(SPACES) if r.randrange(3) == 0 else " ")
        out.append("".join(parts))
    return out
