"""Another value for every key of every family's configuration class, one at a time: what the engine makes of the folder must
equal what `transformers` makes of it, or be refused.

    keys.py BUILD_DIR WORK_DIR [FAMILY]...

Each model is saved once; then its config.json is changed. A change that transformers itself cannot follow (it raises, or
would fill parts in with random numbers, or leaves tensors of the files out) must be refused, or be a change that the engine
and the unchanged model agree on.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import transformers

from engine import Refused, difference, engine_logits
from models import CONTEXT, FAMILIES, VOCABULARY, config_of, judge, make_model, make_wrapped_gemma3, some_tokens

# Of the plain kernels against a judge that keeps keys and values as codes too: far smaller than what any wrong term does.
MOST_LOGITS, MOST_KL = 1e-3, 5e-7

YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def long_rope(dimensions=16, **more):
    count = dimensions // 2
    longs, shorts = [1.0 + 0.7 * i for i in range(count)], [1.0 + 0.1 * i for i in range(count)]
    return {"rope_type": "longrope", "rope_theta": 10000.0, "long_factor": longs, "short_factor": shorts} | more


def without(settings, *names):
    return {k: v for k, v in settings.items() if k not in names}


ROPES = [
    {"rope_type": "default", "rope_theta": 500.0},
    {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
    {"type": "linear", "factor": 4.0},
    {"rope_type": "linear"},
    {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    YARN,
    without(YARN, "original_max_position_embeddings"),
    YARN | {"factor": 0.5},
    YARN | {"attention_factor": 1.7},
    YARN | {"beta_fast": 4.0, "beta_slow": 0.5},
    YARN | {"beta_fast": 1.0, "beta_slow": 4.0},
    YARN | {"beta_fast": 0, "beta_slow": 0},
    YARN | {"mscale": 0.7, "mscale_all_dim": 1.9},
    YARN | {"mscale": 0.7},
    YARN | {"truncate": False},
    YARN | {"factor": None},
    LLAMA3,
    without(LLAMA3, "original_max_position_embeddings"),
    without(LLAMA3, "low_freq_factor"),
    LLAMA3 | {"low_freq_factor": 4.0, "high_freq_factor": 1.0},
    long_rope(original_max_position_embeddings=16),
    long_rope(original_max_position_embeddings=100),
    long_rope(),
    long_rope(original_max_position_embeddings=16, factor=6.0),
    long_rope(original_max_position_embeddings=16, attention_factor=1.3),
    long_rope(12, original_max_position_embeddings=16, partial_rotary_factor=0.75),
    without(long_rope(original_max_position_embeddings=16), "rope_type") | {"type": "su"},
    without(long_rope(original_max_position_embeddings=16), "rope_type") | {"type": "yarn"},
    {"rope_type": "proportional", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    {"rope_type": "mrope", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0, "partial_rotary_factor": 0.5},
    {"rope_theta": -5.0},
    {},
]

REMOVED = "(no such key)"

# What to draw for a key whose type does not say it.
VALUES = {
    "hidden_act": ["gelu", "gelu_pytorch_tanh", "relu", "swish", "gelu_new", "no such function"],
    "hidden_activation": ["gelu", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh", "silu", "relu", None],
    "rope_parameters": ROPES,
    "rope_scaling": [{k: v for k, v in rope.items() if k != "rope_theta"} for rope in ROPES],
    "layer_types": [
        lambda n: ["full_attention"] * n,
        lambda n: ["sliding_attention"] * n,
        lambda n: (["full_attention", "sliding_attention", "sliding_attention"] * n)[:n],
        lambda n: ["full_attention"] * (n - 1),
        lambda n: ["linear_attention"] + ["full_attention"] * (n - 1),
        lambda n: ["attention"] * n,
    ],
    "sliding_window": [3, 8, 39, 40, 64, 4096, 0, -1, None],
    "use_sliding_window": [True, False, None],
    "max_window_layers": [0, 1, 3, 4, 28, None],
    "sliding_window_pattern": [1, 2, 3, 6, 7, 0],
    "_sliding_window_pattern": [2],
    "tie_word_embeddings": [True, False, None],
    "num_key_value_heads": [1, 4, 3, 0, None],
    "num_attention_heads": [2, 8],
    "num_hidden_layers": [2, 5],
    "hidden_size": [32, 128],
    "intermediate_size": [64, 256],
    "head_dim": [8, 32, None],
    "vocab_size": [500, 600],
    "max_position_embeddings": [32, 4096],
    "original_max_position_embeddings": [16, 100, 8192],
    "rms_norm_eps": [1e-2, 1e-12, 0.3],
    "query_pre_attn_scalar": [4, 64, 16.0, None],
    "attn_logit_softcapping": [3.0, 1000.0, None],
    "final_logit_softcapping": [3.0, 1000.0, None],
    "rope_theta": [300.0, 1e6],
    "rope_local_base_freq": [300.0],
    "partial_rotary_factor": [0.5, 0.7, 1.0],
    "use_bidirectional_attention": [True, False, None],
    "pretraining_tp": [2],
    "attention_bias": [True, False],
    "mlp_bias": [True, False],
    "is_encoder_decoder": [True],
    "is_causal": [False],
    "attention_chunk_size": [8],
    "per_layer_config": [{"1": {"rms_norm_eps": 0.5}}],
    "id2label": [{"0": "a", "1": "b", "2": "c"}],
    "label2id": [{"a": 0}],
    "problem_type": ["regression"],
    "bos_token_id": [3, None],
    "eos_token_id": [3, [3, 4], None],
    "pad_token_id": [3, None],
    "chunk_size_feed_forward": [16],
    "architectures": [["LlamaForSequenceClassification"], ["Qwen2Model"], None],
    "model_type": ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3"],
    "dtype": ["bfloat16"],
    "transformers_version": ["4.30.0"],
    "quantization_config": [{"quant_method": "gptq", "bits": 4}],
    "configuration_files": [["config.4.0.0.json"]],
    "attention_multiplier": [0.5],
    "logits_scaling": [4.0],
    "use_cache": [False],
    "text_config": [{"hidden_size": 32}],
}

# Keys outside the classes that folders have under old names, or that the library itself looks at.
OTHERS = [
    "rope_scaling", "rope_theta", "partial_rotary_factor", "sliding_window", "use_sliding_window", "max_window_layers",
    "sliding_window_pattern", "_sliding_window_pattern", "layer_types", "rope_local_base_freq", "head_dim", "hidden_act",
    "hidden_activation", "is_causal", "attention_chunk_size", "per_layer_config", "original_max_position_embeddings",
    "quantization_config", "configuration_files", "attention_multiplier", "logits_scaling", "use_bidirectional_attention",
    "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "attention_bias", "mlp_bias", "model_type",
    "text_config",
]  # fmt: skip

# Of Gemma 3, by kind of layer.
KIND_ROPES = [
    {"full_attention": rope | {"rope_theta": 7000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
    for rope in ROPES[:-2]
] + [
    {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "linear", "factor": 3.0}},
    {"sliding_attention": {"rope_theta": 50.0}},
    {"full_attention": {"rope_theta": 50.0}},
    {"full_attention": None, "sliding_attention": None},
]


def other_values(name, value, layers):
    """Drawn for one key."""
    if name in VALUES:
        return [v(layers) if callable(v) else v for v in VALUES[name]]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value + 3]
    if isinstance(value, float):
        return [value / 2 + 0.25]
    if isinstance(value, str):
        return [value + "x"]
    return []


def class_keys(family):
    """Of the family's configuration class and its bases, with what this model has for each."""
    config = config_of(family)
    return {f.name: getattr(config, f.name, None) for f in dataclasses.fields(type(config))}


