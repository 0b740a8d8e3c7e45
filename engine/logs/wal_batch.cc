#include "engine/logs/wal_batch.h"

#include <algorithm>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/logs/page.h"

namespace varve::logs {

void PutStreamCount(std::string* out, uint32_t streams) { PutVarint(out, streams); }

void PutStream(std::string* out, LabelsView labels) {
  PutVarint(out, labels.size());
  for (const LabelView& label : labels) {
    PutString(out, label.name);
    PutString(out, label.value);
  }
}

Status DecodeWalBatch(std::string_view payload, DecodedBatch* out) {
  const auto malformed = [](std::string_view what) { return DataLossError("log batch", 0, what); };
  out->labels.clear();
  out->labels_begin.clear();
  ByteReader in(payload);
  const uint64_t streams = in.Count(1);
  for (uint64_t i = 0; i < streams; ++i) {
    out->labels_begin.push_back(static_cast<uint32_t>(out->labels.size()));
    const uint64_t labels = in.Count(2);
    for (uint64_t k = 0; k < labels; ++k) {
      const std::string_view name = in.String();
      const std::string_view value = in.String();
      out->labels.push_back({name, value});
    }
    if (!in.ok()) return malformed("bad stream");
    const LabelsView view = LabelsView(out->labels).subspan(out->labels_begin.back());
    if (view.empty() || !IsCanonical(view)) return malformed("labels are not canonical");
  }
  out->labels_begin.push_back(static_cast<uint32_t>(out->labels.size()));
  if (!in.ok()) return malformed("bad streams");
  out->page = in.Bytes(in.left());
  VARVE_RETURN_IF_ERROR(DecodePage(out->page, &out->rows, &out->streams));
  const uint32_t most =
      out->streams.empty() ? 0 : *std::max_element(out->streams.begin(), out->streams.end());
  if (out->rows.size() > 0 && most >= streams) return malformed("entry of an unknown stream");
  for (uint32_t row = 0; row < out->rows.size(); ++row) {
    const LabelsView metadata = out->rows.metadata_of(row);
    for (size_t i = 0; i < metadata.size(); ++i) {
      if (metadata[i].name.empty() || (i > 0 && metadata[i].name <= metadata[i - 1].name)) {
        return malformed("metadata is not sorted");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace varve::logs
