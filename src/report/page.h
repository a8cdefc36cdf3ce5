// A web page in one file: no network, no other files, light or dark as the reader has it, for large
// screens, phones and paper.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/plot.h"

namespace plimsoll {

struct Table {
  struct Cell {
    std::string text;
    std::optional<double> number = {};  ///< right-aligned, and the column sorts by it
  };
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;  ///< as many cells in each as there are columns
};

/// Texts may hold anything: they are shown, never obeyed.
class Page {
 public:
  explicit Page(const std::string& title);

  void heading(const std::string& text);
  void paragraph(const std::string& text);
  /// Sorts by the column whose head is clicked.
  void table(const Table& table);
  void plot(const Plot& plot);

  std::string html() const;

 private:
  std::string title_, body_;
};

}  // namespace plimsoll
