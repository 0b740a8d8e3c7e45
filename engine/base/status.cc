#include "varve/status.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve {
namespace {
constexpr char kFilePlaceUrl[] = "varve/file-place";
constexpr char kTextPlaceUrl[] = "varve/text-place";
}  // namespace

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "varve: %s:%d: invariant broken: %s\n", file, line, condition);
  std::abort();
}

Status MakeStatus(StatusCode code, std::string_view message) {
  return Status(code, ToAbsl(message));
}

Status DataLossError(std::string_view file, uint64_t offset, std::string_view what) {
  Status status = MakeStatus(StatusCode::kDataLoss, Concat(file, ":", offset, ": ", what));
  status.SetPayload(kFilePlaceUrl, absl::Cord(ToAbsl(Concat(offset, ":", file))));
  return status;
}

Status TextError(TextPlace place, std::string_view what) {
  Status status = MakeStatus(StatusCode::kInvalidArgument, what);
  status.SetPayload(kTextPlaceUrl, absl::Cord(ToAbsl(Concat(place.line, ":", place.column))));
  return status;
}

std::optional<FilePlace> FilePlaceOf(const Status& status) {
  const auto payload = status.GetPayload(kFilePlaceUrl);
  if (!payload) return std::nullopt;
  const std::string text(*payload);
  const size_t colon = text.find(':');
  FilePlace place;
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(0, colon), &place.offset)) {
    return std::nullopt;
  }
  place.file = text.substr(colon + 1);
  return place;
}

std::optional<TextPlace> TextPlaceOf(const Status& status) {
  const auto payload = status.GetPayload(kTextPlaceUrl);
  if (!payload) return std::nullopt;
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(std::string(*payload), absl::MaxSplits(':', 1));
  TextPlace place;
  if (!absl::SimpleAtoi(parts.first, &place.line) ||
      !absl::SimpleAtoi(parts.second, &place.column)) {
    return std::nullopt;
  }
  return place;
}

}  // namespace varve
