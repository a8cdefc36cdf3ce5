// Fitted files against their predictions, and against llama.cpp's own recipes at the same number of bytes.
//   node fitted.mjs BUILD_DIR MODEL SHARED WORK_DIR [sizes|targets|prior|feedback|nesting|families]...
import {readFileSync, statSync, writeFileSync} from "node:fs";
import {join} from "node:path";
import {Peer} from "./llama_cpp.mjs";
import {Plimsoll} from "./plimsoll.mjs";
import {Report} from "./report.mjs";

const [build, model, shared, work, ...parts] = process.argv.slice(2);
const wanted = (part) => parts.length === 0 || parts.includes(part);
const plimsoll = new Plimsoll(build);
const peer = await Peer.open();
const report = new Report();
const text = join(shared, "text", "valid.txt");
const context = 256, chunks = 60;
const output = join(work, "fitted.gguf");

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const off = (predicted, measured) => Math.abs(predicted - measured) / measured;

const original = await peer.scored(model, readFileSync(text, "utf8"), context, chunks);

/** Fits the model and gives what was predicted and what llama.cpp measures. */
async function fit(options) {
  const fitted = plimsoll.json(["fit", model, "-o", output, ...options]);
  const kl = await peer.divergence(original, output, readFileSync(text, "utf8"), context, chunks);
  return {...fitted, kl, bytes: statSync(output).size};
}

/** Rows of the table of llama.cpp's recipes in the shared models' README: type, bytes, KL, KL by a second engine. */
function recipes() {
  const rows = [];
  for (const line of readFileSync(join(shared, "models", "README.md"), "utf8").split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    const bytes = Number(cells[2]?.replaceAll(",", ""));
    if (!/^I?Q\d/.test(cells[1] ?? "") || !(bytes > 0)) continue;
    rows.push({type: cells[1], bytes, kl: Number(cells[3]), second: Number(cells[4])});
  }
  return rows;
}

async function sizes() {
  report.section("at the bytes of llama.cpp's recipes", "bytes", "predicted", "KL", "recipe's KL", "ratio");
  const ratios = [];
  for (const {type, bytes, kl, second} of recipes())
    await report.attempt(type, async () => {
      const found = await fit(["--size", bytes]);
      // Where llama.cpp cannot open the recipe's file, a second engine of the family has judged it.
      const ratio = found.kl / (kl || second);
      ratios.push(ratio);
      report.row(type, [found.bytes, found.kl_nats, found.kl, kl || second, ratio], "1.0",
                 found.bytes <= bytes && ratio <= 1);
    });
  report.row("median", ["", "", "", "", median(ratios)], "0.75", median(ratios) <= 0.75);
}

async function targets() {
  report.section("predictions", "target", "used", "predicted", "KL", "off");
  const offs = [];
  for (const bits of [2.2, 2.5, 2.8, 3.1, 3.5, 4, 4.5, 5, 5.6, 6.3, 7.2, 8.5])
    await report.attempt(`${bits} bits`, async () => {
      const found = await fit(["--bits", bits]);
      offs.push(off(found.kl_nats, found.kl));
      const used = found.bytes / found.target_bytes;
      report.row(`${bits} bits`, [found.target_bytes, used, found.kl_nats, found.kl, offs.at(-1)], "0.4",
                 used <= 1 && used >= 0.97 && offs.at(-1) <= 0.4);
    });
  report.row("median", ["", "", "", "", median(offs)], "0.2", median(offs) <= 0.2);
}

/** What plain rounding without any measurement loses, against the prior's word. */
async function prior() {
  report.section("predictions without measuring", "bytes", "predicted", "KL", "factor");
  const cache = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = join(work, "empty");
  for (const bits of [2.6, 3.1, 3.5, 4, 4.5, 5, 5.6, 6.3, 7.2, 8.5])
    await report.attempt(`${bits} bits`, async () => {
      const found = await fit(["--bits", bits, "--effort", "fast"]);
      const factor = found.kl_nats / found.kl;
      report.row(`${bits} bits`, [found.bytes, found.kl_nats, found.kl, factor], "2",
                 factor <= 2 && factor >= 0.5 && found.quality === "prior");
    });
  process.env.XDG_CACHE_HOME = cache;
}

/** Error feedback against plain rounding, both unbiased or better: all matrices in one format. */
async function feedback() {
  report.section("error feedback against plain rounding", "plain", "feedback", "ratio");
  for (const format of ["Q3_K", "Q4_K"])
    await report.attempt(format, async () => {
      const plain = await fit(["--format", format, "--effort", "fast"]);
      const careful = await fit(["--format", format]);
      const ratio = careful.kl / plain.kl;
      report.row(format, [plain.kl, careful.kl, ratio], "0.65", ratio <= 0.65);
    });
}

/** Eight bits without the last four, against files that were fitted for four; judged by our eval, the only one that can. */
async function nesting() {
  report.section("codes that nest, dropped to four bits", "KL", "of it");
  const nested = join(work, "nested.gguf");
  const ours = (file) => plimsoll.json(["eval", file, "--against", model, "--text", text, "--context", context,
                                        "--chunks", chunks]).kl;
  plimsoll.json(["fit", model, "-o", nested, "--format", "NEST8"]);
  report.row("eight bits", [ours(nested), ""], "", true);
  plimsoll.json(["fit", nested, "-o", output, "--format", "NEST4", "--effort", "fast"]);
  const dropped = ours(output);
  report.row("dropped", [dropped, 1], "", true);
  for (const format of ["NEST4", "IQ4_XS", "Q4_K"])
    await report.attempt(format, async () => {
      plimsoll.json(["fit", model, "-o", output, "--format", format]);
      const kl = ours(output);
      // Q4_K takes a twentieth more bytes.
      report.row(`fitted as ${format}`, [kl, dropped / kl], "1.05", format === "Q4_K" || dropped <= 1.05 * kl);
    });
}

async function everyFamily() {
  report.section("random models of every family: llama.cpp's KL and ours", "llama.cpp", "ours", "apart");
  const reference = join(work, "reference.gguf");
  const written = readFileSync(text, "utf8").slice(0, 3000);
  for (const name of ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"])
    await report.attempt(name, async () => {
      // Seven layers: the sixth of gemma3 is the first that sees everything.
      plimsoll.makeModel(reference, ["--family", name, "--layers", 7, "--width", 256, "--heads", 8, "--kv-heads", 4,
                                     "--feed-forward", 512, "--vocabulary", 512, "--context", 4096,
                                     ...(name.startsWith("gemma") ? ["--tied", "--window", 32] : [])]);
      const sample = join(work, "sample.txt");
      const exact = await peer.scored(reference, written, 64, 12);
      plimsoll.json(["fit", reference, "-o", output, "--bits", 5]);
      const theirs = await peer.divergence(exact, output, written, 64, 12);
      writeFileSync(sample, written);
      const ours = plimsoll.json(["eval", output, "--against", reference, "--text", sample, "--context", 64,
                                  "--chunks", 12]).kl;
      report.row(name, [theirs, ours, off(ours, theirs)], "0.05", off(ours, theirs) <= 0.05);
    });
}

if (wanted("sizes")) await sizes();
if (wanted("targets")) await targets();
if (wanted("prior")) await prior();
if (wanted("feedback")) await feedback();
if (wanted("nesting")) await nesting();
if (wanted("families")) await everyFamily();
console.log(report.failures ? `\n${report.failures} failed` : "\nall within their limits");
process.exit(report.failures ? 1 : 0);
