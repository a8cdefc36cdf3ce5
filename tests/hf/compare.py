"""Tiny random models of every family, as folder and as GGUF, at once and token by token, with every set of instructions, against
`transformers`.

    compare.py BUILD_DIR WORK_DIR [LLAMA_CPP_SOURCE]

Each with two strengths of weights: with sharp ones, one of 40 tokens gets most of each head's attention, so that the rounding of
keys and values in the engine's cache shows, and a term that is wrong by a thousandth.
"""

import shutil
import sys
from pathlib import Path

import transformers

from engine import Refused, difference, engine_logits, usable_isas
from models import CONTEXT, VOCABULARY, judge, make_model, make_wrapped_gemma3, some_tokens

# The largest difference of logits, of the spread between the least and the most likely token; nats of KL.
LIMITS = (2e-3, 1e-6)

LONG = dict(
    long_factor=[1.0 + 0.7 * i for i in range(6)],
    short_factor=[1.0 + 0.1 * i for i in range(6)],
    partial_rotary_factor=0.75,
)

# name: (family, settings of the configuration class, whether GGUF has keys for them that converters write).
VARIANTS = {
    "llama": ("llama", {}, True),
    "llama-tied": ("llama", dict(tie_word_embeddings=True), True),
    "llama-bias": ("llama", dict(attention_bias=True, mlp_bias=True), True),
    "llama-one-kv-head": ("llama", dict(num_key_value_heads=1, head_dim=32), True),
    "llama-linear": ("llama", dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0)), True),
    "llama-llama3": (
        "llama",
        dict(
            rope_parameters=dict(
                rope_type="llama3",
                rope_theta=500000.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            )
        ),
        True,
    ),
    "llama-yarn": (
        "llama",
        dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)),
        True,
    ),
    "llama-yarn-scales": (
        "llama",
        dict(
            rope_parameters=dict(
                rope_type="yarn",
                rope_theta=10000.0,
                factor=4.0,
                original_max_position_embeddings=32,
                mscale=0.7,
                mscale_all_dim=1.8,
                beta_fast=8.0,
                beta_slow=0.5,
                truncate=False,
            )
        ),
        False,
    ),
    "llama-dynamic": (
        "llama",
        dict(max_position_embeddings=32, rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=4.0)),
        False,
    ),
    "llama-epsilon": ("llama", dict(rms_norm_eps=0.05, rope_parameters=dict(rope_type="default", rope_theta=300.0)), True),
    "mistral-window": ("mistral", {}, False),
    "mistral-no-window": ("mistral", dict(sliding_window=None), True),
    "qwen2": ("qwen2", {}, True),
    "qwen2-tied": ("qwen2", dict(tie_word_embeddings=True), True),
    "qwen2-window": ("qwen2", dict(use_sliding_window=True, sliding_window=8, max_window_layers=2), False),
    "qwen2-yarn": (
        "qwen2",
        dict(rope_parameters=dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32)),
        True,
    ),
    "qwen3": ("qwen3", {}, True),
    "qwen3-bias": ("qwen3", dict(attention_bias=True), True),
    "qwen3-layers": (
        "qwen3",
        dict(
            use_sliding_window=True,
            sliding_window=5,
            layer_types=["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
        ),
        False,
    ),
    "qwen3-yarn": (
        "qwen3",
        dict(rope_parameters=dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32)),
        True,
    ),
    "gemma2": ("gemma2", {}, True),
    "gemma2-scale": ("gemma2", dict(query_pre_attn_scalar=7), False),
    "gemma2-caps": ("gemma2", dict(attn_logit_softcapping=4.0, final_logit_softcapping=2.0), True),
    "gemma2-layers": ("gemma2", dict(layer_types=["full_attention"] * 3 + ["sliding_attention"]), False),
    "gemma3": ("gemma3", {}, True),
    "gemma3-scale": ("gemma3", dict(query_pre_attn_scalar=7), False),
    "gemma3-linear": (
        "gemma3",
        dict(
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            )
        ),
        True,
    ),
    "gemma3-pattern": ("gemma3", dict(layer_types=["sliding_attention", "full_attention"] * 3 + ["full_attention"]), False),
    "gemma3-cap": ("gemma3", dict(final_logit_softcapping=2.0), True),
    "gemma3-wrapped": ("gemma3 with pictures", {}, True),
    "phi3": ("phi3", {}, True),
    "phi3-window": ("phi3", dict(sliding_window=8), True),
    "phi3-partial": ("phi3", dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.75)), True),
    "phi3-long": (
        "phi3",
        dict(
            max_position_embeddings=256,
            original_max_position_embeddings=32,
            rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=32) | LONG,
        ),
        True,
    ),
    "phi3-short": (
        "phi3",
        dict(
            max_position_embeddings=256,
            original_max_position_embeddings=128,
            rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=128) | LONG,
        ),
        True,
    ),
}


