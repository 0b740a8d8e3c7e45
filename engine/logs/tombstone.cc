#include "engine/logs/tombstone.h"

#include "engine/base/coding.h"

namespace varve::logs {
namespace {

void PutMatchers(std::string* out, const std::vector<Matcher>& matchers) {
  PutVarint(out, matchers.size());
  for (const Matcher& matcher : matchers) {
    out->push_back(static_cast<char>(matcher.type));
    PutString(out, matcher.name);
    PutString(out, matcher.value);
  }
}

void GetMatchers(ByteReader* in, std::vector<Matcher>* out) {
  const uint64_t count = in->Count(3);
  for (uint64_t i = 0; i < count; ++i) {
    const auto type = in->Fixed<uint8_t>();
    if (type > static_cast<uint8_t>(MatchType::kNotRegex)) in->Fail();
    Matcher matcher;
    matcher.type = static_cast<MatchType>(type);
    matcher.name = std::string(in->String());
    matcher.value = std::string(in->String());
    out->push_back(std::move(matcher));
  }
}

}  // namespace

std::string EncodeDeletion(const Deletion& deletion) {
  std::string out;
  PutSigned(&out, deletion.range.min_ns);
  PutSigned(&out, deletion.range.max_ns);
  PutMatchers(&out, deletion.matchers);
  PutVarint(&out, deletion.filters.size());
  for (const LineFilter& filter : deletion.filters) {
    out.push_back(static_cast<char>(filter.op));
    PutVarint(&out, filter.texts.size());
    for (const std::string& text : filter.texts) PutString(&out, text);
  }
  PutMatchers(&out, deletion.metadata);
  return out;
}

Result<Deletion> DecodeDeletion(std::string_view bytes) {
  ByteReader in(bytes);
  Deletion out;
  out.range.min_ns = in.Signed();
  out.range.max_ns = in.Signed();
  GetMatchers(&in, &out.matchers);
  const uint64_t filters = in.Count(2);
  for (uint64_t i = 0; i < filters; ++i) {
    LineFilter filter;
    const auto op = in.Fixed<uint8_t>();
    if (op > static_cast<uint8_t>(LineFilter::Op::kNotMatches)) in.Fail();
    filter.op = static_cast<LineFilter::Op>(op);
    const uint64_t texts = in.Count(1);
    for (uint64_t k = 0; k < texts; ++k) filter.texts.emplace_back(in.String());
    out.filters.push_back(std::move(filter));
  }
  GetMatchers(&in, &out.metadata);
  if (!in.ok() || in.left() != 0) {
    return MakeStatus(StatusCode::kDataLoss, "tombstone: malformed deletion of logs");
  }
  return out;
}

}  // namespace varve::logs
