#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/span_batch.h"
#include "varve/traceql.h"

namespace varve::testing {

/// Makes decisions from bytes (a fuzzer's input), or from a seed when they are used up.
class Choices {
 public:
  explicit Choices(uint64_t seed, std::string_view bytes = {}) : bytes_(bytes), state_(seed) {}
  /// Returns a number below `count`.
  uint32_t Pick(uint32_t count) {
    if (count <= 1) return 0;
    if (!bytes_.empty()) {
      const auto byte = static_cast<uint8_t>(bytes_[0]);
      bytes_.remove_prefix(1);
      return byte % count;
    }
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33) % count;
  }
  bool Chance(uint32_t percent) { return Pick(100) < percent; }

 private:
  std::string_view bytes_;
  uint64_t state_;
};

/// Makes a few traces whose spans share a small vocabulary, so that random queries find something:
/// trees, orphans, circles, events, links, arrays, values of mixed types.
void RandomTraces(Choices& choices, SpanBatch* out);

/// Makes the text of a valid search query over that vocabulary.
std::string RandomSearch(Choices& choices);

/// Evaluates a search the plain way: every trace, every span, by the definitions, sharing no code
/// with the engine beyond the parser. Returns a text: a line a spanset, sorted.
std::string NaiveSearch(const SpanBatch& spans, std::string_view text);
/// Prints an answer of the engine in the same form.
std::string PrintSearch(const query::SearchResult& result);

/// Counts the spans of all spansets that a search finds and that start in (start, end].
uint64_t NaiveCount(const SpanBatch& spans, std::string_view text, int64_t start_ns,
                    int64_t end_ns);

/// Compares the engine with the plain evaluation over random traces; returns what differs, or an
/// empty text.
std::string CompareWithNaive(query::TraceEngine& engine, Choices& choices, int queries);

}  // namespace varve::testing
