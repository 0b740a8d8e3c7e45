#include "engine/logs/head.h"

#include <algorithm>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/value_scan.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/page.h"
#include "engine/logs/page_keys.h"
#include "engine/wal/wal.h"

namespace varve::logs {
namespace {

/// An open page is closed at this many bytes of lines, or entries.
constexpr size_t kPageLineBytes = 256 * 1024;
constexpr size_t kPageEntries = 32 * 1024;
/// A batch of one stream with this many bytes of lines becomes a page as it is.
constexpr size_t kOwnPageLineBytes = 64 * 1024;
/// What a stream costs beside its entries, roughly: labels, index, hash table.
constexpr uint64_t kStreamBytes = 512;

Status CheckStreamLabels(LabelsView labels, const Limits& limits) {
  const auto invalid = [](std::string message) {
    return MakeStatus(StatusCode::kInvalidArgument, message);
  };
  if (labels.empty()) return invalid("stream without labels");
  if (labels.size() > limits.labels_per_series_max) {
    return invalid(Concat("stream has ", labels.size(), " labels, the limit is ",
                          limits.labels_per_series_max));
  }
  for (const LabelView& label : labels) {
    if (label.name.size() > limits.label_name_bytes_max) {
      return invalid(Concat("label name of ", label.name.size(), " bytes, the limit is ",
                            limits.label_name_bytes_max));
    }
    if (label.value.size() > limits.label_value_bytes_max) {
      return invalid(Concat("value of label ", GoQuote(label.name), " has ", label.value.size(),
                            " bytes, the limit is ", limits.label_value_bytes_max));
    }
  }
  if (!IsCanonical(labels)) {
    return invalid(
        Concat("labels are not sorted, or one is empty or repeated: ", ToString(labels)));
  }
  return absl::OkStatus();
}

Status CheckMetadata(LabelsView metadata, const Limits& limits) {
  if (metadata.empty()) return absl::OkStatus();
  const auto invalid = [](std::string message) {
    return MakeStatus(StatusCode::kInvalidArgument, message);
  };
  if (metadata.size() > limits.metadata_pairs_max) {
    return invalid(Concat("entry has ", metadata.size(), " pairs of metadata, the limit is ",
                          limits.metadata_pairs_max));
  }
  uint64_t bytes = 0;
  for (size_t i = 0; i < metadata.size(); ++i) {
    if (metadata[i].name.empty()) return invalid("metadata with an empty name");
    if (i > 0 && metadata[i].name <= metadata[i - 1].name) {
      return invalid(Concat("metadata is not sorted, or repeats ", GoQuote(metadata[i].name)));
    }
    bytes += metadata[i].name.size() + metadata[i].value.size();
  }
  if (bytes > limits.metadata_bytes_max) {
    return invalid(
        Concat("metadata of ", bytes, " bytes, the limit is ", limits.metadata_bytes_max));
  }
  return absl::OkStatus();
}

}  // namespace

// --- Judging ---

void PreparedBatch::Reject(uint32_t entry, LogRejectReason reason, std::string detail) {
  if (entry_rejected_.empty()) entry_rejected_.resize(batch_->entries().size());
  if (entry_rejected_[entry]) return;
  entry_rejected_[entry] = true;
  ++result_.rejected;
  if (result_.rejections.size() < options_.rejections_max || result_.rejections.empty()) {
    result_.rejections.push_back(
        {entry, batch_->entries()[entry].stream, reason, std::move(detail)});
  }
}

Status PreparedBatch::RejectionError() const {
  const LogRejection& first = result_.rejections.front();
  const StatusCode code = first.reason == LogRejectReason::kStreamLimit
                              ? StatusCode::kResourceExhausted
                              : StatusCode::kInvalidArgument;
  return MakeStatus(
      code, Concat("entry ", first.entry, ": ", ToString(first.reason), ": ", first.detail));
}

Result<PreparedBatch> PreparedBatch::Make(const LogBatch& batch, const Limits& limits,
                                          const WriteOptions& options) {
  PreparedBatch out;
  out.batch_ = &batch;
  out.options_ = options;
  const size_t streams = batch.streams().size();
  out.keys_.resize(streams);
  out.stream_ok_.resize(streams, true);
  std::vector<std::string> why(streams);
  bool all_ok = true;
  for (size_t i = 0; i < streams; ++i) {
    const LogBatch::Stream& stream = batch.streams()[i];
    if (stream.ref != 0) continue;
    const LabelsView labels = batch.labels(stream);
    const Status status = CheckStreamLabels(labels, limits);
    if (status.ok()) {
      out.keys_[i] = KeyOf(labels);
      continue;
    }
    out.stream_ok_[i] = all_ok = false;
    why[i] = std::string(ToStd(status.message()));
  }
  for (uint32_t i = 0; i < batch.entries().size(); ++i) {
    const LogBatch::Entry& entry = batch.entries()[i];
    VARVE_CHECK(entry.stream < streams);
    if (!all_ok && !out.stream_ok_[entry.stream]) {
      out.Reject(i, LogRejectReason::kInvalidLabels, why[entry.stream]);
      continue;
    }
    if (entry.line.size() > limits.line_bytes_max) {
      out.Reject(i, LogRejectReason::kLineTooLong,
                 Concat(entry.line.size(), " bytes, the limit is ", limits.line_bytes_max));
      continue;
    }
    const Status status = CheckMetadata(batch.metadata(entry), limits);
    if (!status.ok()) {
      out.Reject(i, LogRejectReason::kInvalidMetadata, std::string(ToStd(status.message())));
    }
  }
  if (out.result_.rejected > 0 && !options.partial) return out.RejectionError();
  out.Encode();
  if (out.page_.size() + 65536 > wal::kPayloadBytesMax) {
    return MakeStatus(StatusCode::kResourceExhausted, Concat("batch of ", batch.line_bytes(),
                                                             " bytes is too large for one record"));
  }
  return out;
}

void PreparedBatch::Encode() {
  constexpr uint32_t kUnused = UINT32_MAX;
  std::vector<uint32_t> position(batch_->streams().size(), kUnused);
  used_.clear();
  entries_.clear();
  page_.clear();
  entries_.reserve(batch_->entries().size());
  for (size_t i = 0; i < batch_->entries().size(); ++i) {
    if (!entry_rejected_.empty() && entry_rejected_[i]) continue;
    const LogBatch::Entry& entry = batch_->entries()[i];
    if (position[entry.stream] == kUnused) {
      position[entry.stream] = static_cast<uint32_t>(used_.size());
      used_.push_back(entry.stream);
    }
    entries_.push_back(
        {entry.time_ns, entry.line, batch_->metadata(entry), position[entry.stream]});
  }
  result_.entries = entries_.size();
  if (!entries_.empty()) EncodePage(entries_, used_.size() == 1, &page_);
}

// --- Pages ---

/// What is remembered of a page at sequences that may be pinned: (sequence, entries).
using Marks = std::vector<std::pair<uint64_t, uint32_t>>;

static uint32_t CountAt(const Marks& marks, uint64_t pin) {
  for (size_t i = marks.size(); i > 0; --i) {
    if (marks[i - 1].first <= pin) return marks[i - 1].second;
  }
  return 0;
}

struct Head::Page {
  std::string bytes;
  Marks marks;
  NsRange range{kMaxTime, kMinTime};
  uint32_t entries = 0;
  uint64_t line_bytes = 0;
  std::shared_ptr<HeadWords> words;

