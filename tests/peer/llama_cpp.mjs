// The peer: llama.cpp, as packaged in node-llama-cpp, on a GGUF file.
import {getLlama} from "node-llama-cpp";

const scoredFrom = (context) => Math.ceil(context / 2) - 1;

/** Natural logarithms of the softmax of a Map from token to logit: Float64Array by token. */
function logSoftmax(logits) {
  const result = new Float64Array(logits.size);
  let largest = -Infinity;
  for (const [token, logit] of logits) {
    result[token] = logit;
    largest = Math.max(largest, logit);
  }
  let sum = 0;
  for (const logit of result) sum += Math.exp(logit - largest);
  const shift = largest + Math.log(sum);
  return result.map((logit) => logit - shift);
}

export class Peer {
  #llama;

  static async open() {
    const peer = new Peer();
    peer.#llama = await getLlama({gpu: false, build: "never", logLevel: "disabled", maxThreads: 2});
    return peer;
  }

  /** Calls use(model) and frees the model afterwards. Throws where the peer cannot open the file. */
  async withModel(path, use, options = {}) {
    const model = await this.#llama.loadModel({modelPath: path, gpuLayers: 0, ...options});
    try {
      return await use(model);
    } finally {
      await model.dispose();
    }
  }

  /** Token ids of a text, without BOS; special tokens are not looked for. */
  tokens(path, texts) {
    return this.withModel(path, (model) => texts.map((text) => model.tokenize(text).map(Number)),
                          {vocabOnly: true});
  }

  /** The text that follows a prompt, greedily. */
  greedy(path, prompt, count, threads) {
    return this.withModel(path, async (model) => {
      const context = await model.createContext({contextSize: 512, threads});
      const input = [model.tokens.bos, ...model.tokenize(prompt)].filter((token) => token != null);
      const output = [];
      for await (const token of context.getSequence().evaluate(input, {temperature: 0})) {
        output.push(token);
        if (output.length >= count) break;
      }
      return model.detokenize(output, false, input.slice(1));
    });
  }

  /** Log-probabilities of the next token after each of `ids`: Float64Array by token. */
  distributions(path, ids, contextSize) {
    return this.withModel(path, async (model) => {
      const context = await model.createContext({contextSize, batchSize: contextSize, threads: 2});
      const result = await context.getSequence().controlledEvaluate(
        ids.map((id) => [id, {generateNext: {logits: true}}]));
      return result.map(({next}) => logSoftmax(next.logits));
    });
  }

  /**
   * Mean negative log-likelihood in nats per token: consecutive chunks of `context` tokens, each starting with BOS, the
   * second half of each scored.
   */
  negativeLogLikelihood(path, text, context, chunks) {
    return this.withModel(path, async (model) => {
      const evaluation = await model.createContext(
        {contextSize: context + 8, batchSize: context, threads: 2});
      const ids = model.tokenize(text);
      const body = context - 1;
      let sum = 0, count = 0;
      for (let c = 0; c < chunks && (c + 1) * body <= ids.length; c++) {
        const chunk = [model.tokens.bos, ...ids.slice(c * body, (c + 1) * body)];
        const sequence = evaluation.getSequence();
        const result = await sequence.controlledEvaluate(chunk.map((token, i) =>
          i >= scoredFrom(context) && i < context - 1
            ? [token, {generateNext: {logits: true}}] : token));
        for (let i = scoredFrom(context); i < context - 1; i++) {
          sum -= logSoftmax(result[i].next.logits)[chunk[i + 1]];
          count++;
        }
        await sequence.dispose();
      }
      return {nll: sum / count, count};
    });
  }

  /**
   * Log-probabilities of the second half of consecutive chunks of `context` tokens, each starting with BOS: a
   * Float32Array for each scored position. Calls visit(log-probabilities, number) instead where that is given.
   */
  scored(path, text, context, chunks, visit) {
    return this.withModel(path, async (model) => {
      const evaluation = await model.createContext({contextSize: context + 8, batchSize: context, threads: 2});
      const ids = model.tokenize(text);
      const body = context - 1, result = [];
      let number = 0;
      for (let c = 0; c < chunks && (c + 1) * body <= ids.length; c++) {
        const chunk = [model.tokens.bos, ...ids.slice(c * body, (c + 1) * body)];
        const sequence = evaluation.getSequence();
        const output = await sequence.controlledEvaluate(chunk.map((token, i) =>
          i >= scoredFrom(context) && i < context - 1 ? [token, {generateNext: {logits: true}}] : token));
        for (let i = scoredFrom(context); i < context - 1; i++) {
          const logs = logSoftmax(output[i].next.logits);
          if (visit) visit(logs, number++);
          else result.push(Float32Array.from(logs));
        }
        await sequence.dispose();
      }
      return result;
    });
  }

  /** Mean KL(reference || model) in nats per token; `reference` is what scored() gave of the same text. */
  async divergence(reference, path, text, context, chunks) {
    let sum = 0;
    await this.scored(path, text, context, chunks, (logs, number) => {
      const other = reference[number];
      for (let token = 0; token < logs.length; token++)
        sum += Math.exp(other[token]) * (other[token] - logs[token]);
    });
    return sum / reference.length;
  }
}