class Suite:
    def __init__(self, build, work, converter):
        self.build = build
        self.work = work
        self.converter = converter
        make_model(work / "plain", "llama")
        self.isas = usable_isas(build, work / "plain")
        self.tokens = some_tokens()
        self.failures = []
        self.worst = {}

    def run(self, name, family, settings, has_keys):
        for strength in ("soft", "sharp"):
            folder = self.work / f"{name}-{strength}"
            given = settings | dict(initializer_range=0.1 if strength == "soft" else 0.2)
            if family == "gemma3 with pictures":
                make_wrapped_gemma3(folder, **given)
            else:
                make_model(folder, family, **given)
            want = judge(folder, self.tokens)
            forms = [("folder", folder)]
            if self.converter and has_keys:
                gguf = folder.with_suffix(".gguf")
                self.converter.convert(folder, gguf)
                forms.append(("gguf", gguf))
            for form, path in forms:
                self.compare(name, strength, form, path, want)
                if form == "gguf":
                    path.unlink()
            shutil.rmtree(folder)

    def compare(self, name, strength, form, path, want):
        # Dynamic factors depend on how long a session may become.
        context = len(self.tokens) if name == "llama-dynamic" else CONTEXT
        for isa in self.isas:
            for at_once in (True, False):
                way = "at once" if at_once else "by token"
                try:
                    got = engine_logits(self.build, path, self.tokens, VOCABULARY, context, at_once, isa)
                except Refused as refusal:
                    return self.fail(f"{name} as {form}: refused: {refusal}")
                found = difference(want, got)
                line = f"{name:20}{strength:7}{form:8}{isa:11}{way:10}{found}"
                print(line, flush=True)
                if not found.within(*LIMITS):
                    self.fail(line)
                worst = self.worst.setdefault((strength, isa, way), [0, 0])
                worst[:] = [max(worst[0], found.logits), max(worst[1], found.kl)]

    def fail(self, message):
        self.failures.append(message)
        print("FAILED " + message, flush=True)


def main():
    build, work = Path(sys.argv[1]), Path(sys.argv[2])
    converter = None
    if len(sys.argv) > 3:
        from convert import Converter

        converter = Converter(Path(sys.argv[3]))
    work.mkdir(parents=True, exist_ok=True)
    suite = Suite(build, work, converter)
    for name, (family, settings, has_keys) in VARIANTS.items():
        suite.run(name, family, settings, has_keys)
    for (strength, isa, way), (logits, kl) in sorted(suite.worst.items()):
        print(f"worst  {strength:7}{isa:11}{way:10}logits {logits:.1e} of the spread, KL {kl:.1e}")
    forms = "folder and GGUF" if converter else "folder only (no llama.cpp)"
    print(f"models: {len(VARIANTS)} variants, {forms}, {len(suite.failures)} failures (transformers {transformers.__version__})")
    sys.exit(1 if suite.failures else 0)


main()
