// Models with random weights, each with one more feature than another: when one fails, the feature is known. Sizes are
// small and awkward.
const small = {layers: 3, width: 192, heads: 6, "kv-heads": 2, "feed-forward": 416, vocabulary: 512};
const linear = {"rope-scaling": "linear", "rope-factor": 4};
const yarn = {"rope-scaling": "yarn", "rope-factor": 4, "rope-original-context": 64};
const gemma = {...small, "head-dim": 64, tied: true};
const gemma2 = {...gemma, family: "gemma2", window: 32};
// Seven layers: the sixth is the first that sees everything.
const gemma3 = {...gemma, layers: 7, family: "gemma3", window: 32, "rope-base": 1000000};
// The 27B models of both families are known by their number of layers, and scale queries differently.
const gemma27b = {width: 96, heads: 4, "kv-heads": 2, "head-dim": 32, "feed-forward": 128, vocabulary: 320, tied: true,
                  window: 32};
const phi3 = {...small, family: "phi3", context: 4096};
// As converters write it: factors and the magnitude, no factor of scaling; older ones left the type out too.
const longrope = {...phi3, "rope-scaling": "longrope", "rope-factors": true, "attention-factor": 1.19};

// Options of plimsoll_make_model; `positions`, where it stands, is how many tokens are compared.
const table = {
  "llama": small,
  "llama F32": {...small, format: "F32"},
  "llama BF16": {...small, format: "BF16"},
  "llama, 700 positions": {...small, positions: 700},
  "llama tied": {...small, tied: true},
  "llama head_dim 64": {...small, "head-dim": 64},
  "llama one KV head": {...small, "kv-heads": 1},
  "llama own KV heads": {...small, "kv-heads": 6},
  "llama base 500000": {...small, "rope-base": 500000},
  "llama rope_freqs": {...small, "rope-factors": true},
  "llama linear": {...small, ...linear},
  "llama yarn": {...small, ...yarn},
  "llama yarn of 4096": {...small, ...yarn, "rope-original-context": 4096},
  "llama yarn, attn_factor": {...small, ...yarn, "attention-factor": 0.8},
  "llama biases": {...small, "optional-biases": true},
  "qwen2": {...small, family: "qwen2"},
  "qwen2 tied": {...small, family: "qwen2", tied: true},
  "qwen2 yarn": {...small, family: "qwen2", ...yarn},
  "qwen3": {...small, family: "qwen3"},
  "qwen3 head_dim 64": {...small, family: "qwen3", "head-dim": 64, tied: true},
  "gemma2": {...gemma2, window: 4096},
  "gemma2 window 32": gemma2,
  "gemma2 46 layers": {...gemma27b, family: "gemma2", layers: 46},
  "gemma3": {...gemma3, window: 4096},
  "gemma3 window 32": gemma3,
  "gemma3 window 32, 700 positions": {...gemma3, positions: 700},
  "gemma3 linear": {...gemma3, ...linear},
  "gemma3 62 layers": {...gemma27b, family: "gemma3", layers: 62},
  "phi3": phi3,
  "phi3 partial RoPE": {...phi3, "rope-dim": 24},
  "phi3 short factors": {...longrope, "rope-original-context": 4096},
  "phi3 long factors": {...longrope, "rope-original-context": 64},
  "phi3 long factors, no type": {...longrope, "rope-original-context": 64, "rope-scaling": "none"},
};

/** Command line options of plimsoll_make_model. */
const asArguments = (options) => Object.entries(options).flatMap(
  ([name, value]) => value === true ? [`--${name}`] : [`--${name}`, String(value)]);

export const families = Object.entries(table).map(
  ([name, {positions, ...options}]) => ({name, args: asArguments(options), positions}));
