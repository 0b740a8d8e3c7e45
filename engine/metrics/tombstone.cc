#include "engine/metrics/tombstone.h"

#include "engine/base/coding.h"

namespace varve::metrics {

std::string EncodeDeletion(const Deletion& deletion) {
  std::string out;
  PutSigned(&out, deletion.range.min_ms);
  PutSigned(&out, deletion.range.max_ms);
  PutVarint(&out, deletion.matchers.size());
  for (const Matcher& matcher : deletion.matchers) {
    out.push_back(static_cast<char>(matcher.type));
    PutString(&out, matcher.name);
    PutString(&out, matcher.value);
  }
  return out;
}

Result<Deletion> DecodeDeletion(std::string_view bytes) {
  ByteReader in(bytes);
  Deletion out;
  out.range.min_ms = in.Signed();
  out.range.max_ms = in.Signed();
  const uint64_t count = in.Count(3);
  for (uint64_t i = 0; i < count; ++i) {
    const auto type = in.Fixed<uint8_t>();
    if (type > static_cast<uint8_t>(MatchType::kNotRegex)) in.Fail();
    Matcher matcher;
    matcher.type = static_cast<MatchType>(type);
    matcher.name = std::string(in.String());
    matcher.value = std::string(in.String());
    out.matchers.push_back(std::move(matcher));
  }
  if (!in.ok() || in.left() != 0) {
    return MakeStatus(StatusCode::kDataLoss, "tombstone: malformed deletion");
  }
  return out;
}

}  // namespace varve::metrics
