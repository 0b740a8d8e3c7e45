#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "query/logs/entry_labels.h"

namespace varve::query {

/// Says which labels the stages and the grouping of a metric query need, so that parsers extract no
/// others and stop early; what Loki's parsers do not look at, they report no error for, so the rule
/// is part of the language. Log queries need all.
struct ParserHints {
  /// Nothing needs any label: parsers do nothing.
  bool no_labels = false;
  /// If not empty, the only labels that are needed.
  std::vector<std::string> required;
  /// Errors of entries stay out of the way (somebody asked for error labels).
  bool preserve_error = false;

  bool all() const { return required.empty(); }
  bool Needs(std::string_view name) const {
    if (required.empty()) return true;
    for (const std::string& label : required) {
      if (label == name) return true;
    }
    return false;
  }
  /// Says whether a needed label may start with `prefix`.
  bool NeedsPrefix(std::string_view prefix) const {
    if (required.empty()) return true;
    for (const std::string& label : required) {
      if (std::string_view(label).starts_with(prefix)) return true;
    }
    return false;
  }
  /// Says whether parsers have nothing to do any more.
  bool Done(const EntryLabels& labels) const {
    if (no_labels) return true;
    if (required.empty()) return false;
    for (const std::string& label : required) {
      if (!labels.ParsedHas(label)) return false;
    }
    return true;
  }
};

}  // namespace varve::query
