#include "varve/database.h"

namespace varve {
namespace {

Status NotHere(std::string_view what) { return MakeStatus(StatusCode::kUnimplemented, what); }

}  // namespace

// What a database without that wing answers.

Result<LogAppendResult> Database::AppendLogs(const LogBatch&, const WriteOptions&) {
  return NotHere("this database takes no logs");
}
Result<SpanAppendResult> Database::AppendSpans(const SpanBatch&, const WriteOptions&) {
  return NotHere("this database takes no spans");
}
Result<std::shared_ptr<const LogSnapshot>> Database::TakeLogSnapshot() const {
  return NotHere("this database has no logs");
}
Result<std::shared_ptr<const TraceSnapshot>> Database::TakeTraceSnapshot() const {
  return NotHere("this database has no traces");
}
Status Database::DeleteLogs(std::span<const Matcher>, NsRange, std::span<const LineFilter>,
                            std::span<const Matcher>) {
  return NotHere("this database has no logs");
}

}  // namespace varve
