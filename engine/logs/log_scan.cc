#include "engine/logs/log_scan.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "absl/base/call_once.h"
#include "engine/base/bounded_regex.h"
#include "engine/base/interrupt.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/value_scan.h"
#include "engine/logs/char_class.h"
#include "engine/logs/columns.h"
#include "engine/logs/line_automaton.h"
#include "engine/logs/line_codec.h"
#include "engine/logs/line_keys.h"
#include "engine/logs/line_table.h"
#include "engine/logs/rows.h"

namespace varve {
namespace {

using Verdict = logs::LineAutomaton::Verdict;

/// Finds the keys that every line with `needle` has: of words that stand whole in it, and of pieces
/// of ids
/// and numbers. Without any, the longest piece of a word.
LogScan::Alternative AlternativeOf(std::string_view needle) {
  LogScan::Alternative out;
  std::vector<uint64_t> ids;
  std::string_view longest;
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
    if (whole && (classes & logs::kLetter) != 0)
      out.keys.push_back({logs::WordKey(word), LogScan::KeyKind::kWord});
    // The word around a piece with letter and digit is an id, and has the piece's minimizers; the
    // number around a piece of digits has those.
    ids.clear();
    if (classes == (logs::kLetter | logs::kDigit)) logs::AddIdKeys(word, &ids);
    if ((classes & logs::kDigit) != 0) logs::AddNumberKeys(word, &ids);
    for (const uint64_t id : ids) out.keys.push_back({id, LogScan::KeyKind::kId});
    if (word.size() > longest.size() && logs::InVocabulary(word)) longest = word;
  }
  std::vector<uint64_t> pairs;
  logs::AddPairKeys(needle, &pairs);
  for (const uint64_t pair : pairs) out.keys.push_back({pair, LogScan::KeyKind::kPair});
  constexpr size_t kPieceBytesMin = 3;
  if (out.keys.empty() && longest.size() >= kPieceBytesMin) out.piece = std::string(longest);
  return out;
}

/// Returns the longest text that every match of `pattern` holds, as far as a glance tells: what
/// stands outside of groups, classes and repetitions. Empty where nothing is sure.
std::string SureText(std::string_view pattern) {
  std::string best;
  std::string run;
  int depth = 0;
  const auto end_run = [&] {
    if (run.size() > best.size()) best = run;
    run.clear();
  };
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    switch (c) {
      case '|':
        if (depth == 0) return "";
        break;
      case '(':
        // Flags may change what letters mean.
        if (i + 1 < pattern.size() && pattern[i + 1] == '?' &&
            !(i + 2 < pattern.size() && pattern[i + 2] == ':')) {
          return "";
        }
        end_run();
        ++depth;
        break;
      case ')':
        --depth;
        end_run();
        break;
      case '[': {
        end_run();
        // A bracket first in a class belongs to it.
        size_t k = i + 1;
        if (k < pattern.size() && pattern[k] == '^') ++k;
        if (k < pattern.size() && pattern[k] == ']') ++k;
        for (; k < pattern.size() && pattern[k] != ']'; ++k) {
          if (pattern[k] == '\\') ++k;
          // Names of classes hold brackets of their own.
          if (k + 1 < pattern.size() && pattern[k] == '[' && pattern[k + 1] == ':') return "";
        }
        i = k;
        break;
      }
      case '*':
      case '?':
      case '{':
        // What stands before may be missing.
        if (!run.empty()) {
          do {
            const auto last = static_cast<uint8_t>(run.back());
            run.pop_back();
            if ((last & 0xc0) != 0x80) break;  // the last byte of a character goes with its others
          } while (!run.empty());
        }
        end_run();
        if (c == '{') {
          while (i < pattern.size() && pattern[i] != '}') ++i;
        }
        break;
      case '+':
      case '.':
      case '^':
      case '$':
        end_run();
        break;
      case '\\':
        ++i;
        if (i >= pattern.size()) return "";
        // Letters and digits after a backslash have meanings of many kinds.
        if (logs::kCharClass[static_cast<uint8_t>(pattern[i])] != logs::kDelimiter) {
          if (std::string_view("dDwWsSbB").find(pattern[i]) == std::string_view::npos) return "";
          end_run();
        } else if (depth == 0) {
          run.push_back(pattern[i]);
        }
        break;
      default:
        if (depth == 0) run.push_back(c);
    }
  }
  end_run();
  return best;
}

}  // namespace