  struct Filter {
    explicit Filter(size_t keys) : bloom(keys) {}
    index::BlockedBloom bloom;
    uint64_t words_version = 0;  // from which on the words of the page are among those of the head
  };

  /// Returns the filter, or null if the page has none yet.
  const Filter* filter() const { return filter_.load(std::memory_order_acquire); }
  /// Makes it from the decoded page. Errors: those of InterruptCheck::Interrupted.
  Status MakeFilter(const Rows& rows) const {
    static thread_local PageKeyCollector collector;
    static thread_local PageKeys keys;
    VARVE_RETURN_IF_ERROR(collector.Collect(bytes, rows, &keys));
    auto made = std::make_unique<Filter>(keys.keys.size());
    for (const uint64_t key : keys.keys) made->bloom.Add(key);
    made->words_version = words->Add(keys.words);
    const Filter* none = nullptr;
    // Another reader may have been faster.
    if (filter_.compare_exchange_strong(none, made.get(), std::memory_order_acq_rel)) {
      words->AddFilterBytes(made.release()->bloom.bytes());
    }
    return absl::OkStatus();
  }

  explicit Page(std::shared_ptr<HeadWords> head_words) : words(std::move(head_words)) {}
  ~Page() { delete filter_.load(); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

 private:
  mutable std::atomic<const Filter*> filter_{nullptr};
};

struct Head::OpenPage {
  std::string text;
  std::vector<int64_t> times;
  std::vector<uint32_t> line_begin{0};
  std::string metadata;                  // encoded: count, then names and values
  std::vector<uint32_t> metadata_begin;  // into `metadata`, one an entry, once any has metadata
  Marks marks;
  NsRange range{kMaxTime, kMinTime};

