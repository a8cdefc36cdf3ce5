// Compares predicted with measured speeds. Run by bench/against-plan.
//
//   node against_plan.mjs PLIMSOLL MODEL... [--plans N] [--threads 1,2] [--repeats N] [--tokens N]
import {spawnSync} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {basename, join} from "node:path";

const [plimsoll, ...rest] = process.argv.slice(2);
const options = {plans: 6, threads: "1,2", repeats: 5, tokens: 32};
const models = [];
for (let i = 0; i < rest.length; i++) {
  const name = rest[i].replace(/^--/, "");
  if (rest[i].startsWith("--") && name in options && rest[i + 1] !== undefined) options[name] = rest[++i];
  else if (rest[i].startsWith("--")) {
    console.error(`against-plan: ${rest[i]}: expected --plans, --threads, --repeats or --tokens and a value`);
    process.exit(2);
  } else models.push(rest[i]);
}
const prompt = 512, context = prompt + Number(options.tokens);
const cache = mkdtempSync(join(tmpdir(), "plimsoll-speeds-"));
process.on("exit", () => rmSync(cache, {recursive: true}));

/** The JSON object that a command prints, an error's too. */
function ask(...args) {
  const {stdout, stderr} = spawnSync(plimsoll, [...args.map(String), "--json"],
                                     {env: {...process.env, XDG_CACHE_HOME: cache}, maxBuffer: 1 << 28});
  if (!stdout.length) throw new Error(stderr.toString());
  return JSON.parse(stdout);
}

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const line = (cells) => console.log(cells.map((cell, i) => (i ? String(cell).padStart(10) : String(cell).padEnd(22))).join(""));
const shown = (value) => value.toPrecision(3);

const ratios = {prefill: [], decode: []};
const floors = [];
line(["", "threads", "MiB", "prefill", "measured", "ratio", "decode", "measured", "ratio", "GB/s"]);
for (const threads of options.threads.split(","))
  for (const model of models) {
    const common = [model, "--threads", threads];
    const whole = ask("plan", ...common, "--context", context), least = whole.least_bytes * 1.1;
    for (let i = 0; i < options.plans; i++) {
      const share = options.plans > 1 ? i / (options.plans - 1) : 0;
      const memory = Math.ceil(whole.peak_bytes * (least / whole.peak_bytes) ** share) + 1024 ** 2;
      const plan = ask("plan", ...common, "--context", context, "--memory", memory);
      const found = ask("bench", ...common, "--memory", memory, "--prompt", prompt, "--tokens", options.tokens,
                        "--repeats", options.repeats);
      const row = [basename(model, ".gguf"), threads, Math.round(memory / 1024 ** 2)];
      for (const phase of ["prefill", "decode"]) {
        const key = `${phase}_tokens_per_second`;
        ratios[phase].push(plan[key] / found[key]);
        row.push(shown(plan[key]), shown(found[key]), ratios[phase].at(-1).toFixed(2));
      }
      line([...row, (found.read_bytes_per_second / 1e9).toFixed(1)]);
    }
    // Floors from easy to impossible, of what the model does as it is.
    for (const part of [0.9, 1.1, 1.3, 4]) {
      const floor = whole.decode_tokens_per_second * part;
      const answer = ask("run", "--raw", ...common, "--speed", floor, "--context", context, "--prompt", "word ".repeat(80),
                         "--tokens", options.tokens);
      floors.push({model: basename(model, ".gguf"), threads, floor, answer});
    }
  }
console.log();
for (const phase of ["prefill", "decode"]) {
  const off = ratios[phase].map((ratio) => Math.abs(ratio - 1));
  console.log(`${phase}: off by ${(100 * median(off)).toFixed(0)} % (median of ${off.length}), ` +
              `${(100 * Math.max(...off)).toFixed(0)} % (worst)`);
}
console.log();
line(["--speed", "threads", "floor", "measured", "", "KL, predicted"]);
for (const {model, threads, floor, answer} of floors) {
  const measured = answer.decode_tokens_per_second;
  const verdict = answer.error ? answer.error.hint : measured >= floor ? "kept" : "MISSED";
  line([model, threads, shown(floor), answer.error ? "refused" : shown(measured), verdict, answer.error ? "" : shown(answer.kl_nats)]);
}
