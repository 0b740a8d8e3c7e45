#include "query/logs/entry_labels.h"

#include <algorithm>

namespace varve::query {

void EntryLabels::SetStream(LabelsView stream) {
  stream_ = stream;
  ++stream_number_;
}

void EntryLabels::Reset(LabelsView metadata) {
  deleted_.clear();
  added_[0].clear();
  added_[1].clear();
  added_[2].clear();
  index_.clear();
  metadata_changed_ = false;
  error_ = {};
  error_details_ = {};
  arena_.Clear();
  for (const LabelView& label : metadata) {
    if (label.name == kErrorLabel) {
      error_ = label.value;
    } else if (label.name == kErrorDetailsLabel) {
      error_details_ = label.value;
    } else if (!StreamHas(label.name)) {
      added_[1].push_back(label);
    } else {
      Set(Part::kMetadata, arena_.Copy(Concat(label.name, kExtractedSuffix)), label.value);
    }
  }
}

int64_t EntryLabels::FindAdded(Part part, std::string_view name) const {
  const auto& labels = added_[static_cast<int>(part)];
  if (part == Part::kParsed && !index_.empty()) {
    const auto found = index_.find(name);
    return found == index_.end() ? -1 : static_cast<int64_t>(found->second);
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].name == name) return static_cast<int64_t>(i);
  }
  return -1;
}

bool EntryLabels::MetadataHas(std::string_view name) const {
  return FindAdded(Part::kMetadata, name) >= 0;
}

std::optional<std::string_view> EntryLabels::Get(std::string_view name, Part* part) const {
  if (name.starts_with("__error")) {
    if (name == kErrorLabel && !error_.empty()) {
      if (part != nullptr) *part = Part::kParsed;
      return error_;
    }
    if (name == kErrorDetailsLabel && !error_details_.empty()) {
      if (part != nullptr) *part = Part::kParsed;
      return error_details_;
    }
  }
  for (const Part p : {Part::kParsed, Part::kMetadata, Part::kStream}) {
    const int64_t at = FindAdded(p, name);
    if (at < 0) continue;
    if (part != nullptr) *part = p;
    return added_[static_cast<int>(p)][static_cast<size_t>(at)].value;
  }
  const int at = FindLabelIndex(stream_, name);
  if (at < 0 || IsDeleted(static_cast<size_t>(at))) return std::nullopt;
  if (part != nullptr) *part = Part::kStream;
  return stream_[static_cast<size_t>(at)].value;
}

void EntryLabels::DeleteFromStream(std::string_view name) {
  const int at = FindLabelIndex(stream_, name);
  if (at < 0) return;
  if (deleted_.size() <= static_cast<size_t>(at)) deleted_.resize(static_cast<size_t>(at) + 1);
  deleted_[static_cast<size_t>(at)] = true;
}

void EntryLabels::Erase(Part part, std::string_view name) {
  const int64_t at = FindAdded(part, name);
  if (at < 0) return;
  auto& labels = added_[static_cast<int>(part)];
  if (part == Part::kMetadata) metadata_changed_ = true;
  if (part == Part::kParsed && !index_.empty()) {
    // Keeps the index right without renumbering; order inside a part means nothing.
    index_.erase(labels[static_cast<size_t>(at)].name);
    if (static_cast<size_t>(at) + 1 != labels.size()) {
      labels[static_cast<size_t>(at)] = labels.back();
      index_[labels[static_cast<size_t>(at)].name] = static_cast<uint32_t>(at);
    }
    labels.pop_back();
    return;
  }
  labels.erase(labels.begin() + at);
}

void EntryLabels::Set(Part part, std::string_view name, std::string_view value) {
  if (name.starts_with("__error")) {
    if (name == kErrorLabel) {
      error_ = value;
      return;
    }
    if (name == kErrorDetailsLabel) {
      error_details_ = value;
      return;
    }
  }
  // A later part hides the earlier ones; what is hidden already stays hidden.
  if (part == Part::kParsed) {
    if (!added_[1].empty()) Erase(Part::kMetadata, name);
  } else if (FindAdded(Part::kParsed, name) >= 0) {
    return;
  }
  if (part == Part::kStream) {
    if (FindAdded(Part::kMetadata, name) >= 0) return;
  } else if (!added_[0].empty()) {
    Erase(Part::kStream, name);
  }
  DeleteFromStream(name);
  if (part == Part::kMetadata && FindAdded(part, name) >= 0) metadata_changed_ = true;
  auto& labels = added_[static_cast<int>(part)];
  const int64_t at = FindAdded(part, name);
  if (at >= 0) {
    labels[static_cast<size_t>(at)].value = value;
    return;
  }
  labels.push_back({name, value});
  if (part != Part::kParsed) return;
  if (!index_.empty()) {
    index_[name] = static_cast<uint32_t>(labels.size() - 1);
  } else if (labels.size() > kLinearMax) {
    for (size_t i = 0; i < labels.size(); ++i) index_[labels[i].name] = static_cast<uint32_t>(i);
  }
}

void EntryLabels::Delete(std::string_view name) {
  if (name == kErrorLabel) return ResetError();
  if (name == kErrorDetailsLabel) return ResetErrorDetails();
  DeleteFromStream(name);
  for (const Part part : {Part::kStream, Part::kMetadata, Part::kParsed}) {
    if (!added_[static_cast<int>(part)].empty()) Erase(part, name);
  }
}

void EntryLabels::SetError(std::string_view error, std::string_view details) {
  if (!error_.empty()) return;
  error_ = error;
  error_details_ = details;
}

}  // namespace varve::query