  void DecodeMetadata(uint32_t entry, std::vector<LabelView>* out) const {
    if (metadata_begin.empty()) return;
    ByteReader in(std::string_view(metadata).substr(metadata_begin[entry]));
    const uint64_t count = in.Varint();
    for (uint64_t i = 0; i < count; ++i) {
      const std::string_view name = in.String();
      const std::string_view value = in.String();
      out->push_back({name, value});
    }
  }
};

struct Head::Stream {
  uint64_t first_sequence = 0;  // 0: has no entries
  NsRange range{kMaxTime, kMinTime};
  std::vector<std::shared_ptr<const Page>> pages;
  std::unique_ptr<OpenPage> open;
};

/// A closed page as a reader sees it.
struct Head::PageChunk final : LogChunk::Impl {
  std::shared_ptr<const Page> page;
  uint32_t count = 0;

  Status Read(uint32_t, const LogScan& scan, LogRows* out, LogScanStats* stats) const override {
    ++stats->groups;
    if (!scan.spec().range.Overlaps(page->range)) {
      stats->skipped_time.Add({1, page->line_bytes});
      EmitRows(scan, Rows(), {}, out);
      return absl::OkStatus();
    }
    const bool asks = !scan.needed().empty();
    const Page::Filter* const filter = asks ? page->filter() : nullptr;
    if (filter != nullptr) {
      const auto needed = page->words->Needed(scan, filter->words_version);
      const auto ruled_out = RuledOutBy(filter->bloom, *needed);
      if (ruled_out.has_value()) {
        SkippedBy(*ruled_out, stats).Add({1, page->line_bytes});
        EmitRows(scan, Rows(), {}, out);
        return absl::OkStatus();
      }
    }
    RowStorage* storage = StorageOf(out);
    if (storage->owner != page) {
      storage->owner = nullptr;
      std::vector<uint32_t> streams;
      VARVE_RETURN_IF_ERROR(DecodePage(page->bytes, &storage->rows, &streams));
      storage->owner = page;
      stats->bytes_decompressed += page->line_bytes;
      stats->bytes_compressed += page->bytes.size();
      ++stats->groups_read;
    }
    if (asks && filter == nullptr) VARVE_RETURN_IF_ERROR(page->MakeFilter(storage->rows));
    return Filter(scan, storage->rows, count, storage, out, stats);
  }
  static Status Filter(const LogScan& scan, const Rows& rows, uint32_t count, RowStorage* storage,
                       LogRows* out, LogScanStats* stats) {
    count = std::min(count, rows.size());
    VARVE_RETURN_IF_ERROR(SelectRows(scan, rows, 0, count, &storage->selected));
    SortAndCollapse(rows, &storage->selected);
    stats->entries += count;
    stats->line_bytes += rows.bytes_of(0, count);
    stats->entries_matched += storage->selected.size();
    EmitRows(scan, rows, storage->selected, out);
    return absl::OkStatus();
  }
};

/// A copy of an open page.
struct Head::OpenChunk final : LogChunk::Impl {
  Rows rows;

