// Times Plimsoll and a peer in turns on one file. Run by bench/against-peer.
//
//   node against_peer.mjs PLIMSOLL MODEL native|npm FOLDER [--prompt N] [--tokens N] [--rounds N] [--threads N]
//
// FOLDER has llama.cpp's programs (native), or an installed node-llama-cpp, the shared peer.mjs and first_token.mjs (npm).
import {execFileSync} from "node:child_process";
import {join} from "node:path";

const peerNames = {native: "llama.cpp compiled for this machine", npm: "llama.cpp as packaged in node-llama-cpp"};
const [plimsoll, model, peerName, folder, ...rest] = process.argv.slice(2);
const options = {prompt: 512, tokens: 64, rounds: 5, threads: 2};
for (let i = 0; i < rest.length; i += 2) {
  const name = rest[i].replace(/^--/, ""), value = Number(rest[i + 1]);
  if (!(name in options) || !Number.isInteger(value) || value < 1) {
    console.error(`against-peer: ${rest[i]} ${rest[i + 1] ?? ""}: expected --prompt, --tokens, --rounds or --threads ` +
                  "and a whole number");
    process.exit(2);
  }
  options[name] = value;
}
const environment = {...process.env, THREADS: String(options.threads)};

const run = (program, args) => {
  const start = performance.now();
  const output = execFileSync(program, args, {env: environment, encoding: "utf8", maxBuffer: 1 << 26,
                                              stdio: ["ignore", "pipe", "ignore"]});
  return {output, seconds: (performance.now() - start) / 1e3};
};

/** One turn of each; the npm peer's first repeat warms it up, as the others do by themselves. */
function ours() {
  const threads = ["--threads", String(options.threads)];
  const result = JSON.parse(run(plimsoll, ["bench", model, "--json", "--repeats", "1", ...threads, "--prompt",
                                           String(options.prompt), "--tokens", String(options.tokens)]).output);
  const start = run(plimsoll, ["run", model, "--raw", "--prompt", "Once", "--tokens", "1", "--context", "512", "--json",
                               ...threads]).seconds;
  return {prefill: result.prefill_tokens_per_second, decode: result.decode_tokens_per_second, start,
          bandwidth: result.bandwidth_fraction, integer: result.integer_fraction};
}

/** The last repeat of a test of llama-bench, in tokens per second. It warms up by itself. */
function llamaBench(...test) {
  const {output} = run(join(folder, "llama-bench"), ["-m", model, "-t", String(options.threads), "-r", "1", "-o", "json",
                                                      ...test.map(String)]);
  return JSON.parse(output)[0].samples_ts.at(-1);
}

const peers = {
  native() {
    const start = run(join(folder, "llama-completion"), ["-m", model, "-p", "Once", "-n", "1", "-c", "512", "-no-cnv",
                                                         "--no-warmup", "-t", String(options.threads)]).seconds;
    return {prefill: llamaBench("-p", options.prompt, "-n", 0),
            decode: llamaBench("-p", 0, "-n", options.tokens, "-d", options.prompt), start};
  },
  npm() {
    const {output} = run("node", [join(folder, "peer.mjs"), "bench", model, String(options.prompt),
                                  String(options.tokens), "2"]);
    const last = output.trim().split("\n").at(-1).match(/prompt ([\d.]+) tok\/s\s+generate ([\d.]+)/);
    const start = run("node", [join(folder, "first_token.mjs"), model]).seconds;
    return {prefill: Number(last[1]), decode: Number(last[2]), start};
  },
};
const theirs = peers[peerName];

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const rounds = [];
for (let round = 1; round <= options.rounds; round++) {
  const first = round % 2 ? ours : theirs;  // who goes first changes, too
  const a = first(), b = first === ours ? theirs() : ours();
  const [mine, peer] = first === ours ? [a, b] : [b, a];
  rounds.push({mine, peer});
  console.error(`round ${round}: prefill ${mine.prefill.toFixed(1)} against ${peer.prefill.toFixed(1)}, decode ` +
                `${mine.decode.toFixed(1)} against ${peer.decode.toFixed(1)} tok/s, start ${mine.start.toFixed(2)} ` +
                `against ${peer.start.toFixed(2)} s`);
}
const row = (what, key, digits, unit) => {
  const mine = median(rounds.map((r) => r.mine[key])), peer = median(rounds.map((r) => r.peer[key]));
  const ratio = median(rounds.map((r) => r.mine[key] / r.peer[key]));
  console.log(`${what.padEnd(16)}${mine.toFixed(digits).padStart(9)}${peer.toFixed(digits).padStart(9)}  ` +
              `${unit.padEnd(6)}${ratio.toFixed(2).padStart(6)}`);
};
console.log(`the peer: ${peerNames[peerName]}`);
console.log(`${"".padEnd(16)}${"plimsoll".padStart(9)}${"peer".padStart(9)}  ${"".padEnd(6)} ratio   ` +
            `(medians of ${options.rounds}, ${options.threads} threads)`);
row(`prefill ${options.prompt}`, "prefill", 1, "tok/s");
row(`decode ${options.tokens}`, "decode", 1, "tok/s");
row("first token", "start", 2, "s");
console.log(`of this machine's limits: prefill ${(100 * median(rounds.map((r) => r.mine.integer))).toFixed(0)} %, ` +
            `decode ${(100 * median(rounds.map((r) => r.mine.bandwidth))).toFixed(0)} %`);
