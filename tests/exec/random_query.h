#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "varve/query.h"
#include "varve/scan.h"
#include "varve/write_batch.h"

namespace varve::testing {

/// Draws choices from bytes, so that a fuzzer can steer them; zeros once they run out.
class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}
  uint32_t Below(uint32_t n) {
    if (bytes_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte % n;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

/// Makes a few small series: floats with NaN, infinities, stale markers and resets, native
/// histograms of several layouts, and series that mix both.
WriteBatch RandomBatch(Choices& choices);
/// Makes a snapshot of such series, in chunks of a few samples.
std::shared_ptr<const Snapshot> RandomSnapshot(Choices& choices);
/// Makes a query over the metrics of RandomSnapshot; it parses, but may fail to run.
std::string RandomQuery(Choices& choices);

/// Compares two results bit for bit; gives the first difference.
std::optional<std::string> Difference(const Result<query::QueryResult>& a,
                                      const Result<query::QueryResult>& b);

/// Gives the query that CheckRandom runs for these bytes.
std::string DescribeRandom(std::string_view bytes);
/// Runs one random query over one random snapshot with several tile sizes and thread numbers.
/// Gives what differed, if anything did.
std::optional<std::string> CheckRandom(std::string_view bytes);

}  // namespace varve::testing
