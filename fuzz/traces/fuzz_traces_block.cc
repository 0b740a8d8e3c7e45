// Puts any bytes into the sections of a traces block whose checksums hold, then reads all of it.
// The input: spans and traces that the meta claims (4 bytes each), then for each section a length
// of 4 bytes and its bytes. Packed sections are given inflated.

#include <array>
#include <cstring>

#include "engine/base/coding.h"
#include "engine/block/container.h"
#include "engine/io/memory_file_system.h"
#include "engine/traces/block_format.h"
#include "engine/traces/block_reader.h"
#include "engine/traces/snapshot.h"

namespace {

void Expect(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::traces;
  ByteReader in(std::string_view(reinterpret_cast<const char*>(data), size));
  block::BlockMeta meta;
  meta.id = 1;
  meta.wing = block::Wing::kTraces;
  meta.rows = in.Fixed<uint32_t>();
  meta.series = in.Fixed<uint32_t>();
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Expect(fs->MakeDirs("/d").ok());
  auto writer = block::BlockWriter::Create(fs, "/d", 1, block::Wing::kTraces, 1);
  Expect(writer.ok());
  for (block::SectionType type = kResourcesSection; type <= kOperationsSection; ++type) {
    const std::string_view bytes = in.Bytes(std::min<uint64_t>(in.Fixed<uint32_t>(), in.left()));
    if (type == kDictionariesSection || type == kPostingsSection || type == kSpansSection) {
      Expect((*writer)->BeginPagedSection(type, 0, 0).ok());
      Expect((*writer)->Append(bytes).ok());
      Expect((*writer)->EndPagedSection().ok());
      continue;
    }
    if (type == kTraceFilterSection && bytes.empty()) continue;
    std::string packed;
    if (type != kTraceFilterSection && type != kTraceTableSection) {
      PutVarint(&packed, bytes.size());
      Compress(bytes, &packed);
    } else {
      packed = bytes;
    }
    Expect((*writer)->AddSection(type, 0, 0, packed).ok());
  }
  Expect((*writer)->Finish(meta).ok());
  const auto block = TraceBlock::Open(*fs, "/d/" + block::BlockFileName(1));
  if (!block.ok()) return 0;
  for (const Status& status : (*block)->VerifyAll()) {
    Expect(status.code() == StatusCode::kDataLoss);
  }
  (void)(*block)->Stats();
  const auto snapshot = MakeSnapshot({*block});
  const auto listed = (*block)->ListTraces(NsRange{});
  if (listed.ok()) {
    SpanBatch out;
    for (size_t i = 0; i < listed->size() && i < 8; ++i) {
      snapshot->GetTrace((*listed)[i].id, &out).IgnoreError();
    }
  }
  const auto scan = [&](SpanPredicate predicate) {
    SpanScanSpec spec;
    spec.columns = {predicate.field};
    spec.predicates = {std::move(predicate)};
    auto cursor = snapshot->Scan(spec);
    if (!cursor.ok()) return;
    SpanColumns columns;
    while (true) {
      const auto more = (*cursor)->Next(&columns);
      if (!more.ok() || !*more) return;
    }
  };
  using Op = SpanPredicate::Op;
  scan({{Intrinsic::kNone, AttributeScope::kSpan, "a"}, Op::kEqual, std::string("red")});
  scan({{Intrinsic::kNone, AttributeScope::kAny, "user.id"}, Op::kRegex, std::string("id-1.*")});
  scan({{Intrinsic::kNone, AttributeScope::kEvent, "retry"}, Op::kExists, {}});
  scan({{Intrinsic::kName, AttributeScope::kAny, ""}, Op::kNotEqual, std::string("x")});
  scan({{Intrinsic::kParentId, AttributeScope::kAny, ""}, Op::kNotExists, {}});
  std::set<std::string> services;
  (*block)->AddServices(&services).IgnoreError();
  Survey survey;
  (*block)->AddSurvey(NsRange{}, &survey).IgnoreError();
  return 0;
}