def bases(family):
    """Models to change: settings of the class that make keys matter which would not by default."""
    result = {"": {}}
    if family in ("qwen2", "qwen3"):
        result["-windowed"] = dict(use_sliding_window=True, sliding_window=8, max_window_layers=2)
    if family in ("llama", "qwen3", "gemma2", "gemma3"):
        result["-biased"] = dict(attention_bias=True) | (dict(mlp_bias=True) if family == "llama" else {})
    if family == "phi3":
        result["-long"] = dict(
            max_position_embeddings=128,
            original_max_position_embeddings=16,
            rope_parameters=without(long_rope(original_max_position_embeddings=16), "rope_theta"),
        )
    if family in ("llama", "qwen2", "gemma3"):
        result["-tied" if family != "gemma3" else "-untied"] = dict(tie_word_embeddings=family != "gemma3")
    return result


class Comparison:
    def __init__(self, build, work):
        self.build = build
        self.work = work
        self.tokens = some_tokens()
        self.counts = {"equal": 0, "refused": 0, "both refused": 0}
        self.failures = []

    def engine(self, folder):
        return engine_logits(self.build, folder, self.tokens, VOCABULARY, len(self.tokens), at_once=True, isa="reference")

    def check(self, folder, config, nested, key, value):
        """One change of config.json."""
        changed = json.loads(json.dumps(config))
        place = changed["text_config"] if nested else changed
        before = place.get(key, REMOVED)
        if before == value:
            return
        if value == REMOVED:
            place.pop(key)
        else:
            place[key] = value
        (folder / "config.json").write_text(json.dumps(changed))
        name = f"{folder.name}: {key} = {json.dumps(value)}"
        try:
            want = judge(folder, self.tokens, codes=True)
        except Exception as error:  # noqa: BLE001 whatever a wrong configuration makes it raise
            want = error
        try:
            got = self.engine(folder)
        except Refused as refusal:
            kind = "both refused" if isinstance(want, Exception) else "refused"
            self.counts[kind] += 1
            print(f"{kind:13}{name}: {str(refusal)[:230]}", flush=True)
            return
        if isinstance(want, Exception):
            # Nothing to compare with: the engine must have taken the key as saying nothing.
            found = difference(self.unchanged, got)
            if found.within(1e-6, 1e-9):
                self.counts["both refused"] += 1
                print(f"{'ignored':13}{name}: transformers: {str(want)[:150]!r}", flush=True)
                return
            self.failures.append(f"{name}: engine differs from the unchanged model, transformers: {str(want)[:200]!r}")
        else:
            found = difference(want, got)
            if found.within(MOST_LOGITS, MOST_KL):
                self.counts["equal"] += 1
                return
            self.failures.append(f"{name}: {found}")
        print("FAILED       " + self.failures[-1], flush=True)

    def model(self, folder, config, keys, nested=False):
        want = judge(folder, self.tokens, codes=True)
        self.unchanged = self.engine(folder)
        found = difference(want, self.unchanged)
        if not found.within(MOST_LOGITS, MOST_KL):
            self.failures.append(f"{folder.name} as it is: {found}")
            print("FAILED       " + self.failures[-1], flush=True)
            return
        place = config["text_config"] if nested else config
        layers = place.get("num_hidden_layers", 26)
        for key, value in keys.items():
            values = other_values(key, value, layers)
            if key == "rope_parameters" and "gemma3" in folder.name:
                values = values + KIND_ROPES
            for other in values:
                self.check(folder, config, nested, key, other)
            if key in place:
                self.check(folder, config, nested, key, REMOVED)
        (folder / "config.json").write_text(json.dumps(config))


def main():
    build, work = Path(sys.argv[1]), Path(sys.argv[2])
    wanted = sys.argv[3:] or [*FAMILIES, "gemma3-wrapped"]
    work.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(build, work)
    for family in wanted:
        if family == "gemma3-wrapped":
            folder = work / family
            config = make_wrapped_gemma3(folder)
            comparison.model(folder, config, class_keys("gemma3") | dict.fromkeys(OTHERS), nested=True)
            comparison.model(folder, config, dict.fromkeys(["tie_word_embeddings", "architectures", "is_encoder_decoder"]))
            continue
        for suffix, settings in bases(family).items():
            folder = work / (family + suffix)
            config = make_model(folder, family, **settings)
            comparison.model(folder, config, class_keys(family) | dict.fromkeys(k for k in OTHERS if k not in class_keys(family)))
    print(f"keys: {comparison.counts}, {len(comparison.failures)} failures (transformers {transformers.__version__})")
    for failure in comparison.failures:
        print("FAILED " + failure)
    sys.exit(1 if comparison.failures else 0)


np.seterr(all="ignore")
main()
