// The patterns are those of each model family's own tokenizer.json (or tokenization code, for
// Kimi), where they are published; names are those that converters to GGUF write.
#include <string>

#include "text/pre_tokenizer.h"

namespace plimsoll {
namespace {

constexpr std::string_view gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view llama3_words =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view qwen2_words =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view gpt4o_words =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}])"
    R"(+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}])"
    R"(*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view deepseek3_words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
    R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view one_to_three_digits = R"(\p{N}{1,3})";
constexpr std::string_view han_and_kana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+)";

constexpr std::string_view default_patterns[] = {R"([\p{P}\$\+<=>\^~\|]+)", gpt2_words, R"(\p{N}+)",
                                                 "[0-9][0-9][0-9]"};
constexpr std::string_view gpt2_patterns[] = {gpt2_words};
constexpr std::string_view llama3_patterns[] = {llama3_words};
constexpr std::string_view jais2_patterns[] = {
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|)"
    R"(\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|)"
    R"(\s{1,2}(?!\S)|\s{1})"};
constexpr std::string_view qwen2_patterns[] = {qwen2_words};
constexpr std::string_view qwen35_patterns[] = {
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|)"
    R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
    R"(\s+(?!\S)|\s+)"};
constexpr std::string_view ufakzeka_patterns[] = {
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view laguna_patterns[] = {R"([^\n]+|[\n]+)", qwen2_words};
constexpr std::string_view minicpm5_patterns[] = {
    one_to_three_digits,
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view seed_coder_patterns[] = {
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view bailing_patterns[] = {
    R"('(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
// The groups are possessive, unlike the published ones: nothing follows them, so that they match
// the same without remembering every letter.
constexpr std::string_view exaone_moe_patterns[] = {
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|)"
    R"([^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*+(?: \p{L}\p{M}*+)*+)++|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::string_view starcoder_patterns[] = {R"(\p{N})", gpt2_words};
// Digits are told apart once the bytes are spelled as characters, of which some ("³", "½") are numbers
// for bytes that are none.
constexpr std::string_view falcon_published = R"({"type": "Sequence", "pretokenizers": [
    {"type": "Punctuation", "behavior": "Contiguous"},
    {"type": "ByteLevel", "add_prefix_space": false},
    {"type": "Digits", "individual_digits": false},
    {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated"}]})";
constexpr std::string_view deepseek_llm_patterns[] = {
    R"([\r\n])",
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF})"
    R"(\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F})"
    R"(\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481})"
    R"(\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD})"
    R"(\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77})"
    R"(\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45})"
    R"(\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D})"
    R"(\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
    R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06})"
    R"(\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
    R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"
    R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+)",
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)",
    R"(\s+$)",
    R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)",
    R"(\p{N}+)"};
constexpr std::string_view deepseek_coder_patterns[] = {
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
    R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)", R"(\p{N})"};
constexpr std::string_view deepseek3_patterns[] = {one_to_three_digits, han_and_kana,
                                                   deepseek3_words};
constexpr std::string_view spark_patterns[] = {
    one_to_three_digits, han_and_kana,
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
    R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)",
    R"(\p{N})"};
constexpr std::string_view afmoe_patterns[] = {
    R"(\p{N}+)",
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{30FF})"
    R"(\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F})"
    R"(\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)",
    deepseek3_words};
constexpr std::string_view youtu_patterns[] = {
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|)"
    R"([\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C})"
    R"(\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|)"
    R"([\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+)",
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}])"
    R"(+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}])"
    R"(*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view bloom_patterns[] = {
    R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)"};
constexpr std::string_view viking_patterns[] = {bloom_patterns[0], R"(\p{N})"};
constexpr std::string_view tekken_patterns[] = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view gpt4o_patterns[] = {gpt4o_words};
constexpr std::string_view tiny_aya_patterns[] = {R"(\d++\b)", gpt4o_words};
constexpr std::string_view superbpe_patterns[] = {R"(\d+)", R"(\p{N}+)"};
constexpr std::string_view chameleon_patterns[] = {
    "<sentinel:[0-9]+>",       "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    R"(([\t\n]|    |  ))",     R"(\p{N})",
    R"([\p{P}!-/:-@\[-`{-~])", gpt2_words};
// The published pattern takes Han letters out of its classes by intersection; here each class names
// what it leaves out.
constexpr std::string_view kimi_k2_patterns[] = {
    R"(\p{sc:Han}+|[^\r\n\p{L}\p{N}]?[^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]*[^\p{Lu})"
    R"(\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|)"
    R"('[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han})"
    R"(]+[^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]*(?:'[sS]|'[tT]|'[rR][eE]|)"
    R"('[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
    R"(\s+(?!\S)|\s+)"};
constexpr std::string_view lines_patterns[] = {R"([^\n]+|[\n]+)"};

constexpr std::string_view default_names[] = {"default"};
constexpr std::string_view llama3_names[] = {"llama-bpe", "llama3",    "llama-v3",
                                             "falcon3",   "falcon-h1", "pixtral",
                                             "midm-2.0",  "lfm2",      "jina-v5-nano"};
