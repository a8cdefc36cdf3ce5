// What a model file holds, for people and as JSON: of every file that can be read, also of those
// that cannot be run.
#pragma once

#include <string>

#include "file/model_file.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// Writes one JSON object to standard output while it is made: everything, arrays in full.
void write_file_json(const ModelFile& file);

/// Whole lines: what the file is, its formats and its keys; with every tensor, if wanted.
std::string describe_file(const ModelFile& file, bool with_tensors, const Terminal& terminal);

}  // namespace plimsoll