  Status Read(uint32_t, const LogScan& scan, LogRows* out, LogScanStats* stats) const override {
    ++stats->groups;
    ++stats->groups_read;
    return PageChunk::Filter(scan, rows, rows.size(), StorageOf(out), out, stats);
  }
};

// --- Writing ---

Head::Head(uint32_t id, const Limits& limits, int64_t newest_time_ns)
    : id_(id), limits_(limits), newest_time_ns_(newest_time_ns) {}
Head::~Head() = default;

uint32_t Head::Find(const SeriesKey& key) const {
  const auto at = by_key_.find(key);
  return at == by_key_.end() ? UINT32_MAX : at->second;
}

uint32_t Head::Create(const SeriesKey& key, LabelsView labels) {
  const uint32_t ordinal = index_.Add(labels);
  VARVE_CHECK(ordinal == streams_.size());
  streams_.emplace_back();
  by_key_.emplace(key, ordinal);
  stream_count_.store(streams_.size(), std::memory_order_relaxed);
  uint64_t bytes = kStreamBytes;
  for (const LabelView& label : labels) bytes += label.name.size() + label.value.size();
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  return ordinal;
}

Result<LogAppendResult> Head::Append(PreparedBatch* prepared, const LogFn& log) {
  const LogBatch& batch = *prepared->batch_;
  LogAppendResult& result = prepared->result_;
  // Which streams are there already? References of another head say nothing here.
  std::vector<uint32_t> ordinals(batch.streams().size(), UINT32_MAX);
  result.refs.assign(batch.streams().size(), 0);
  const auto ref_of = [this](uint32_t ordinal) {
    return (static_cast<uint64_t>(id_) << 32) | (ordinal + 1);
  };
  uint64_t created = 0;
  for (size_t i = 0; i < batch.streams().size(); ++i) {
    const StreamRef ref = batch.streams()[i].ref;
    if (ref != 0) {
      const auto ordinal = static_cast<uint32_t>(ref) - 1;
      if (ref >> 32 != id_ || ordinal >= stream_count()) {
        result.stale_refs = true;
        continue;
      }
      ordinals[i] = ordinal;
      result.refs[i] = ref;
    } else if (prepared->stream_ok_[i]) {
      ordinals[i] = Find(prepared->keys_[i]);
      if (ordinals[i] == UINT32_MAX) {
        ++created;
      } else {
        result.refs[i] = ref_of(ordinals[i]);
      }
    }
  }
  if (result.stale_refs) {
    result.entries = 0;
    return result;
  }
  if (stream_count() + created > limits_.head_streams_max) {
    // Close to the limit it counts that the batch may name a stream twice.
    absl::flat_hash_map<SeriesKey, bool, SeriesKeyHash>
        made;  // new ones, and whether there is room
    uint64_t room =
        limits_.head_streams_max - std::min<uint64_t>(limits_.head_streams_max, stream_count());
    std::vector<bool> refused(batch.streams().size());
    for (size_t i = 0; i < batch.streams().size(); ++i) {
      if (ordinals[i] != UINT32_MAX || !prepared->stream_ok_[i]) continue;
      const auto [stream, first] = made.try_emplace(prepared->keys_[i], room > 0);
      if (first && stream->second) --room;
      if (!stream->second) {
        refused[i] = true;
        prepared->stream_ok_[i] = false;
      }
    }
    for (uint32_t i = 0; i < batch.entries().size(); ++i) {
      if (refused[batch.entries()[i].stream]) {
        prepared->Reject(i, LogRejectReason::kStreamLimit,
                         Concat("the limit is ", limits_.head_streams_max, " streams"));
      }
    }
    if (result.rejected > 0 && !prepared->options_.partial) return prepared->RejectionError();
    prepared->Encode();
  }
  if (prepared->entries_.empty()) return result;

  streams_bytes_.clear();
  PutStreamCount(&streams_bytes_, static_cast<uint32_t>(prepared->used_.size()));
  std::vector<LabelView> labels;
  for (const uint32_t i : prepared->used_) {
    if (batch.streams()[i].ref == 0) {
      PutStream(&streams_bytes_, batch.labels(batch.streams()[i]));
    } else {
      GetLabels(ordinals[i], &labels);
      PutStream(&streams_bytes_, labels);
    }
  }
  const std::string_view pieces[] = {streams_bytes_, prepared->page_};
  VARVE_RETURN_IF_ERROR(log(pieces));

  absl::MutexLock lock(&mutex_);
  std::vector<uint32_t> used;
  used.reserve(prepared->used_.size());
  for (const uint32_t i : prepared->used_) {
    if (ordinals[i] == UINT32_MAX) {
      // The batch may name a stream twice.
      ordinals[i] = Find(prepared->keys_[i]);
      if (ordinals[i] == UINT32_MAX) {
        ordinals[i] = Create(prepared->keys_[i], batch.labels(batch.streams()[i]));
      }
      result.refs[i] = ref_of(ordinals[i]);
    }
    used.push_back(ordinals[i]);
  }
  Apply(used, prepared->entries_, std::move(prepared->page_));
  return result;
}

Status Head::Replay(std::string_view payload) {
  DecodedBatch batch;
  VARVE_RETURN_IF_ERROR(DecodeWalBatch(payload, &batch));
  std::vector<EntryView> entries;
  entries.reserve(batch.rows.size());
  for (uint32_t row = 0; row < batch.rows.size(); ++row) {
    entries.push_back({batch.rows.times[row], batch.rows.line(row), batch.rows.metadata_of(row),
                       batch.streams.empty() ? 0 : batch.streams[row]});
  }
  if (entries.empty()) return absl::OkStatus();
  replayed_entries_ += entries.size();
  absl::MutexLock lock(&mutex_);
  std::vector<uint32_t> ordinals;
  for (size_t i = 0; i < batch.stream_count(); ++i) {
    const SeriesKey key = KeyOf(batch.labels_of(i));
    const uint32_t known = Find(key);
    ordinals.push_back(known == UINT32_MAX ? Create(key, batch.labels_of(i)) : known);
  }
  Apply(ordinals, entries, std::string(batch.page));
  return absl::OkStatus();
}

void Head::Mark(Marks* marks, uint32_t count) const {
  if (!marks->empty() && marks->back().first > newest_pin_) {
    // No reader has pinned what lies between.
    marks->back() = {sequence_, count};
  } else {
    marks->emplace_back(sequence_, count);
  }
}

void Head::NoteNames(std::span<const EntryView> entries) {
  std::string_view last;
  for (const EntryView& entry : entries) {
    for (const LabelView& label : entry.metadata) {
      // Mostly the same constant: its place tells so without a look at the text.
      if (label.name.data() == last.data() && label.name.size() == last.size()) continue;
      if (label.name == last) continue;
      last = label.name;
      if (!metadata_names_.contains(label.name)) metadata_names_.emplace(label.name);
    }
  }
}

void Head::Apply(std::span<const uint32_t> ordinals, std::span<const EntryView> entries,
                 std::string page) {
  ++sequence_;
  NoteNames(entries);
  NsRange range{kMaxTime, kMinTime};
  uint64_t line_bytes = 0;
  for (const EntryView& entry : entries) {
    range.min_ns = std::min(range.min_ns, entry.time_ns);
    range.max_ns = std::max(range.max_ns, entry.time_ns);
    line_bytes += entry.line.size();
  }
  uint64_t bytes = 0;
  if (ordinals.size() == 1 && line_bytes >= kOwnPageLineBytes) {
    bytes += page.size();
    AddPage(&streams_[ordinals[0]], range, entries.size(), line_bytes, std::move(page));
  } else {
    for (const EntryView& entry : entries) {
      Stream& stream = streams_[ordinals[entry.stream]];
      if (stream.first_sequence == 0) stream.first_sequence = sequence_;
      stream.range.min_ns = std::min(stream.range.min_ns, entry.time_ns);
      stream.range.max_ns = std::max(stream.range.max_ns, entry.time_ns);
      if (stream.open != nullptr &&
          (stream.open->text.size() + entry.line.size() > kPageLineBytes ||
           stream.open->times.size() >= kPageEntries)) {
        CloseOpenPage(&stream);
      }
      if (stream.open == nullptr) stream.open = std::make_unique<OpenPage>();
      OpenPage& open = *stream.open;
      if (!entry.metadata.empty() || !open.metadata_begin.empty()) {
        while (open.metadata_begin.size() <= open.times.size()) {
          open.metadata_begin.push_back(static_cast<uint32_t>(open.metadata.size()));
          if (open.metadata_begin.size() <= open.times.size()) PutVarint(&open.metadata, 0);
        }
        PutVarint(&open.metadata, entry.metadata.size());
        for (const LabelView& label : entry.metadata) {
          PutString(&open.metadata, label.name);
          PutString(&open.metadata, label.value);
          bytes += label.name.size() + label.value.size() + 2;
        }
      }
      open.text.append(entry.line);
      open.times.push_back(entry.time_ns);
      open.line_begin.push_back(static_cast<uint32_t>(open.text.size()));
      open.range.min_ns = std::min(open.range.min_ns, entry.time_ns);
      open.range.max_ns = std::max(open.range.max_ns, entry.time_ns);
      Mark(&open.marks, static_cast<uint32_t>(open.times.size()));
      bytes += entry.line.size() + 16;
    }
  }
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  line_bytes_.fetch_add(line_bytes, std::memory_order_relaxed);
  entries_.fetch_add(entries.size(), std::memory_order_relaxed);
  min_time_ns_.store(std::min(min_time_ns_.load(), range.min_ns));
  max_time_ns_.store(std::max(max_time_ns_.load(), range.max_ns));
  newest_time_ns_.store(std::max(newest_time_ns_.load(), range.max_ns));
}

void Head::AddPage(Stream* stream, NsRange range, size_t entries, uint64_t line_bytes,
                   std::string bytes) {
  if (stream->open != nullptr) CloseOpenPage(stream);
  if (stream->first_sequence == 0) stream->first_sequence = sequence_;
  auto page = std::make_shared<Page>(words_);
  page->bytes = std::move(bytes);
  page->entries = static_cast<uint32_t>(entries);
  page->range = range;
  page->line_bytes = line_bytes;
  stream->range.min_ns = std::min(stream->range.min_ns, page->range.min_ns);
  stream->range.max_ns = std::max(stream->range.max_ns, page->range.max_ns);
  page->marks.emplace_back(sequence_, page->entries);
  stream->pages.push_back(std::move(page));
}

void Head::CloseOpenPage(Stream* stream) {
  OpenPage& open = *stream->open;
  const auto count = static_cast<uint32_t>(open.times.size());
  std::vector<LabelView> metadata;
  std::vector<size_t> begins;
  for (uint32_t i = 0; i < count; ++i) {
    begins.push_back(metadata.size());
    open.DecodeMetadata(i, &metadata);
  }
  begins.push_back(metadata.size());
  std::vector<EntryView> entries;
  entries.reserve(count);
  const std::string_view text = open.text;
  for (uint32_t i = 0; i < count; ++i) {
    entries.push_back({open.times[i],
                       text.substr(open.line_begin[i], open.line_begin[i + 1] - open.line_begin[i]),
                       LabelsView(metadata).subspan(begins[i], begins[i + 1] - begins[i]), 0});
  }
  auto page = std::make_shared<Page>(words_);
  EncodePage(entries, true, &page->bytes);
  page->marks = std::move(open.marks);
  page->range = open.range;
  page->entries = count;
  page->line_bytes = open.text.size();
  const uint64_t before = open.text.size() + open.metadata.size() + 16 * count;
  const uint64_t counted = std::min(before, bytes_.load(std::memory_order_relaxed));
  bytes_.fetch_sub(counted, std::memory_order_relaxed);
  bytes_.fetch_add(page->bytes.size(), std::memory_order_relaxed);
  stream->pages.push_back(std::move(page));
  stream->open.reset();
}

// --- Reading ---

NsRange Head::range() const { return {min_time_ns_.load(), max_time_ns_.load()}; }

uint64_t Head::Pin() const {
  absl::MutexLock lock(&mutex_);
  newest_pin_ = sequence_;
  return sequence_;
}

std::vector<uint32_t> Head::Select(std::span<const index::CompiledMatcher> matchers, uint64_t pin,
                                   NsRange range) const {
  std::vector<uint32_t> found;
  absl::MutexLock lock(&mutex_);
  index_.Select(matchers).ToVector(&found);
  std::erase_if(found, [&](uint32_t ordinal) {
    mutex_.AssertReaderHeld();
    const Stream& stream = streams_[ordinal];
    return stream.first_sequence == 0 || stream.first_sequence > pin ||
           !stream.range.Overlaps(range);
  });
  label_order_.Sort(index_, &found);
  return found;
}

void Head::GetLabels(uint32_t stream,
                     std::vector<LabelView>* out) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // Labels of a stream that exists never change: see MemoryIndex.
  index_.GetLabels(stream, out);
}
std::string_view Head::GetLabel(uint32_t stream,
                                std::string_view name) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  return index_.GetLabel(stream, name);
}

