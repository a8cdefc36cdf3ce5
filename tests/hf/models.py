"""Tiny random models of every family as `transformers` makes them, and what the judge says of them."""

import importlib
import json
import random
import shutil

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

VOCABULARY = 512
TOKENS = 40
CONTEXT = 64

# Small enough to be fast, large enough that each feature has a place: several groups of heads, several layers.
SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
    initializer_range=0.2,  # so that wrong terms show: a trained model's are near 0.02
    bos_token_id=256,
    eos_token_id=257,
    pad_token_id=257,
)

FAMILIES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM"),
}

# What each family needs besides the shape, so that its own features have an effect within 40 tokens.
FAMILY_SHAPE = {
    "llama": dict(tie_word_embeddings=False),
    "mistral": dict(tie_word_embeddings=False, sliding_window=8),
    "qwen2": dict(tie_word_embeddings=False),
    "qwen3": dict(tie_word_embeddings=False),
    "gemma2": dict(sliding_window=8, query_pre_attn_scalar=16),
    "gemma3": dict(sliding_window=8, query_pre_attn_scalar=16, num_hidden_layers=7),
    "phi3": dict(tie_word_embeddings=False),
}


def class_of(family):
    return getattr(transformers, FAMILIES[family][1])


def config_of(family, **settings):
    return getattr(transformers, FAMILIES[family][0])(**(SHAPE | FAMILY_SHAPE[family] | settings))


def randomise(model, seed):
    """Norms and biases begin as ones and zeros: one that is missing or in another's place would not show."""
    generator = torch.Generator().manual_seed(seed)
    centre = 0.0 if "gemma" in model.config.get_text_config().model_type else 1.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim != 1:
                continue
            if "norm" in name:
                values = torch.rand(parameter.shape, generator=generator) - 0.5 + centre
            else:
                values = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.copy_(values)


def make_model(folder, family, seed=1, **settings):
    """Writes a model with these settings of its configuration class. Returns the content of its config.json."""
    return save(folder, class_of(family), config_of(family, **settings), seed)


def make_wrapped_gemma3(folder, seed=1, **settings):
    """Gemma 3 as it is with a tower for pictures: the text's settings are inside text_config."""
    text = config_of("gemma3", **settings)
    vision = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=500, boi_token_index=501, eoi_token_index=502
    )
    return save(folder, transformers.Gemma3ForConditionalGeneration, config, seed)


def save(folder, model_class, config, seed):
    torch.manual_seed(seed)
    model = model_class(config).float().eval()
    randomise(model, seed)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return json.loads((folder / "config.json").read_text())


def write_tokenizer(folder):
    """Bytes, two special tokens, and texts for the rest of the vocabulary that no merge leads to."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    characters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 256, "content": "<|begin|>"} | special, {"id": 257, "content": "<|end_of_text|>"} | special],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False},
                byte_level,
            ],
        },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {characters[b]: b for b in range(256)} | {f"<unused{i}>": i for i in range(258, VOCABULARY)},
            "merges": [],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def some_tokens(seed=3, count=TOKENS):
    draw = random.Random(seed)
    return [draw.randrange(256) for _ in range(count)]


def keep_codes():
    """From here on models with the attention named eager keep keys and values in 16 bits, as the engine's cache does
    (src/kernels/kernels.h: CachedRows): this rounding is a choice, and would hide what else differs."""
    for family in [*FAMILIES, "ministral"]:  # which stands for Mistral's where layers differ
        module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        module.eager_attention_forward = rounding_to_codes(module.eager_attention_forward)


def rounding_to_codes(attention):
    def rounded(module, query, key, value, *others, **named):
        if CODES:
            limit = min(32767, int((2147483000 / key.shape[-1]) ** 0.5))
            key, value = as_codes(key, limit), as_codes(value, 4095)
        return attention(module, query, key, value, *others, **named)

    return rounded


CODES = False


def as_codes(x, limit):
    """Rows of multiples of a unit, the next bf16 from the largest / limit up."""
    least = x.float().abs().amax(-1, keepdim=True) / limit
    unit = ((least.contiguous().view(torch.int32) + 0xFFFF) >> 16 << 16).view(torch.float32)
    return torch.where(unit > 0, (x / unit).round() * unit, torch.zeros_like(x)).to(x.dtype)


def judge(folder, tokens, codes=False):
    """Log-probabilities of the judge, f64 [tokens][vocabulary], all tokens at once; `codes`: keys and values are rounded to 16
    bits. Raises what transformers raises, and for models that it would fill with random numbers where the files lack a part."""
    global CODES
    torch.manual_seed(99)
    model, loading = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if loading["missing_keys"]:
        raise ValueError(f"missing: {sorted(loading['missing_keys'])}")
    CODES = codes
    with torch.no_grad():
        return model.eval()(torch.tensor([tokens]), use_cache=False).logits[0].double().log_softmax(-1).numpy()


keep_codes()