struct LogScan::Filter {
  LineFilter::Op op;
  std::vector<std::string> needles;
  std::vector<std::unique_ptr<BoundedRegex>> patterns;
  Effort effort = Effort::kBounded;

  /// If not empty: one of these is in every line for which Any holds.
  std::vector<std::string> literals;

  const std::vector<std::string>& sure_texts() const {
    return patterns.empty() ? needles : literals;
  }
  /// Tells Any from the bytes of a line one by one; null where that cannot be. Made when first
  /// asked for.
  const logs::LineAutomaton* automaton() const {
    absl::call_once(automaton_once_, [this] {
      std::vector<std::string> expressions;
      for (const auto& pattern : patterns) expressions.push_back(pattern->re2().pattern());
      automaton_ = patterns.empty() ? logs::LineAutomaton::OfTexts(needles)
                                    : logs::LineAutomaton::OfPatterns(expressions);
    });
    return automaton_.get();
  }

  using Answer = BoundedRegex::Answer;
  bool wanted() const { return op == LineFilter::Op::kContains || op == LineFilter::Op::kMatches; }

  /// Tells whether one of the texts is in the line, or one of the expressions matches. An
  /// expression that needs too many steps sets `fault`.
  bool Any(std::string_view line, Status* fault) const {
    for (const std::string& needle : needles) {
      if (line.find(needle) != std::string_view::npos) return true;
    }
    if (!literals.empty() &&
        std::none_of(literals.begin(), literals.end(), [line](const std::string& literal) {
          return line.find(literal) != std::string_view::npos;
        })) {
      return false;
    }
    for (const auto& pattern : patterns) {
      if (Tire(pattern->Steps(line), fault)) return false;
      const Answer answer = pattern->Find(line);
      if (answer == Answer::kYes) return true;
      if (answer == Answer::kNo) continue;
      const re2::RE2& unbounded = pattern->re2();
      if (effort == Effort::kBounded) {
        fault->Update(MakeStatus(StatusCode::kInvalidArgument,
                                 Concat("line filter ", pattern->Describe(), " needs too many ",
                                        "steps for a line of ", line.size(), " bytes")));
      } else if (re2::RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), unbounded)) {
        return true;
      }
    }
    return false;
  }

 private:
  /// Counts what this thread has to do, and looks now and then whether it should go on.
  static bool Tire(uint64_t steps, Status* fault) {
    constexpr uint64_t kSteps = 2 << 20;  // 30 ms where an expression is at its worst
    static thread_local uint64_t done = 0;
    done += steps;
    if (done < kSteps) return false;
    done = 0;
    fault->Update(InterruptCheck::Interrupted());
    return !fault->ok();
  }

  mutable absl::once_flag automaton_once_;
  mutable std::unique_ptr<const logs::LineAutomaton> automaton_;
};

LogScan::LogScan() = default;
LogScan::~LogScan() = default;

