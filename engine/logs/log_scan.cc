#include "engine/logs/log_scan.h"

#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/value_scan.h"
#include "engine/logs/columns.h"
#include "engine/logs/line_codec.h"

namespace varve {
namespace {

/// Appends the keys that every line with `needle` has: of words that stand whole in it, and of
/// pieces of ids.
void AddNeedleKeys(std::string_view needle, std::vector<uint64_t>* keys) {
  for (size_t i = 0; i < needle.size();) {
    const auto at = [&](size_t k) { return logs::kCharClass[static_cast<uint8_t>(needle[k])]; };
    if (at(i) == logs::kDelimiter) {
      ++i;
      continue;
    }
    const size_t begin = i;
    uint8_t classes = 0;
    while (i < needle.size() && at(i) != logs::kDelimiter) classes |= at(i++);
    const std::string_view word = needle.substr(begin, i - begin);
    const bool whole = begin > 0 && i < needle.size();
    if (whole && (classes & logs::kLetter) != 0) keys->push_back(logs::WordKey(word));
    // Any piece of an id has its minimizers, if the word around it surely has letter and digit.
    if (classes == (logs::kLetter | logs::kDigit) && word.size() >= logs::kIdBytesMin) {
      logs::AddIdKeys(word, keys);
    }
  }
}

}  // namespace

struct LogScan::Filter {
  LineFilter::Op op;
  std::vector<std::string> needles;
  std::vector<std::unique_ptr<re2::RE2>> patterns;

  bool wanted() const { return op == LineFilter::Op::kContains || op == LineFilter::Op::kMatches; }

  bool Any(std::string_view line) const {
    for (const std::string& needle : needles) {
      if (line.find(needle) != std::string_view::npos) return true;
    }
    for (const auto& pattern : patterns) {
      if (re2::RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), *pattern)) return true;
    }
    return false;
  }
};

LogScan::LogScan() = default;
LogScan::~LogScan() = default;

Result<std::shared_ptr<const LogScan>> LogScan::Make(const LogScanSpec& spec) {
  auto scan = std::shared_ptr<LogScan>(new LogScan());
  scan->spec_ = spec;
  for (const LineFilter& line_filter : spec.line_filters) {
    Filter filter;
    filter.op = line_filter.op;
    const bool regex =
        filter.op == LineFilter::Op::kMatches || filter.op == LineFilter::Op::kNotMatches;
    for (const std::string& text : line_filter.texts) {
      if (!regex) {
        filter.needles.push_back(text);
        continue;
      }
      re2::RE2::Options options(re2::RE2::Quiet);
      options.set_max_mem(index::kRegexMemoryBytesMax);
      auto pattern =
          std::make_unique<re2::RE2>(re2::StringPiece(text.data(), text.size()), options);
      if (pattern->ok()) {
        filter.patterns.push_back(std::move(pattern));
        continue;
      }
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("line filter \"", text, "\": ", pattern->error()));
    }
    scan->filters_.push_back(std::move(filter));
  }
  VARVE_ASSIGN_OR_RETURN(scan->metadata_, index::CompileMatchers(spec.metadata));
  scan->FindKeys();
  if (spec.lines != LogScanSpec::Lines::kBytes || !spec.with_metadata ||
      !spec.metadata_names.empty()) {
    LogScanSpec whole = spec;
    whole.lines = LogScanSpec::Lines::kBytes;
    whole.with_metadata = true;
    whole.metadata_names.clear();
    VARVE_ASSIGN_OR_RETURN(scan->whole_, Make(whole));
  }
  return std::shared_ptr<const LogScan>(std::move(scan));
}

void LogScan::FindKeys() {
  for (const Filter& filter : filters_) {
    if (!filter.wanted() || filter.needles.empty()) continue;
    std::vector<std::vector<uint64_t>> alternatives;
    for (const std::string& needle : filter.needles) {
      alternatives.emplace_back();
      AddNeedleKeys(needle, &alternatives.back());
    }
    // An alternative without keys may be anywhere.
    const bool useless = std::any_of(alternatives.begin(), alternatives.end(),
                                     [](const auto& keys) { return keys.empty(); });
    if (!useless) needed_.push_back(std::move(alternatives));
    required_.push_back(filter.needles);
  }
  for (const index::CompiledMatcher& matcher : metadata_) {
    if (matcher.MatchesEmpty() || matcher.negative() || matcher.literals() == nullptr) continue;
    std::vector<std::vector<uint64_t>> alternatives;
    for (const std::string& value : *matcher.literals()) {
      alternatives.push_back({logs::MetadataKey(matcher.name(), value)});
    }
    needed_.push_back(std::move(alternatives));
  }
}

bool LogScan::MatchesLine(std::string_view line) const {
  return std::all_of(filters_.begin(), filters_.end(),
                     [line](const Filter& filter) { return filter.Any(line) == filter.wanted(); });
}

void LogScan::KeepMatchingLines(std::string_view text, std::span<const uint32_t> line_begin,
                                std::vector<uint32_t>* selected) const {
  std::vector<uint32_t> hits;
  for (const Filter& filter : filters_) {
    if (selected->empty()) return;
    const uint32_t first = selected->front();
    const uint32_t last = selected->back();
    const bool dense = last - first + 1 == selected->size();
    if (dense && filter.patterns.empty() && filter.needles.size() == 1 &&
        !filter.needles[0].empty()) {
      // One search over all lines at once.
      hits.clear();
      index::FindStringsWith(text.data(), line_begin.subspan(first, last - first + 2),
                             filter.needles[0], [&](uint32_t i) { hits.push_back(first + i); });
      if (filter.wanted()) {
        selected->swap(hits);
      } else {
        size_t at = 0;
        std::erase_if(*selected, [&](uint32_t row) {
          if (at == hits.size() || hits[at] != row) return false;
          ++at;
          return true;
        });
      }
      continue;
    }
    std::erase_if(*selected, [&](uint32_t row) {
      const std::string_view line =
          text.substr(line_begin[row], line_begin[row + 1] - line_begin[row]);
      return filter.Any(line) != filter.wanted();
    });
  }
}

bool LogScan::MatchesMetadata(LabelsView metadata) const {
  return std::all_of(metadata_.begin(), metadata_.end(), [&](const auto& matcher) {
    return matcher.Matches(FindLabel(metadata, matcher.name()));
  });
}

Result<std::shared_ptr<const LogScan>> CompileLogScan(const LogScanSpec& spec) {
  return LogScan::Make(spec);
}

bool LineMatches(const LogScan& scan, std::string_view line) { return scan.MatchesLine(line); }

}  // namespace varve
