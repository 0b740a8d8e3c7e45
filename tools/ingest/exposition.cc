#include "tools/ingest/exposition.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "engine/base/strings.h"
#include "tools/ingest/exposition_internal.h"

namespace varve::ingest {
namespace {

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

}  // namespace

std::string_view ToString(ExpositionFormat format) {
  switch (format) {
    case ExpositionFormat::kText:
      return "text";
    case ExpositionFormat::kOpenMetrics:
      return "openmetrics";
    case ExpositionFormat::kProtobuf:
      return "protobuf";
  }
  return "unknown";
}

Result<ExpositionFormat> ParseExpositionContentType(std::string_view content_type) {
  const std::string all = Lower(Trim(content_type));
  const std::string_view view = all;
  const std::string_view media = Trim(view.substr(0, view.find(';')));
  // curl --data-binary claims a form unless told otherwise.
  if (media.empty() || media == "text/plain" || media == "application/x-www-form-urlencoded" ||
      media == "application/octet-stream") {
    return ExpositionFormat::kText;
  }
  if (media == "application/openmetrics-text") return ExpositionFormat::kOpenMetrics;
  if (media == "application/vnd.google.protobuf") {
    const bool family = view.find("io.prometheus.client.metricfamily") != std::string_view::npos;
    const bool delimited = view.find("encoding=delimited") != std::string_view::npos ||
                           view.find("encoding=\"delimited\"") != std::string_view::npos;
    if (family && delimited) return ExpositionFormat::kProtobuf;
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("got ", content_type,
                             " content-type; of protobuf only delimited "
                             "io.prometheus.client.MetricFamily is accepted"));
  }
  return MakeStatus(StatusCode::kInvalidArgument,
                    Concat("got ", content_type,
                           " content-type; expected text/plain, application/openmetrics-text or "
                           "application/vnd.google.protobuf"));
}

std::unique_ptr<ExpositionParser> ExpositionParser::Make(ExpositionFormat format,
                                                         std::string_view body,
                                                         const ExpositionOptions& options) {
  switch (format) {
    case ExpositionFormat::kText:
      return MakeTextParser(body);
    case ExpositionFormat::kOpenMetrics:
      return MakeOpenMetricsParser(body, options.strict);
    case ExpositionFormat::kProtobuf:
      return MakeProtobufParser(body, options.classic_too);
  }
  return nullptr;
}

std::string FormatOpenMetricsFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value == 0) return "0.0";
  // Go's FormatFloat(value, 'g', -1): exponents below -4 and from 6 up are written out.
  char buffer[40];
  const auto printed =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(printed.ptr - buffer));
  std::string out;
  if (text.front() == '-') {
    out.push_back('-');
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), text.data() + text.size(),
                  exponent);
  std::string digits(1, text[0]);
  if (e > 1) digits.append(text.substr(2, e - 2));
  if (exponent < -4 || exponent >= 6) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) {
      out.push_back('.');
      out += digits.substr(1);
    }
    out += exponent < 0 ? "e-" : "e+";
    const int magnitude = std::abs(exponent);
    if (magnitude < 10) out.push_back('0');
    out += std::to_string(magnitude);
    return out;
  }
  if (exponent < 0) {
    out += "0.";
    out.append(static_cast<size_t>(-exponent - 1), '0');
    out += digits;
    return out;
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    out += digits;
    out.append(whole - digits.size(), '0');
    out += ".0";
  } else {
    out += digits.substr(0, whole);
    out.push_back('.');
    out += digits.substr(whole);
  }
  return out;
}

bool ParseExpositionFloat(std::string_view text, double* out) {
  if (text.empty()) return false;
  const char* begin = text.data();
  const char* const end = begin + text.size();
  const char* number = begin;
  if (*number == '+' || *number == '-') ++number;
  if (number == end) return false;
  // from_chars also takes "nan(...)"; Go takes a NaN only without a sign.
  if (*number == 'n' || *number == 'N') {
    if (text.size() != 3 || Lower(text) != "nan") return false;
    *out = std::bit_cast<double>(kNormalNanBits);
    return true;
  }
  if (*number == '+' || *number == '-') return false;
  if (*begin == '+') ++begin;
  double value = 0;
  const auto parsed = std::from_chars(begin, end, value);
  if (parsed.ptr != end) return false;
  if (parsed.ec == std::errc::result_out_of_range) {
    // Too small is zero (or a subnormal) and fine; too large is an error, as in Go.
    const std::string copy(begin, end);
    value = std::strtod(copy.c_str(), nullptr);
    if (std::isinf(value)) return false;
  } else if (parsed.ec != std::errc()) {
    return false;
  }
  *out = value;
  return true;
}

bool ParseMetricType(std::string_view word, bool text_format, MetricType* out) {
  for (const MetricType type : {MetricType::kUnknown, MetricType::kCounter, MetricType::kGauge,
                                MetricType::kHistogram, MetricType::kGaugeHistogram,
                                MetricType::kSummary, MetricType::kInfo, MetricType::kStateSet}) {
    if (word == ToString(type)) {
      *out = type;
      return true;
    }
  }
  if (!text_format) return false;
  if (word == "untyped") {
    *out = MetricType::kUnknown;
    return true;
  }
  if (word == "gauge_histogram") {
    *out = MetricType::kGaugeHistogram;
    return true;
  }
  return false;
}

bool IsFloatLabel(MetricType type, std::string_view family, std::string_view name,
                  std::string_view label) {
  switch (type) {
    case MetricType::kSummary:
      return label == "quantile" && name == family;
    case MetricType::kHistogram:
    case MetricType::kGaugeHistogram:
      return label == "le" && name.size() == family.size() + 7 && name.starts_with(family) &&
             name.ends_with("_bucket");
    default:
      return false;
  }
}

}  // namespace varve::ingest