Result<std::shared_ptr<const LogScan>> LogScan::Make(const LogScanSpec& spec, Effort effort) {
  auto scan = std::shared_ptr<LogScan>(new LogScan());
  scan->spec_ = spec;
  for (const LineFilter& line_filter : spec.line_filters) {
    auto owned = std::make_shared<Filter>();
    Filter& filter = *owned;
    filter.op = line_filter.op;
    filter.effort = effort;
    const bool regex =
        filter.op == LineFilter::Op::kMatches || filter.op == LineFilter::Op::kNotMatches;
    for (const std::string& text : line_filter.texts) {
      if (!regex) {
        filter.needles.push_back(text);
        continue;
      }
      auto pattern = std::make_unique<BoundedRegex>(text);
      if (pattern->ok()) {
        filter.patterns.push_back(std::move(pattern));
        filter.literals.push_back(SureText(text));
        continue;
      }
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("line filter ", pattern->Describe(), ": ", pattern->error()));
    }
    // One expression without a sure text leaves nothing sure of all.
    if (std::any_of(filter.literals.begin(), filter.literals.end(),
                    [](const std::string& literal) { return literal.empty(); })) {
      filter.literals.clear();
    }
    scan->filters_.push_back(std::move(owned));
  }
  VARVE_ASSIGN_OR_RETURN(scan->metadata_, index::CompileMatchers(spec.metadata));
  scan->FindKeys();
  if (spec.lines != LogScanSpec::Lines::kBytes || !spec.with_metadata ||
      !spec.metadata_names.empty()) {
    auto whole = std::shared_ptr<LogScan>(new LogScan());
    whole->spec_ = spec;
    whole->spec_.lines = LogScanSpec::Lines::kBytes;
    whole->spec_.with_metadata = true;
    whole->spec_.metadata_names.clear();
    whole->filters_ = scan->filters_;
    whole->metadata_ = scan->metadata_;
    whole->FindKeys();
    scan->whole_ = std::move(whole);
  }
  return std::shared_ptr<const LogScan>(std::move(scan));
}

void LogScan::FindKeys() {
  static std::atomic<uint64_t> next{1};
  id_ = next++;
  for (const auto& one : filters_) {
    const Filter& filter = *one;
    if (!filter.wanted()) continue;
    // Of an expression, the text that surely is in what it matches.
    const std::vector<std::string>& texts = filter.sure_texts();
    if (texts.empty()) continue;
    std::vector<Alternative> alternatives;
    for (const std::string& text : texts) alternatives.push_back(AlternativeOf(text));
    const bool useless =
        std::any_of(alternatives.begin(), alternatives.end(),
                    [](const Alternative& one) { return one.keys.empty() && one.piece.empty(); });
    if (!useless) needed_.push_back(std::move(alternatives));
    required_.push_back(texts);
  }
  for (const index::CompiledMatcher& matcher : metadata_) {
    if (matcher.MatchesEmpty() || matcher.negative() || matcher.literals() == nullptr) continue;
    std::vector<Alternative> alternatives;
    for (const std::string& value : *matcher.literals()) {
      alternatives.push_back(
          {{{logs::MetadataKey(matcher.name(), value), KeyKind::kMetadata}}, {}});
    }
    needed_.push_back(std::move(alternatives));
  }
}

bool LogScan::MatchesLine(std::string_view line, Status* fault) const {
  return std::all_of(filters_.begin(), filters_.end(), [&](const auto& filter) {
    return filter->Any(line, fault) == filter->wanted() && fault->ok();
  });
}

