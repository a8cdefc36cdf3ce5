// From process start to one token in node-llama-cpp, with the smallest context: node first_token.mjs MODEL. Run by
// against_peer.mjs, beside an installed node-llama-cpp. THREADS in the environment is the number of threads.
import {getLlama} from "node-llama-cpp";

const threads = Number(process.env.THREADS);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: threads});
const model = await llama.loadModel({modelPath: process.argv[2], gpuLayers: 0});
const context = await model.createContext({contextSize: 512, threads});
for await (const token of context.getSequence().evaluate(model.tokenize("Once"), {temperature: 0})) break;
process.exit(0);
