#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "engine/base/coding.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/io/memory_file_system.h"
#include "engine/traces/block_format.h"
#include "engine/traces/block_impl.h"
#include "engine/traces/block_reader.h"
#include "engine/traces/head.h"
#include "engine/traces/seal.h"
#include "engine/traces/snapshot.h"
#include "tests/traces/span_model.h"

namespace varve::traces {
namespace {

const LogFn kNoLog = [](std::span<const std::string_view>) { return absl::OkStatus(); };

class TracesBlock : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(fs_->MakeDirs("blocks").ok()); }
  block::SealTarget Target() {
    return {fs_, "blocks", [this] { return ++last_id_; }};
  }
  std::shared_ptr<Head> HeadOf(const std::vector<const SpanBatch*>& batches) {
    auto head = std::make_shared<Head>(Limits(), INT64_MIN);
    for (const SpanBatch* batch : batches) {
      const auto result = head->Append(*batch, {}, kNoLog);
      EXPECT_TRUE(result.ok()) << result.status().ToString();
    }
    return head;
  }
  std::shared_ptr<const TraceBlock> Open(uint64_t id) {
    auto block = TraceBlock::Open(*fs_, io::JoinPath("blocks", block::BlockFileName(id)));
    EXPECT_TRUE(block.ok()) << block.status().ToString();
    return block.ok() ? *block : nullptr;
  }
  std::vector<SourcePtr> Seal(const SourcePtr& head, const block::PlanOptions& plan) {
    const auto metas = SealHead(head, {}, plan, Target());
    EXPECT_TRUE(metas.ok()) << metas.status().ToString();
    std::vector<SourcePtr> out;
    if (!metas.ok()) return out;
    for (const block::BlockMeta& meta : *metas) {
      auto block = Open(meta.id);
      EXPECT_TRUE(block->VerifyAll().empty());
      out.push_back(block);
    }
    return out;
  }
  SourcePtr Merge(const std::vector<SourcePtr>& sources) {
    const auto meta = WriteMerged(sources, NsRange{}, {}, Target());
    EXPECT_TRUE(meta.ok()) << meta.status().ToString();
    if (!meta.ok() || !meta->has_value()) return nullptr;
    auto block = Open((*meta)->id);
    for (const Status& status : block->VerifyAll()) ADD_FAILURE() << status.ToString();
    return block;
  }

  std::shared_ptr<io::MemoryFileSystem> fs_ = std::make_shared<io::MemoryFileSystem>();
  uint64_t last_id_ = 0;
};

TEST_F(TracesBlock, EqualsTheModelSealedMergedAndMergedAgain) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(Concat("seed ", seed));
    std::mt19937_64 random(seed);
    RandomSpanOptions options;
    options.rare_things = seed % 2 == 1;
    SpanModel model;
    std::vector<SpanBatch> batches(6);
    for (SpanBatch& batch : batches) {
      AddRandomSpans(&random, 600, options, &batch);
      model.Add(batch);
    }
    const auto first = HeadOf({&batches[0], &batches[1], &batches[2]});
    const auto second = HeadOf({&batches[3], &batches[4], &batches[5]});
    block::PlanOptions plan;
    plan.block_range = int64_t{2} * 3600 * 1'000'000'000;
    std::vector<SourcePtr> blocks = Seal(MakeHeadSource(first), plan);
    std::vector<SourcePtr> with_head = blocks;
    with_head.push_back(MakeHeadSource(second));
    {
      SCOPED_TRACE("blocks and a head");
      model.Check(*MakeSnapshot(with_head), &random);
    }
    const std::vector<SourcePtr> more = Seal(MakeHeadSource(second), plan);
    blocks.insert(blocks.end(), more.begin(), more.end());
    {
      SCOPED_TRACE("blocks");
      model.Check(*MakeSnapshot(blocks), &random);
    }
    const SourcePtr merged = Merge(blocks);
    ASSERT_NE(merged, nullptr);
    EXPECT_EQ(merged->spans(), model.spans());
    {
      SCOPED_TRACE("merged");
      model.Check(*MakeSnapshot({merged}), &random);
    }
    const SourcePtr again = Merge({merged});
    {
      SCOPED_TRACE("merged again");
      model.Check(*MakeSnapshot({again}), &random);
    }
  }
}