Status LogScan::KeepMatchingLines(std::string_view text, std::span<const uint32_t> line_begin,
                                  std::vector<uint32_t>* selected) const {
  std::vector<uint32_t> hits;
  Status fault;
  for (const auto& one : filters_) {
    const Filter& filter = *one;
    if (selected->empty() || !fault.ok()) return fault;
    const auto line_of = [&](uint32_t row) {
      return text.substr(line_begin[row], line_begin[row + 1] - line_begin[row]);
    };
    const uint32_t first = selected->front();
    const uint32_t last = selected->back();
    const bool dense = last - first + 1 == selected->size();
    const std::vector<std::string>& texts = filter.sure_texts();
    if (dense && texts.size() == 1 && !texts[0].empty()) {
      // One search over all lines at once.
      hits.clear();
      index::FindStringsWith(text.data(), line_begin.subspan(first, last - first + 2), texts[0],
                             [&](uint32_t i) { hits.push_back(first + i); });
      // Of an expression, these are those worth running it on.
      std::erase_if(hits, [&](uint32_t row) {
        return !filter.patterns.empty() && !filter.Any(line_of(row), &fault);
      });
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
    // The automaton is made once a scan: a few lines are not worth that.
    constexpr size_t kAutomatonRowsMin = 64;
    const logs::LineAutomaton* automaton =
        selected->size() >= kAutomatonRowsMin ? filter.automaton() : nullptr;
    if (automaton == nullptr) {
      std::erase_if(*selected, [&](uint32_t row) {
        return filter.Any(line_of(row), &fault) != filter.wanted();
      });
      continue;
    }
    constexpr size_t kBatch = 256;
    std::array<std::string_view, kBatch> lines;
    std::array<logs::LineAutomaton::State, kBatch> states;
    size_t kept = 0;
    for (size_t begin = 0; begin < selected->size(); begin += kBatch) {
      const size_t count = std::min(kBatch, selected->size() - begin);
      for (size_t i = 0; i < count; ++i) lines[i] = line_of((*selected)[begin + i]);
      states.fill(logs::LineAutomaton::start());
      automaton->RunAll(std::span(lines).first(count), states.data());
      for (size_t i = 0; i < count; ++i) {
        const Verdict verdict = automaton->verdict(states[i]);
        const bool any =
            verdict == Verdict::kUnsure ? filter.Any(lines[i], &fault) : verdict == Verdict::kYes;
        if (any == filter.wanted()) (*selected)[kept++] = (*selected)[begin + i];
      }
    }
    selected->resize(kept);
  }
  return fault;
}

Status LogScan::KeepMatchingLines(logs::LineTable* table, bool render, logs::Rows* rows,
                                  std::vector<uint32_t>* selected) const {
  VARVE_RETURN_IF_ERROR(InterruptCheck::Interrupted());
  std::vector<logs::LineAutomaton::State> ends;
  std::vector<const Filter*> later;  // need the lines
  std::vector<bool> unsure;
  for (const auto& filter : filters_) {
    if (selected->empty()) return absl::OkStatus();
    // All lines are run at once; few of them are cheaper one by one.
    constexpr size_t kFew = 16;
    const logs::LineAutomaton* automaton =
        selected->size() * kFew < table->count() ? nullptr : filter->automaton();
    if (automaton == nullptr) {
      later.push_back(filter.get());
      continue;
    }
    VARVE_RETURN_IF_ERROR(table->Run(*automaton, &ends));
    std::erase_if(*selected, [&](uint32_t row) {
      const Verdict verdict = automaton->verdict(ends[row]);
      if (verdict == Verdict::kUnsure) {
        unsure.resize(table->count());
        unsure[row] = true;
        return false;
      }
      return (verdict == Verdict::kYes) != filter->wanted();
    });
  }
  if (!render && later.empty() && unsure.empty()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(table->RenderSome(*selected, rows));
  Status fault;
  std::erase_if(*selected, [&](uint32_t row) {
    const std::string_view line = rows->line(row);
    if (!unsure.empty() && unsure[row]) return !MatchesLine(line, &fault);
    return std::any_of(later.begin(), later.end(), [&](const Filter* filter) {
      return filter->Any(line, &fault) != filter->wanted();
    });
  });
  return fault;
}

bool LogScan::MatchesMetadata(LabelsView metadata) const {
  return std::all_of(metadata_.begin(), metadata_.end(), [&](const auto& matcher) {
    return matcher.Matches(FindLabel(metadata, matcher.name()));
  });
}

Result<std::shared_ptr<const LogScan>> CompileLogScan(const LogScanSpec& spec) {
  return LogScan::Make(spec);
}

bool LineMatches(const LogScan& scan, std::string_view line) {
  Status fault;
  return scan.MatchesLine(line, &fault);
}

}  // namespace varve
