#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/arena.h"
#include "engine/base/strings.h"
#include "varve/labels.h"

namespace varve::query {

inline constexpr std::string_view kErrorLabel = "__error__";
inline constexpr std::string_view kErrorDetailsLabel = "__error_details__";
inline constexpr std::string_view kPreserveErrorLabel = "__preserve_error__";
inline constexpr std::string_view kExtractedSuffix = "_extracted";

/// Keeps bytes that are made while one entry is processed. Clear keeps the memory.
class EntryArena {
 public:
  std::string_view Copy(std::string_view bytes) {
    used_ = true;
    return arena_.Copy(bytes);
  }
  /// Gives `size` bytes to fill.
  char* Allocate(size_t size) {
    used_ = true;
    return arena_.Allocate(size);
  }
  void Clear() {
    if (std::exchange(used_, false)) arena_.Clear();
  }

 private:
  Arena arena_{16 * 1024};
  bool used_ = false;
};

/// The labels of one entry while its stages run. Three parts: the stream's, structured metadata,
/// and parsed ones; a name is in one of them. Values and names are views: they must live as long as
/// the entry is processed.
///
/// Cost: small sets are searched linearly, large ones by hash, so that a line of a million labels
/// stays linear.
class EntryLabels {
 public:
  enum class Part : uint8_t { kStream = 0, kMetadata = 1, kParsed = 2 };

  /// Starts a stream. The labels must live until the next SetStream. Gives a number that changes
  /// with the stream, for caches of what depends on it.
  void SetStream(LabelsView stream);
  uint64_t stream_number() const { return stream_number_; }
  /// Starts an entry of the stream. A metadata name that the stream has gets `_extracted`.
  void Reset(LabelsView metadata);

  EntryArena& arena() { return arena_; }

  bool StreamHas(std::string_view name) const { return FindLabelIndex(stream_, name) >= 0; }
  bool MetadataHas(std::string_view name) const;
  /// Says whether a parser must add `_extracted` to a name.
  bool Collides(std::string_view name) const { return StreamHas(name) || MetadataHas(name); }
  /// Says whether a parser, or a stage like it, has set a name.
  bool ParsedHas(std::string_view name) const { return FindAdded(Part::kParsed, name) >= 0; }

  /// Gives the value of a label and the part that it is in; error labels count as parsed.
  std::optional<std::string_view> Get(std::string_view name, Part* part = nullptr) const;
  /// Gives the value or "".
  std::string_view Value(std::string_view name) const { return Get(name).value_or(""); }

  /// Sets a label; it leaves the parts before. Error names set the error.
  void Set(Part part, std::string_view name, std::string_view value);
  void Delete(std::string_view name);

  bool has_error() const { return !error_.empty(); }
  std::string_view error() const { return error_; }
  std::string_view error_details() const { return error_details_; }
  /// Marks the entry; the first error stays.
  void SetError(std::string_view error, std::string_view details);
  void ResetError() { error_ = {}; }
  void ResetErrorDetails() { error_details_ = {}; }

  /// True if no stage has changed anything: the labels are the stream's and the metadata's.
  bool untouched() const {
    return deleted_.empty() && added_[2].empty() && added_[0].empty() && !metadata_changed_ &&
           error_.empty() && error_details_.empty();
  }
  LabelsView stream() const { return stream_; }

  /// Calls `visit(part, name, value)` for every label, error labels last; parts in order, unsorted
  /// inside.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (size_t i = 0; i < stream_.size(); ++i) {
      if (!IsDeleted(i)) visit(Part::kStream, stream_[i].name, stream_[i].value);
    }
    for (int part = 0; part < 3; ++part) {
      for (const LabelView& label : added_[part]) {
        visit(static_cast<Part>(part), label.name, label.value);
      }
    }
    if (!error_.empty()) visit(Part::kParsed, kErrorLabel, error_);
    if (!error_details_.empty()) visit(Part::kParsed, kErrorDetailsLabel, error_details_);
  }

 private:
  static constexpr size_t kLinearMax = 48;

  static int FindLabelIndex(LabelsView labels, std::string_view name) {
    for (size_t i = 0; i < labels.size(); ++i) {
      if (labels[i].name == name) return static_cast<int>(i);
    }
    return -1;
  }
  bool IsDeleted(size_t stream_index) const {
    return stream_index < deleted_.size() && deleted_[stream_index];
  }
  int64_t FindAdded(Part part, std::string_view name) const;
  void Erase(Part part, std::string_view name);
  void DeleteFromStream(std::string_view name);

  LabelsView stream_;
  uint64_t stream_number_ = 0;
  std::vector<bool> deleted_;  // of stream_; shorter means false
  std::vector<LabelView> added_[3];
  bool metadata_changed_ = false;
  /// Where parsed names are, once there are many.
  absl::flat_hash_map<std::string_view, uint32_t, StringHash, StringEqual> index_;
  std::string_view error_;
  std::string_view error_details_;
  EntryArena arena_;
};

}  // namespace varve::query
