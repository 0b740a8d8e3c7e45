#include "varve/labels.h"

#include <algorithm>
#include <cstring>

#include "engine/base/hash.h"
#include "engine/base/strings.h"

namespace varve {

bool IsCanonical(LabelsView labels) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].name.empty() || labels[i].value.empty()) return false;
    if (i > 0 && labels[i - 1].name >= labels[i].name) return false;
  }
  return true;
}

std::strong_ordering CompareLabels(LabelsView a, LabelsView b) {
  const size_t shared = std::min(a.size(), b.size());
  for (size_t i = 0; i < shared; ++i) {
    if (const auto order = a[i].name <=> b[i].name; order != 0) return order;
    if (const auto order = a[i].value <=> b[i].value; order != 0) return order;
  }
  return a.size() <=> b.size();
}

std::string_view FindLabel(LabelsView labels, std::string_view name) {
  for (const LabelView& label : labels) {
    if (label.name == name) return label.value;
  }
  return {};
}

SeriesKey KeyOf(LabelsView labels) {
  char small[1024];
  size_t bytes = 0;
  for (const LabelView& label : labels) bytes += label.name.size() + label.value.size() + 10;
  std::string large;
  char* begin = small;
  if (bytes > sizeof small) {
    large.resize(bytes);
    begin = large.data();
  }
  char* out = begin;
  const auto put = [&out](std::string_view text) {
    std::memcpy(out, text.data(), text.size());
    out += text.size();
    *out++ = static_cast<char>(0xff);
    const auto size = static_cast<uint32_t>(text.size());
    std::memcpy(out, &size, sizeof size);
    out += sizeof size;
  };
  for (const LabelView& label : labels) {
    put(label.name);
    put(label.value);
  }
  return Hash128(std::string_view(begin, out - begin));
}

void Labels::Assign(LabelsView labels) {
  size_t bytes = 0;
  for (const LabelView& label : labels) bytes += label.name.size() + label.value.size();
  std::string buffer;
  buffer.reserve(bytes);
  std::vector<LabelView> views;
  views.reserve(labels.size());
  for (const LabelView& label : labels) {
    buffer.append(label.name);
    buffer.append(label.value);
  }
  // A short string lives inside the object, so views are made over the final place.
  bytes_ = std::move(buffer);
  const char* at = bytes_.data();
  for (const LabelView& label : labels) {
    const std::string_view name(at, label.name.size());
    at += name.size();
    const std::string_view value(at, label.value.size());
    at += value.size();
    views.push_back({name, value});
  }
  views_ = std::move(views);
}

Labels::Labels(LabelsView labels) { Assign(labels); }

Labels::Labels(std::initializer_list<std::pair<std::string_view, std::string_view>> labels) {
  std::vector<LabelView> views;
  for (const auto& [name, value] : labels) {
    const auto same = std::find_if(views.begin(), views.end(),
                                   [&, n = name](const LabelView& v) { return v.name == n; });
    if (same != views.end()) {
      same->value = value;
    } else {
      views.push_back({name, value});
    }
  }
  std::erase_if(views, [](const LabelView& label) { return label.value.empty(); });
  std::sort(views.begin(), views.end());
  Assign(views);
}

Labels::Labels(const Labels& other) { Assign(other.views_); }
Labels& Labels::operator=(const Labels& other) {
  if (this != &other) Assign(other.views_);
  return *this;
}

// Moving a short string moves its bytes, so views into it must be rebuilt; long ones stay put.
Labels::Labels(Labels&& other) noexcept { *this = std::move(other); }
Labels& Labels::operator=(Labels&& other) noexcept {
  if (this == &other) return *this;
  const char* before = other.bytes_.data();
  bytes_ = std::move(other.bytes_);
  views_ = std::move(other.views_);
  if (bytes_.data() != before) {
    const ptrdiff_t moved = bytes_.data() - before;
    for (LabelView& view : views_) {
      view.name = {view.name.data() + moved, view.name.size()};
      view.value = {view.value.data() + moved, view.value.size()};
    }
  }
  other.bytes_.clear();
  other.views_.clear();
  return *this;
}

Result<Labels> Labels::Make(std::vector<LabelView> labels) {
  std::sort(labels.begin(), labels.end(),
            [](const LabelView& a, const LabelView& b) { return a.name < b.name; });
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].name.empty()) {
      return MakeStatus(StatusCode::kInvalidArgument, "label with an empty name");
    }
    if (i > 0 && labels[i - 1].name == labels[i].name) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("label name ", GoQuote(labels[i].name), " is not unique"));
    }
  }
  std::erase_if(labels, [](const LabelView& label) { return label.value.empty(); });
  Labels out;
  out.Assign(labels);
  return out;
}

std::string ToString(LabelsView labels) {
  const auto is_plain = [](std::string_view name, bool colons) {
    if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
    return std::all_of(name.begin(), name.end(), [colons](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '_' || (colons && c == ':');
    });
  };
  std::string out;
  std::string rest;
  for (const LabelView& label : labels) {
    if (label.name == kMetricName && is_plain(label.value, true)) {
      out = std::string(label.value);
      continue;
    }
    if (!rest.empty()) rest += ", ";
    if (label.name == kMetricName) {
      rest += GoQuote(label.value);
    } else {
      rest += is_plain(label.name, false) ? std::string(label.name) : GoQuote(label.name);
      rest += '=';
      rest += GoQuote(label.value);
    }
  }
  if (rest.empty() && !out.empty()) return out;
  return Concat(out, "{", rest, "}");
}

std::string ToString(const Matcher& matcher) {
  static constexpr std::string_view kSigns[] = {"=", "!=", "=~", "!~"};
  return Concat(matcher.name, kSigns[static_cast<size_t>(matcher.type)], GoQuote(matcher.value));
}

}  // namespace varve
