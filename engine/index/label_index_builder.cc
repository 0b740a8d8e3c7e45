#include <zstd.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "engine/base/arena.h"
#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/label_index.h"
#include "engine/index/label_index_format.h"

namespace varve::index {
namespace {

constexpr int kZstdLevel = 9;
constexpr int kZstdLevelLarge = 3;  // for streams that would take long
constexpr size_t kLargeBytes = size_t{4} << 20;

constexpr uint32_t kUnknown = UINT32_MAX;

using Streams = std::array<std::string, kStreamCount>;

std::string Assemble(const Streams& streams, std::string_view head, bool compress) {
  std::string out(head);
  for (const std::string& raw : streams) {
    std::string packed;
    if (compress && raw.size() > 32) {
      packed.resize(ZSTD_compressBound(raw.size()));
      const size_t bytes = ZSTD_compress(packed.data(), packed.size(), raw.data(), raw.size(),
                                         raw.size() > kLargeBytes ? kZstdLevelLarge : kZstdLevel);
      VARVE_CHECK(!ZSTD_isError(bytes));
      packed.resize(bytes);
    }
    const bool use = !packed.empty() && packed.size() < raw.size();
    out.push_back(static_cast<char>(use ? StreamCodec::kZstd : StreamCodec::kRaw));
    PutVarint(&out, raw.size());
    PutVarint(&out, use ? packed.size() : raw.size());
    out.append(use ? packed : raw);
  }
  return out;
}

}  // namespace

struct LabelIndexBuilder::State {
  struct Name {
    std::string_view text;
    StringViewMap<uint32_t> ids;           // value -> id in order of appearance
    std::vector<std::string_view> values;  // by id
    std::vector<uint32_t> column;          // ids, in the order of series
  };

  struct Found {
    uint32_t name = kUnknown;
    uint32_t value = kUnknown;
  };

  Arena arena{size_t{64} << 10};
  StringViewMap<uint32_t> name_ids;  // in order of appearance
  std::vector<Name> names;
  StringMap<uint32_t> shape_ids;  // bytes of name ids -> shape
  std::vector<std::vector<uint32_t>> shapes;
  std::vector<uint32_t> series_shapes;
  std::vector<LabelView> last;    // labels of the series before, in the arena
  std::vector<Found> last_found;  // and their ids
  std::vector<Found> found;       // scratch of Add
  std::string shape;
  uint64_t bytes = 0;  // of what a reader will hold
};

LabelIndexBuilder::LabelIndexBuilder() : state_(std::make_unique<State>()) {}
LabelIndexBuilder::~LabelIndexBuilder() = default;
LabelIndexBuilder::LabelIndexBuilder(LabelIndexBuilder&&) noexcept = default;
LabelIndexBuilder& LabelIndexBuilder::operator=(LabelIndexBuilder&&) noexcept = default;

uint32_t LabelIndexBuilder::size() const {
  return static_cast<uint32_t>(state_->series_shapes.size());
}

Status LabelIndexBuilder::Add(LabelsView labels) {
  State& s = *state_;
  if (!IsCanonical(labels)) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("labels of series ", size(), " are not canonical"));
  }
  if (size() > 0 && CompareLabels(s.last, labels) != std::strong_ordering::less) {
    return MakeStatus(
        StatusCode::kInvalidArgument,
        Concat("series ", size(), " does not sort after the one before: ", ToString(labels)));
  }
  if (size() == kSeriesMax || labels.size() > kLabelsPerSeriesMax) {
    return MakeStatus(StatusCode::kResourceExhausted, "label index: too many series or labels");
  }
  // First look everything up, so that nothing is changed when a limit is hit.
  uint64_t new_bytes = 8 + 4 * labels.size();
  uint32_t new_names = 0;
  s.found.assign(labels.size(), {});
  for (size_t i = 0; i < labels.size(); ++i) {
    const LabelView& label = labels[i];
    State::Found& found = s.found[i];
    // Neighbours in the order of labels share most of them.
    if (i < s.last.size() && s.last[i].name == label.name) {
      found.name = s.last_found[i].name;
      if (s.last[i].value == label.value) found.value = s.last_found[i].value;
    } else if (const auto known = s.name_ids.find(label.name); known != s.name_ids.end()) {
      found.name = known->second;
    } else {
      ++new_names;
    }
    if (found.name != kUnknown && found.value == kUnknown) {
      const auto& ids = s.names[found.name].ids;
      const auto known = ids.find(label.value);
      if (known != ids.end()) found.value = known->second;
    }
    if (found.value == kUnknown) new_bytes += label.value.size() + 4;
  }
  if (s.bytes + new_bytes > kLabelIndexBytesMax || s.names.size() + new_names > kLabelNamesMax) {
    return MakeStatus(StatusCode::kResourceExhausted, "label index: too many names or bytes");
  }
  s.bytes += new_bytes;
  s.shape.clear();
  s.last.resize(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const LabelView& label = labels[i];
    State::Found& found = s.found[i];
    if (found.name == kUnknown) {
      found.name = static_cast<uint32_t>(s.names.size());
      const std::string_view text = s.arena.Copy(label.name);
      s.name_ids.emplace(text, found.name);
      s.names.emplace_back().text = text;
    }
    State::Name& column = s.names[found.name];
    if (found.value == kUnknown) {
      found.value = static_cast<uint32_t>(column.values.size());
      const std::string_view text = s.arena.Copy(label.value);
      column.ids.emplace(text, found.value);
      column.values.push_back(text);
    }
    column.column.push_back(found.value);
    PutFixed<uint32_t>(&s.shape, found.name);
    s.last[i] = {column.text, column.values[found.value]};
  }
  std::swap(s.last_found, s.found);
  auto known = s.shape_ids.find(s.shape);
  if (known == s.shape_ids.end()) {
    known = s.shape_ids.emplace(s.shape, static_cast<uint32_t>(s.shapes.size())).first;
    std::vector<uint32_t>& names = s.shapes.emplace_back();
    for (const State::Found& found : s.last_found) names.push_back(found.name);
  }
  s.series_shapes.push_back(known->second);
  return absl::OkStatus();
}