constexpr std::string_view llama3_merging_names[] = {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"};
constexpr std::string_view jais2_names[] = {"jais-2"};
constexpr std::string_view gpt2_names[] = {
    "gpt-2",      "phi-2",   "gigachat",   "a.x-4.0",    "mellum",     "modern-bert",
    "mpt",        "olmo",    "jais",       "trillion",   "exaone4",    "granite-docling",
    "jina-es",    "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en", "jina-v2-code",
    "roberta-bpe"};
constexpr std::string_view starcoder_names[] = {"starcoder", "refact", "command-r",  "smollm",
                                                "codeshell", "exaone", "minerva-7b", "mellum2"};
constexpr std::string_view qwen2_names[] = {"qwen2",   "deepseek-r1-qwen", "megrez",
                                            "kormo",   "f2llmv2",          "stablelm2",
                                            "hunyuan", "solar-open",       "grok-2"};
constexpr std::string_view qwen35_names[] = {"qwen35"};
constexpr std::string_view deepseek_llm_names[] = {"deepseek-llm"};
constexpr std::string_view deepseek_coder_names[] = {"deepseek-coder"};
constexpr std::string_view deepseek3_names[] = {"deepseek-v3", "hunyuan-dense", "joyai-llm",
                                                "hy_v4"};
constexpr std::string_view falcon_names[] = {"falcon"};
constexpr std::string_view bloom_names[] = {"bloom", "poro-chat", "gpt3-finnish"};
constexpr std::string_view viking_names[] = {"viking"};
constexpr std::string_view tekken_names[] = {"tekken"};
constexpr std::string_view gpt4o_names[] = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"};
constexpr std::string_view granite_names[] = {"granite-embed-multi-97m"};
constexpr std::string_view tiny_aya_names[] = {"tiny_aya", "cohere2moe"};
constexpr std::string_view superbpe_names[] = {"superbpe"};
constexpr std::string_view chameleon_names[] = {"chameleon"};
constexpr std::string_view kimi_k2_names[] = {"kimi-k2"};
constexpr std::string_view bailing_names[] = {"bailingmoe", "bailingmoe2", "llada-moe"};
constexpr std::string_view seed_coder_names[] = {"seed-coder"};
constexpr std::string_view exaone_moe_names[] = {"exaone-moe"};
constexpr std::string_view minicpm5_names[] = {"minicpm5"};
constexpr std::string_view afmoe_names[] = {"afmoe"};
constexpr std::string_view youtu_names[] = {"youtu"};
constexpr std::string_view spark_names[] = {"spark2_5"};
constexpr std::string_view laguna_names[] = {"laguna"};
constexpr std::string_view ufakzeka_names[] = {"ufakzeka"};
constexpr std::string_view lines_names[] = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"};

constexpr PreTokenizerKind kinds[] = {
    {.names = default_names, .patterns = default_patterns},
    {.names = llama3_names, .patterns = llama3_patterns, .ignores_merges = true, .adds_bos = true},
    {.names = llama3_merging_names, .patterns = llama3_patterns},
    {.names = jais2_names, .patterns = jais2_patterns},
    {.names = gpt2_names, .patterns = gpt2_patterns},
    {.names = starcoder_names, .patterns = starcoder_patterns},
    {.names = qwen2_names, .patterns = qwen2_patterns},
    {.names = qwen35_names, .patterns = qwen35_patterns},
    {.names = deepseek_llm_names, .patterns = deepseek_llm_patterns},
    {.names = deepseek_coder_names, .patterns = deepseek_coder_patterns},
    {.names = deepseek3_names, .patterns = deepseek3_patterns},
    {.names = falcon_names, .published = falcon_published},
    {.names = bloom_names, .patterns = bloom_patterns},
    {.names = viking_names, .patterns = viking_patterns},
    {.names = tekken_names, .patterns = tekken_patterns, .ignores_merges = true, .adds_bos = true},
    {.names = gpt4o_names, .patterns = gpt4o_patterns},
    {.names = granite_names, .patterns = gpt4o_patterns, .ignores_merges = true},
    {.names = tiny_aya_names, .patterns = tiny_aya_patterns, .groups_digits = true},
    {.names = superbpe_names, .patterns = superbpe_patterns, .groups_digits = true},
    {.names = chameleon_names, .patterns = chameleon_patterns, .adds_bos = true},
    {.names = kimi_k2_names, .patterns = kimi_k2_patterns},
    {.names = bailing_names, .patterns = bailing_patterns},
    {.names = seed_coder_names, .patterns = seed_coder_patterns},
    {.names = exaone_moe_names, .patterns = exaone_moe_patterns},
    {.names = minicpm5_names, .patterns = minicpm5_patterns, .ignores_merges = true},
    {.names = afmoe_names, .patterns = afmoe_patterns, .groups_digits = true},
    {.names = youtu_names, .patterns = youtu_patterns, .ignores_merges = true},
    {.names = spark_names, .patterns = spark_patterns},
    {.names = laguna_names, .patterns = laguna_patterns},
    {.names = ufakzeka_names, .patterns = ufakzeka_patterns},
    {.names = lines_names, .patterns = lines_patterns, .is_raw = true},
};

}  // namespace

const PreTokenizerKind* find_pre_tokenizer_kind(std::string_view name) {
  for (const PreTokenizerKind& kind : kinds) {
    for (const std::string_view known : kind.names) {
      if (known == name) return &kind;
    }
  }
  return nullptr;
}

std::string known_pre_tokenizer_names() {
  std::string names;
  for (const PreTokenizerKind& kind : kinds) {
    for (const std::string_view known : kind.names) {
      if (!names.empty()) names += ", ";
      names += known;
    }
  }
  return names;
}

}  // namespace plimsoll
