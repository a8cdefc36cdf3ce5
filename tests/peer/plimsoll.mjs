// Our side: the programs of one build directory.
import {spawnSync} from "node:child_process";
import {join} from "node:path";

export class Plimsoll {
  constructor(build) {
    this.build = build;
  }

  /** Standard output of a program (Buffer). Throws with its last lines of complaint when it fails. */
  run(program, args, input = "") {
    const {status, signal, error, stdout, stderr} = spawnSync(join(this.build, program), args.map(String),
                                                              {input, maxBuffer: 2 ** 30});
    if (error) throw error;
    if (status !== 0) {
      const complaint = (stderr.toString() || stdout.toString()).trim().split("\n").slice(-3).join(" ");
      throw new Error(`${program} ${args[0]} ended with ${signal ?? status}: ${complaint}`);
    }
    return stdout;
  }

  json(args) {
    return JSON.parse(this.run("plimsoll", [...args, "--json"]).toString());
  }

  makeModel(path, args) {
    this.run("plimsoll_make_model", [path, ...args]);
  }

  tokens(path, textFile) {
    return this.json(["tokenize", path, "--file", textFile]).tokens;
  }

  greedy(path, prompt, count, threads) {
    return this.json(["run", path, "--raw", "--prompt", prompt, "--temperature", 0, "--repeat-penalty", 1, "--tokens", count,
                      "--threads", threads]).text;
  }

  evaluate(path, textFile, context, chunks) {
    return this.json(["eval", path, "--text", textFile, "--context", context, "--chunks", chunks]);
  }

  /** Log-probabilities of the next token after each of `ids`, `chunk` tokens at a time: Float32Array by token. */
  distributions(path, ids, contextSize, chunk, threads = 2) {
    const bytes = this.run("plimsoll_dump_logits", [path, contextSize, chunk, threads], ids.join(" "));
    const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const vocabulary = numbers.length / ids.length;
    return ids.map((_, i) => numbers.subarray(i * vocabulary, (i + 1) * vocabulary));
  }
}