std::string LabelIndexBuilder::Finish() {
  State& s = *state_;
  // Ids by appearance become ranks among the sorted names and values.
  std::vector<uint32_t> name_order(s.names.size());
  std::iota(name_order.begin(), name_order.end(), 0);
  std::sort(name_order.begin(), name_order.end(),
            [&](uint32_t a, uint32_t b) { return s.names[a].text < s.names[b].text; });
  std::vector<uint32_t> name_rank(s.names.size());
  for (uint32_t rank = 0; rank < name_order.size(); ++rank) name_rank[name_order[rank]] = rank;

  const auto encode = [&](bool share_prefixes) {
    Streams out;
    uint64_t value_count = 0;
    for (const uint32_t id : name_order) {
      const State::Name& name = s.names[id];
      std::vector<uint32_t> order(name.values.size());
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(),
                [&](uint32_t a, uint32_t b) { return name.values[a] < name.values[b]; });
      std::vector<uint32_t> rank(order.size());
      std::string_view before;
      for (uint32_t i = 0; i < order.size(); ++i) {
        rank[order[i]] = i;
        const std::string_view value = name.values[order[i]];
        size_t shared = 0;
        if (share_prefixes) {
          while (shared < before.size() && shared < value.size() &&
                 before[shared] == value[shared]) {
            ++shared;
          }
        }
        PutVarint(&out[kStreamValueLengths], shared);
        PutVarint(&out[kStreamValueLengths], value.size() - shared);
        out[kStreamValueBytes].append(value.substr(shared));
        before = value;
      }
      value_count += order.size();
      const size_t column_begin = out[kStreamColumns].size();
      int64_t last = 0;
      for (const uint32_t value : name.column) {
        PutSigned(&out[kStreamColumns], int64_t{rank[value]} - last);
        last = rank[value];
      }
      PutString(&out[kStreamNames], name.text);
      PutVarint(&out[kStreamNames], order.size());
      PutVarint(&out[kStreamNames], out[kStreamColumns].size() - column_begin);
    }
    for (const std::vector<uint32_t>& shape : s.shapes) {
      PutVarint(&out[kStreamShapes], shape.size());
      uint32_t next = 0;
      for (const uint32_t id : shape) {
        PutVarint(&out[kStreamShapes], name_rank[id] - next);
        next = name_rank[id] + 1;
      }
    }
    for (const uint32_t shape : s.series_shapes) PutVarint(&out[kStreamSeriesShapes], shape);
    std::string head;
    PutFixed<uint32_t>(&head, kLabelIndexMagic);
    PutVarint(&head, s.series_shapes.size());
    PutVarint(&head, s.names.size());
    PutVarint(&head, s.shapes.size());
    PutVarint(&head, value_count);
    return std::pair(std::move(out), std::move(head));
  };

  uint64_t string_bytes = 0;
  for (const State::Name& name : s.names) {
    for (const std::string_view value : name.values) string_bytes += value.size();
  }
  auto [streams, head] = encode(/*share_prefixes=*/true);
  uint64_t stream_bytes = 0;
  for (const std::string& stream : streams) stream_bytes += stream.size();
  std::string out = Assemble(streams, head, /*compress=*/true);
  if (stream_bytes > ExpansionMax(out.size()) || string_bytes > ExpansionMax(out.size())) {
    if (string_bytes > ExpansionMax(stream_bytes)) {
      std::tie(streams, head) = encode(/*share_prefixes=*/false);
    }
    out = Assemble(streams, head, /*compress=*/false);
  }
  state_ = std::make_unique<State>();
  return out;
}

}  // namespace varve::index
