#include "cli/commands.h"

namespace plimsoll {
namespace {

const std::vector<Command>& table() {
  static const std::vector<Command> rows = {
      {"run",
       run_command,
       "write on from a prompt, or chat",
       {{"plimsoll run model.gguf --memory 2GiB", "a conversation inside two gibibytes"},
        {"plimsoll run model.gguf --prompt 'Once upon a time' --tokens 100", "a text"},
        {"plimsoll run model.gguf --json < prompt.txt", "for a program"}}},
      {"plan",
       plan_command,
       "what a model needs, and whether it fits, before anything is loaded",
       {{"plimsoll plan model.gguf --memory 900MiB", "what 900 MiB buy"},
        {"plimsoll plan model.gguf --memory 2GiB --sessions 4", "for four conversations"}}},
      {"fit",
       fit_command,
       "a model rewritten to a number of bytes",
       {{"plimsoll fit model.gguf --size 700MiB -o small.gguf", "a file of 700 MiB"},
        {"plimsoll fit model.gguf --memory 1GiB -o small.gguf",
         "as large as running it in 1 GiB allows"}}},
      {"eval",
       eval_command,
       "perplexity on a text, and the distance from a reference",
       {{"plimsoll eval small.gguf --against model.gguf --text valid.txt",
         "what the smaller one has lost"}}},
      {"bench",
       bench_command,
       "speed, beside the limits of this machine",
       {{"plimsoll bench model.gguf --prompt 512 --tokens 64", "the usual figures"}}},
      {"inspect",
       inspect_command,
       "what a model file holds",
       {{"plimsoll inspect model.gguf --tensors", "keys and tensors"}}},
      {"tokenize",
       tokenize_command,
       "a text as a model's tokens",
       {{"plimsoll tokenize model.gguf --text 'Hello, world'", "ids and pieces"}}},
      {"pull",
       pull_command,
       "bring a model by its name",
       {{"plimsoll pull smollm2", "a small chat model"},
        {"plimsoll pull ORG/REPO:Q4_K_M", "a file of the hub's"}}},
      {"list", list_command, "the models on this machine", {{"plimsoll list --known", "the short names"}}},
      {"rm", rm_command, "remove a pulled model", {{"plimsoll rm smollm2", "asks first"}}},
      {"measure",
       measure_command,
       "what rounding costs a model, kept for later plans",
       {{"plimsoll measure model.gguf", "a line for each format"}}},
      {"config",
       [](const Arguments& a) { return config_command(commands(), a); },
       "the settings in force, and where each comes from",
       {{"plimsoll config", "as a configuration file"},
        {"plimsoll config run", "of one command, defaults included"}}},
      {"completion",
       [](const Arguments& a) { return completion_command(commands(), a); },
       "what makes a shell complete commands and options",
       {{"source <(plimsoll completion bash)", "for this session"}}},
      {"man",
       [](const Arguments& a) { return man_command(commands(), a); },
       "the manual page of a command",
       {{"plimsoll man run | man -l -", "to read it"}}},
      {"version", version_command, "version and kernels"},
      {"help", [](const Arguments& a) { return help_command(commands(), a); }, "this list, or the options of a command"},
  };
  return rows;
}

}  // namespace

CommandTable commands() { return CommandTable(table()); }

}  // namespace plimsoll