void Head::GetChunks(uint32_t stream, uint64_t pin, NsRange range,
                     std::vector<LogChunk>* out) const {
  absl::MutexLock lock(&mutex_);
  const Stream& from = streams_[stream];
  for (const std::shared_ptr<const Page>& page : from.pages) {
    if (!page->range.Overlaps(range)) continue;
    const uint32_t count = CountAt(page->marks, pin);
    if (count == 0) continue;
    auto impl = std::make_shared<PageChunk>();
    impl->page = page;
    impl->count = count;
    out->push_back({count, page->range.min_ns, page->range.max_ns, page->line_bytes, impl, 0});
  }
  if (from.open == nullptr || !from.open->range.Overlaps(range)) return;
  const OpenPage& open = *from.open;
  const uint32_t count = CountAt(open.marks, pin);
  if (count == 0) return;
  auto impl = std::make_shared<OpenChunk>();
  Rows& rows = impl->rows;
  rows.times.assign(open.times.begin(), open.times.begin() + count);
  rows.ascending = std::is_sorted(rows.times.begin(), rows.times.end());
  rows.line_begin.assign(open.line_begin.begin(), open.line_begin.begin() + count + 1);
  const uint32_t text_bytes = rows.line_begin.back();
  rows.text.reserve(text_bytes + index::kScanPadding);
  rows.text.assign(open.text, 0, text_bytes);
  rows.text.append(index::kScanPadding, '\0');
  if (!open.metadata_begin.empty()) {
    std::vector<LabelView> metadata;
    for (uint32_t i = 0; i < count; ++i) {
      rows.metadata_begin.push_back(static_cast<uint32_t>(metadata.size()));
      open.DecodeMetadata(i, &metadata);
    }
    rows.metadata_begin.push_back(static_cast<uint32_t>(metadata.size()));
    // The same places in a copy of the bytes.
    rows.metadata_text = open.metadata;
    const auto moved = [&](std::string_view view) {
      return std::string_view(rows.metadata_text)
          .substr(static_cast<size_t>(view.data() - open.metadata.data()), view.size());
    };
    for (const LabelView& label : metadata) {
      rows.metadata.push_back({moved(label.name), moved(label.value)});
    }
  }
  const auto [low, high] = std::minmax_element(rows.times.begin(), rows.times.end());
  out->push_back({count, *low, *high, text_bytes, impl, 0});
}

void Head::AddVolume(uint32_t stream, uint64_t pin, NsRange range, LogVolume* out) const {
  absl::MutexLock lock(&mutex_);
  const Stream& from = streams_[stream];
  for (const std::shared_ptr<const Page>& page : from.pages) {
    const uint32_t count = CountAt(page->marks, pin);
    if (count == 0 || !page->range.Overlaps(range)) continue;
    ++out->chunks;
    out->entries += count;
    out->line_bytes += page->line_bytes;
  }
  if (from.open == nullptr || !from.open->range.Overlaps(range)) return;
  const uint32_t count = CountAt(from.open->marks, pin);
  if (count == 0) return;
  ++out->chunks;
  out->entries += count;
  out->line_bytes += from.open->line_begin[count];
}

void Head::WithIndex(const std::function<void(const index::MemoryIndex&)>& use) const {
  absl::MutexLock lock(&mutex_);
  use(index_);
}

std::vector<std::string> Head::MetadataNames() const {
  absl::MutexLock lock(&mutex_);
  return {metadata_names_.begin(), metadata_names_.end()};
}

}  // namespace varve::logs
