#!/usr/bin/env node
// Holds Plimsoll against llama.cpp on the same files: texts, tokens, likelihoods and whole distributions.
//
//   node compare.mjs BUILD_DIR SHARED_DIR WORK_DIR [text|tokens|likelihood|families]...
//
// Run by run.sh, which puts this folder's scripts beside an installed node-llama-cpp. Models that it makes go to
// WORK_DIR. Exit code 1 when a limit is passed.
import {existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync} from "node:fs";
import {basename, join} from "node:path";

import {families} from "./families.mjs";
import {Peer} from "./llama_cpp.mjs";
import {Plimsoll} from "./plimsoll.mjs";
import {Report} from "./report.mjs";

const evaluatedContext = 256, evaluatedChunks = 20;
const nllLimitDense = 0.002, nllLimitBlocks = 0.02;  // nats per token
// A feature left out costs 0.07 nats or more on these models; rounding costs 2e-5 (BF16) at most.
const comparedPositions = 128, klLimit = 0.0001;
// Formats with an encoder of ours; the peer says which of them it can open.
const blockFormats = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
                      "IQ4_XS", "MXFP4", "NVFP4", "TQ1_0", "TQ2_0"];

const [build, shared, work, ...only] = process.argv.slice(2);
const models = join(shared, "models");
const stories = join(models, "stories260k-f32.gguf"), bundled = join(models, "plimsoll-docs-4m-f16.gguf");
const validText = join(shared, "text", "valid.txt");

// On which tokenizers differ: spaces, numbers, contractions, scripts, marks, emoji, control characters.
const trickyTexts = JSON.parse(readFileSync(new URL("texts.json", import.meta.url), "utf8"));

const ours = new Plimsoll(build), peer = await Peer.open(), report = new Report();
mkdirSync(work, {recursive: true});

async function compareTexts() {
  const prompt = "Once upon a time", count = 100;
  report.section(`Greedy text: ${count} tokens after "${prompt}", ${basename(stories)}`, "characters");
  const reference = await peer.greedy(stories, prompt, count, 1);
  await report.attempt("peer, 2 threads", async () => {
    const text = await peer.greedy(stories, prompt, count, 2);
    report.row("peer, 2 threads", [text.length], "equal", text === reference);
  });
  for (const threads of [1, 2])
    await report.attempt(`${threads} threads`, () => {
      const text = ours.greedy(stories, prompt, count, threads);
      report.row(`${threads} threads`, [text.length], "equal", text === reference);
      if (text !== reference) console.log(`    peer: ${reference}\n    ours: ${text}`);
    });
}

async function compareTokens() {
  report.section(`Tokens of ${trickyTexts.length} texts`, "tokens", "different");
  const vocabularies = join(shared, "vocab");
  const files = [stories, bundled, ...readdirSync(vocabularies).filter((name) => name.endsWith(".gguf"))
    .map((name) => join(vocabularies, name))];
  const textFile = join(work, "text.txt");
  for (const file of files)
    await report.attempt(basename(file), async () => {
      const reference = await peer.tokens(file, trickyTexts);
      const different = trickyTexts.filter((text, i) => {
        writeFileSync(textFile, text);
        const tokens = ours.tokens(file, textFile);
        const same = JSON.stringify(tokens) === JSON.stringify(reference[i]);
        if (!same) console.log(`    ${JSON.stringify(text)}\n      peer: ${reference[i]}\n      ours: ${tokens}`);
        return !same;
      });
      report.row(basename(file), [reference.flat().length, different.length], 0, different.length === 0);
    });
}

/** Compares negative log-likelihoods. A file that the peer cannot open is skipped: it proves nothing. */
async function compareLikelihood(name, file, limit) {
  await report.attempt(name, async () => {
    let reference;
    try {
      reference = await peer.negativeLogLikelihood(file, readFileSync(validText, "utf8"), evaluatedContext,
                                                   evaluatedChunks);
    } catch (error) {
      report.skip(name, `the peer cannot open it (${error.message})`);
      return;
    }
    const result = ours.evaluate(file, validText, evaluatedContext, evaluatedChunks);
    const difference = Math.abs(result.nll - reference.nll);
    report.row(name, [reference.nll, result.nll, difference.toFixed(6)], limit,
               difference <= limit && result.scored_tokens === reference.count);
  });
}

async function compareLikelihoods() {
  report.section(`Negative log-likelihood, nats per token, ${evaluatedChunks} chunks of ${evaluatedContext} tokens`,
                 "peer", "ours", "difference");
  await compareLikelihood(basename(stories), stories, nllLimitDense);
  await compareLikelihood(basename(bundled), bundled, nllLimitDense);
  for (const format of blockFormats) {
    const file = join(work, `requantised-${format}.gguf`);
    try {
      ours.makeModel(file, ["--requantise", bundled, "--format", format]);
    } catch (error) {
      report.error(format, error);
      continue;
    }
    await compareLikelihood(`bundled as ${format}`, file, nllLimitBlocks);
  }
  const quantised = join(models, "quantised");
  for (const name of existsSync(quantised) ? readdirSync(quantised).sort() : [])
    await compareLikelihood(name, join(quantised, name), nllLimitBlocks);
}

/** Mean and largest KL(reference || other) over positions, in nats. */
function divergence(reference, other) {
  let sum = 0, largest = 0;
  reference.forEach((row, i) => {
    let kl = 0;
    row.forEach((p, token) => { kl += Math.exp(p) * (p - other[i][token]); });
    sum += kl;
    largest = Math.max(largest, Number.isNaN(kl) ? Infinity : kl);
  });
  return {mean: sum / reference.length, largest};
}

async function compareFamilies() {
  report.section(`Models with random weights: KL(peer || ours), nats per token, ${comparedPositions} positions or as named`,
                 "mean", "largest", "by token");
  for (const {name, args, positions = comparedPositions} of families)
    await report.attempt(name, async () => {
      const ids = Array.from({length: positions}, (_, i) => i === 0 ? 1 : 3 + (i * 7919 + i * i * 31) % 317);
      const contextSize = positions + 8;
      const file = join(work, `${name.replaceAll(/[^A-Za-z0-9]+/g, "-")}.gguf`);
      ours.makeModel(file, args);
      const reference = await peer.distributions(file, ids, contextSize);
      const whole = divergence(reference, ours.distributions(file, ids, contextSize, positions));
      const byToken = divergence(reference, ours.distributions(file, ids, contextSize, 1));
      report.row(name, [whole.mean, whole.largest, byToken.mean].map((kl) => kl.toExponential(2)), klLimit,
                 whole.mean <= klLimit && byToken.mean <= klLimit);
    });
}

const parts = {text: compareTexts, tokens: compareTokens, likelihood: compareLikelihoods, families: compareFamilies};
for (const name of only)
  if (!parts[name]) {
    console.error(`no part '${name}'; known: ${Object.keys(parts).join(", ")}`);
    process.exit(2);
  }
for (const [name, part] of Object.entries(parts))
  if (only.length === 0 || only.includes(name)) await part();
console.log(`\n${report.failures} failed, ${report.skipped} skipped`);
process.exit(report.failures ? 1 : 0);