TEST_F(TracesBlock, ManyGroups) {
  std::mt19937_64 random(5);
  RandomSpanOptions options;
  options.traces = 4000;
  options.rare_things = false;
  SpanModel model;
  SpanBatch batch;
  AddRandomSpans(&random, 9'000, options, &batch);
  model.Add(batch);
  const SourcePtr block = Merge({MakeHeadSource(HeadOf({&batch}))});
  ASSERT_NE(block, nullptr);
  model.Check(*MakeSnapshot({block}), &random);
}

std::vector<uint32_t> GroupRows(const SourcePtr& block) {
  std::vector<uint32_t> out;
  for (const Block::Group& group : block->AsBlock()->groups()) out.push_back(group.rows);
  return out;
}

/// Spans of traces of ten, `first` being the number of the first span: texts, keys and resources of
/// one batch are not those of another.
void AddOrderlySpans(uint32_t first, uint32_t count, std::string_view tag, SpanBatch* out) {
  const AttributeView service{"service.name", ValueView::String(out->Copy(Concat("shop-", tag)))};
  out->AddScope(out->AddResource({&service, 1}), "lib", "1");
  for (uint32_t i = first; i < first + count; ++i) {
    SpanBatch::Span span;
    span.trace_id = TraceIdOf(i / 10);
    span.span_id = SpanIdOf(i);
    if (i % 10 != 0) span.parent_id = SpanIdOf(i % 10 == 5 ? 1'000'000'007 : i - 1);
    span.name = out->Copy(Concat("step-", tag, "-", i % 7));
    span.kind = static_cast<SpanKind>(i % 4);
    span.status = static_cast<SpanStatus>(i % 3);
    span.start_ns = int64_t{i} * 1'000;
    span.end_ns = span.start_ns + i % 977;
    span.flags = i % 2;
    const AttributeView attributes[] = {
        {"route", ValueView::String(out->Copy(Concat("/", tag, "/", i % 23)))},
        {"user", ValueView::String(out->Copy(Concat("user-", i)))},
        {"code", ValueView::Int(i % 5 * 100)},
        {"share", ValueView::Double(i / 7.0)},
        {out->Copy(Concat("own-", tag)), ValueView::Bool(i % 2 == 0)}};
    out->AddSpan(span, AttributesView(attributes).first(i % 4 == 0 ? 5 : 4));
    if (i % 3 == 0) out->AddEvent(span.start_ns + 1, tag, {attributes, 1}, i % 2);
    SpanBatch::Link link;
    link.trace_id = TraceIdOf(i);
    link.span_id = SpanIdOf(i);
    link.trace_state = i % 20 == 0 ? tag : "";
    if (i % 10 == 0) out->AddLink(link, {attributes + 2, 1});
  }
}

TEST_F(TracesBlock, MergingTakesWholeGroupsAsTheyAre) {
  SpanModel model;
  std::vector<SourcePtr> blocks;
  std::vector<uint32_t> rows;
  const std::string_view tags[] = {"c", "a", "b"};
  for (uint32_t i = 0; i < 3; ++i) {
    SpanBatch batch;
    AddOrderlySpans(i * 6'000, 6'000, tags[i], &batch);
    model.Add(batch);
    blocks.push_back(Merge({MakeHeadSource(HeadOf({&batch}))}));
    ASSERT_NE(blocks.back(), nullptr);
    const std::vector<uint32_t> own = GroupRows(blocks.back());
    ASSERT_EQ(own.size(), 2u);
    rows.insert(rows.end(), own.begin(), own.end());
  }
  const SourcePtr merged = Merge(blocks);
  ASSERT_NE(merged, nullptr);
  EXPECT_EQ(GroupRows(merged), rows);

  // Late spans of the first traces: their groups are opened, the others stay.
  SpanBatch late;
  AddOrderlySpans(18'000, 40, "d", &late);
  SpanBatch moved;
  moved.AddScope(moved.AddResource({}), "late", "");
  for (SpanBatch::Span span : late.spans()) {
    span.scope = 0;
    span.trace_id = TraceIdOf(3);
    span.start_ns = 30'000;
    moved.AddSpan(span, late.attributes(span.attributes));
  }
  model.Add(moved);
  const SourcePtr again = Merge({merged, Merge({MakeHeadSource(HeadOf({&moved}))})});
  ASSERT_NE(again, nullptr);
  const std::vector<uint32_t> after = GroupRows(again);
  ASSERT_GE(after.size(), 4u);
  EXPECT_TRUE(std::equal(rows.end() - 4, rows.end(), after.end() - 4));
  EXPECT_NE(after, rows);
  std::mt19937_64 random(1);
  model.Check(*MakeSnapshot({again}), &random);
}

TEST_F(TracesBlock, CopiedGroupsTakeTheCodingOfTheNewBlock) {
  // What is a column in the small block is among the rare keys of the large one, and the other way
  // round; names of events and messages are too many for the large one's dictionary.
  SpanModel model;
  std::vector<SourcePtr> blocks;
  std::vector<uint32_t> rows;
  for (const uint32_t spans : {2'000u, 2'000u, 12'000u}) {
    SpanBatch batch;
    batch.AddResource({});
    batch.AddScope(0, "", "");
    const auto block = static_cast<uint32_t>(blocks.size());
    for (uint32_t i = 0; i < spans; ++i) {
      SpanBatch::Span span;
      span.trace_id = TraceIdOf(block * 100'000 + i / 10);
      span.span_id = SpanIdOf(i);
      span.start_ns = int64_t{block} * 1'000'000'000 + i;
      span.status_message = block == 2 && i % 3 == 0 ? batch.Copy(Concat("m", i)) : "m";
      std::vector<AttributeView> attributes;
      const bool often = i % 100 == 7;
      const bool seldom = i % 400 == 7;
      if (block == 0 ? often : seldom) {
        attributes.push_back({"number", ValueView::Int(i)});
        attributes.push_back({"text", ValueView::String(batch.Copy(Concat("t", i)))});
      }
      if (block == 0 ? seldom : often) {
        attributes.push_back({"share", ValueView::Double(i / 3.0)});
        attributes.push_back({"word", ValueView::String(i % 200 == 7 ? "a" : "b")});
        attributes.push_back({"true", ValueView::Bool(i % 200 == 7)});
      }
      if (i % 900 == 7) attributes.push_back({"rare", ValueView::Bytes("\1\2")});
      batch.AddSpan(span, attributes);
      if (i % 50 == 0) {
        batch.AddEvent(span.start_ns, block == 2 ? batch.Copy(Concat("e", i)) : "e", attributes);
      }
    }
    model.Add(batch);
    blocks.push_back(Merge({MakeHeadSource(HeadOf({&batch}))}));
    ASSERT_NE(blocks.back(), nullptr);
    const std::vector<uint32_t> own = GroupRows(blocks.back());
    rows.insert(rows.end(), own.begin(), own.end());
  }
  const SourcePtr merged = Merge(blocks);
  ASSERT_NE(merged, nullptr);
  EXPECT_EQ(GroupRows(merged), rows);
  std::mt19937_64 random(1);
  model.Check(*MakeSnapshot({merged}), &random);
}

TEST_F(TracesBlock, CopiedGroupsOfAnythingEqualTheModel) {
  std::mt19937_64 random(9);
  RandomSpanOptions options;
  options.traces = 600;
  options.rare_things = false;  // skewed times would mix the blocks
  SpanModel model;
  std::vector<SourcePtr> blocks;
  std::vector<uint32_t> rows;
  for (int i = 0; i < 3; ++i) {
    SpanBatch batch;
    AddRandomSpans(&random, 1'500, options, &batch);
    model.Add(batch);
    blocks.push_back(Merge({MakeHeadSource(HeadOf({&batch}))}));
    ASSERT_NE(blocks.back(), nullptr);
    const std::vector<uint32_t> own = GroupRows(blocks.back());
    rows.insert(rows.end(), own.begin(), own.end());
    options.first_trace += options.traces;
    options.start_ns += 2 * options.span_ns;
  }
  const SourcePtr merged = Merge(blocks);
  ASSERT_NE(merged, nullptr);
  EXPECT_EQ(GroupRows(merged), rows);
  model.Check(*MakeSnapshot({merged}), &random);
}

TEST_F(TracesBlock, HugeTraceIsCutAndComesBackWhole) {
  SpanBatch batch;
  batch.AddResource({});
  batch.AddScope(0, "", "");
  constexpr uint32_t kSpans = 30'000;
  for (uint32_t i = 0; i < kSpans; ++i) {
    SpanBatch::Span span;
    span.trace_id = TraceIdOf(1);
    span.span_id = SpanIdOf(i);
    if (i > 0) span.parent_id = SpanIdOf(i - 1);  // as deep as it is long
    span.start_ns = i;
    span.end_ns = i + 1;
    span.name = "step";
    batch.AddSpan(span, {});
  }
  SpanModel model;
  model.Add(batch);
  const SourcePtr head = MakeHeadSource(HeadOf({&batch}));
  const SourcePtr block = Merge({head});
  ASSERT_NE(block, nullptr);
  std::mt19937_64 random(1);
  SpanBatch out;
  ASSERT_TRUE(MakeSnapshot({block})->GetTrace(TraceIdOf(1), &out).ok());
  ASSERT_EQ(out.spans().size(), kSpans);
  for (uint32_t i = 1; i < kSpans; ++i) ASSERT_EQ(out.spans()[i].parent_id, SpanIdOf(i - 1));
  const SourcePtr again = Merge({block});
  SpanBatch second;
  ASSERT_TRUE(MakeSnapshot({again})->GetTrace(TraceIdOf(1), &second).ok());
  EXPECT_EQ(Print(second), Print(out));
}

TEST_F(TracesBlock, LargeAttributesCloseGroups) {
  SpanBatch batch;
  batch.AddResource({});
  batch.AddScope(0, "", "");
  std::mt19937_64 random(1);
  for (uint32_t i = 0; i < 60; ++i) {
    SpanBatch::Span span;
    span.trace_id = TraceIdOf(i / 30);
    span.span_id = SpanIdOf(i);
    span.start_ns = i;
    std::string text(700'000, ' ');
    for (char& c : text) c = static_cast<char>(random());
    const AttributeView attribute{"body", ValueView::String(batch.Copy(text))};
    batch.AddSpan(span, {&attribute, 1});
  }
  const SourcePtr block = Merge({MakeHeadSource(HeadOf({&batch}))});
  for (uint64_t t = 0; t < 2; ++t) {
    SpanBatch out;
    ASSERT_TRUE(MakeSnapshot({block})->GetTrace(TraceIdOf(t), &out).ok());
    ASSERT_EQ(out.spans().size(), 30u);
    for (size_t i = 0; i < 30; ++i) {
      EXPECT_EQ(out.attributes(out.spans()[i].attributes)[0].value,
                batch.attributes(batch.spans()[t * 30 + i].attributes)[0].value);
    }
  }
}

TEST_F(TracesBlock, ManyKeysShareAChunk) {
  SpanBatch batch;
  batch.AddResource({});
  batch.AddScope(0, "", "");
  std::vector<AttributeView> attributes;
  for (uint32_t i = 0; i < 3000; ++i) {
    SpanBatch::Span span;
    span.trace_id = TraceIdOf(i / 10);
    span.span_id = SpanIdOf(i);
    span.start_ns = i;
    attributes.clear();
    for (uint32_t k = 0; k < (i == 7 ? 400u : 4u); ++k) {
      attributes.push_back({batch.Copy(Concat("key", i * 3 + k)), ValueView::Int(i)});
    }
    batch.AddSpan(span, attributes);
  }
  SpanModel model;
  model.Add(batch);
  const SourcePtr block = Merge({MakeHeadSource(HeadOf({&batch}))});
  std::mt19937_64 random(1);
  model.Check(*MakeSnapshot({block}), &random);
  const auto names = MakeSnapshot({block})->TagNames(AttributeScope::kSpan, NsRange{});
  ASSERT_TRUE(names.ok());
  EXPECT_GT(names->size(), 9000u);
  SpanScanSpec spec;
  spec.predicates.push_back(
      {{Intrinsic::kNone, AttributeScope::kSpan, "key22"}, SpanPredicate::Op::kEqual, int64_t{7}});
  auto cursor = MakeSnapshot({block})->Scan(spec);
  ASSERT_TRUE(cursor.ok());
  SpanColumns columns;
  ASSERT_TRUE(*(*cursor)->Next(&columns));
  EXPECT_EQ(columns.span_ids[0], SpanIdOf(7));
}

TEST_F(TracesBlock, KeepChoosesTraces) {
  std::mt19937_64 random(2);
  SpanBatch batch;
  AddRandomSpans(&random, 500, {}, &batch);
  const SourcePtr head = MakeHeadSource(HeadOf({&batch}));
  const auto meta = WriteMerged({head}, NsRange{}, {}, Target(),
                                [](const TraceId& id) { return id == TraceIdOf(3); });
  ASSERT_TRUE(meta.ok() && meta->has_value());
  EXPECT_EQ((*meta)->series, 1u);
  const auto none =
      WriteMerged({head}, NsRange{}, {}, Target(), [](const TraceId&) { return false; });
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
}

TEST_F(TracesBlock, DamageIsFoundAndNamed) {
  std::mt19937_64 random(4);
  SpanBatch batch;
  AddRandomSpans(&random, 400, {}, &batch);
  ASSERT_NE(Merge({MakeHeadSource(HeadOf({&batch}))}), nullptr);
  const std::string path = io::JoinPath("blocks", block::BlockFileName(last_id_));
  const auto bytes = fs_->ReadFile(path, 1u << 30);
  ASSERT_TRUE(bytes.ok());
  for (size_t at = 0; at < bytes->size(); at += 1 + bytes->size() / 300) {
    std::string changed = *bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    ASSERT_TRUE(io::WriteFileAtomically(*fs_, "blocks/changed", changed).ok());
    const auto block = TraceBlock::Open(*fs_, "blocks/changed");
    if (!block.ok()) {
      EXPECT_EQ(block.status().code(), StatusCode::kDataLoss) << at;
      continue;
    }
    const std::vector<Status> damage = (*block)->VerifyAll();
    ASSERT_FALSE(damage.empty()) << at;
    EXPECT_EQ(damage[0].code(), StatusCode::kDataLoss);
    EXPECT_TRUE(FilePlaceOf(damage[0]).has_value());
  }
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Files of version 1 are read for ever: a block, a log record, and what they say. To make new ones
/// (and seeds for the fuzzers from them) run this test with VARVE_WRITE_GOLDEN=1.
TEST_F(TracesBlock, ReadsTheGoldenFiles) {
  const char* source = std::getenv("VARVE_SOURCE");
  const std::string root = source == nullptr ? "." : source;
  const std::string golden = root + "/tests/traces/golden/v1.";
  if (const char* make = std::getenv("VARVE_WRITE_GOLDEN"); make != nullptr && *make == '1') {
    std::mt19937_64 random(99);
    RandomSpanOptions options;
    options.traces = 12;
    SpanBatch batch;
    AddRandomSpans(&random, 60, options, &batch);
    std::string record;
    auto head = std::make_shared<Head>(Limits(), INT64_MIN);
    ASSERT_TRUE(head->Append(batch, {},
                             [&](std::span<const std::string_view> pieces) {
                               for (const std::string_view piece : pieces) record += piece;
                               return absl::OkStatus();
                             })
                    .ok());
    ASSERT_NE(Merge({MakeHeadSource(head)}), nullptr);
    const std::string path = io::JoinPath("blocks", block::BlockFileName(last_id_));
    std::ofstream(golden + "varve", std::ios::binary) << *fs_->ReadFile(path, 1u << 30);
    std::ofstream(golden + "wal", std::ios::binary) << record;
    SpanBatch decoded;
    ASSERT_TRUE(DecodeWalBatch(record, &decoded).ok());
    std::ofstream(golden + "wal.txt") << Print(decoded);
    std::string text;
    const auto opened = Open(last_id_);
    const auto listed = opened->ListTraces(NsRange{});
    ASSERT_TRUE(listed.ok());
    for (const TracePiece& piece : *listed) {
      SpanBatch out;
      ASSERT_TRUE(MakeSnapshot({opened})->GetTrace(piece.id, &out).ok());
      text += Print(out);
    }
    std::ofstream(golden + "varve.txt") << text;

    const std::string corpus = root + "/fuzz/traces/corpus/";
    std::ofstream(corpus + "fuzz_span_batch/batch", std::ios::binary) << record;
    std::string seed;
    const auto file = block::BlockReader::Open(*fs_, path);
    ASSERT_TRUE(file.ok());
    PutFixed(&seed, static_cast<uint32_t>((*file)->meta().rows));
    PutFixed(&seed, static_cast<uint32_t>((*file)->meta().series));
    for (block::SectionType type = kResourcesSection; type <= kOperationsSection; ++type) {
      std::string bytes;
      const block::SectionInfo* info = (*file)->Find(type);
      ASSERT_NE(info, nullptr);
      if (info->paged()) {
        const auto* section = *(*file)->Paged(type);
        if (section->size() > 0) bytes = *section->Read(0, section->size());
      } else {
        bytes = *(*file)->Section(type);
      }
      if (info->codec == kCodecZstd && !info->paged()) {
        const std::string packed = bytes;
        ByteReader in(packed);
        const uint64_t raw = in.Varint();
        ASSERT_TRUE(Inflate(in.Bytes(in.left()), raw, &bytes));
      }
      PutFixed(&seed, static_cast<uint32_t>(bytes.size()));
      seed += bytes;
    }
    std::ofstream(corpus + "fuzz_traces_block/block", std::ios::binary) << seed;
  }
  const std::string record = ReadAll(golden + "wal");
  ASSERT_FALSE(record.empty()) << golden;
  SpanBatch batch;
  ASSERT_TRUE(DecodeWalBatch(record, &batch).ok());
  EXPECT_EQ(Print(batch), ReadAll(golden + "wal.txt"));
  ASSERT_TRUE(io::WriteFileAtomically(*fs_, "blocks/golden", ReadAll(golden + "varve")).ok());
  const auto block = TraceBlock::Open(*fs_, "blocks/golden");
  ASSERT_TRUE(block.ok()) << block.status().ToString();
  EXPECT_TRUE((*block)->VerifyAll().empty());
  std::string text;
  const auto traces = (*block)->ListTraces(NsRange{});
  ASSERT_TRUE(traces.ok());
  for (const TracePiece& piece : *traces) {
    SpanBatch out;
    ASSERT_TRUE(MakeSnapshot({*block})->GetTrace(piece.id, &out).ok());
    text += Print(out);
  }
  EXPECT_EQ(text, ReadAll(golden + "varve.txt"));
}

}  // namespace
}  // namespace varve::traces
