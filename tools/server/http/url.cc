#include "tools/server/http/url.h"

#include <arpa/inet.h>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::http {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '~';
}

}  // namespace

Result<std::string> PercentDecode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '+' && plus_is_space) {
      out.push_back(' ');
    } else if (c != '%') {
      out.push_back(c);
    } else {
      const int high = i + 2 < text.size() ? HexValue(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? HexValue(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return MakeStatus(StatusCode::kInvalidArgument,
                          Concat("invalid URL escape ", GoQuote(text.substr(i, 3))));
      }
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

std::string PercentEncode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (IsUnreserved(c)) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

Status ParseForm(std::string_view text, const UrlLimits& limits, Params* out) {
  while (!text.empty()) {
    const size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (pair.empty()) continue;
    if (out->size() >= limits.params_max) {
      return MakeStatus(StatusCode::kResourceExhausted,
                        Concat("more than ", limits.params_max, " parameters"));
    }
    const size_t equals = pair.find('=');
    VARVE_ASSIGN_OR_RETURN(std::string name, PercentDecode(pair.substr(0, equals), true));
    std::string value;
    if (equals != std::string_view::npos) {
      VARVE_ASSIGN_OR_RETURN(value, PercentDecode(pair.substr(equals + 1), true));
    }
    out->Add(std::move(name), std::move(value));
  }
  return absl::OkStatus();
}

Result<Target> ParseTarget(std::string_view target, const UrlLimits& limits) {
  Target out;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() >= scheme.size() &&
        EqualsIgnoreCase(target.substr(0, scheme.size()), scheme)) {
      target.remove_prefix(scheme.size());
      const size_t slash = target.find_first_of("/?");
      out.authority = target.substr(0, slash);
      if (out.authority.empty()) {
        return MakeStatus(StatusCode::kInvalidArgument, "request target without a host");
      }
      target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
      break;
    }
  }
  if (target == "*") {
    out.segments.emplace_back("*");
    return out;
  }
  const size_t question = target.find('?');
  if (question != std::string_view::npos) {
    out.query = target.substr(question + 1);
    target = target.substr(0, question);
  }
  if (target.empty() && !out.authority.empty()) target = "/";
  if (target.empty() || target.front() != '/') {
    return MakeStatus(StatusCode::kInvalidArgument, "request target must begin with /");
  }
  target.remove_prefix(1);
  while (true) {
    const size_t slash = target.find('/');
    VARVE_ASSIGN_OR_RETURN(std::string segment, PercentDecode(target.substr(0, slash), false));
    if (segment == "." || segment == "..") {
      return MakeStatus(StatusCode::kInvalidArgument, "request target with a dot segment");
    }
    if (out.segments.size() >= limits.segments_max) {
      return MakeStatus(StatusCode::kResourceExhausted,
                        Concat("path of more than ", limits.segments_max, " segments"));
    }
    out.segments.push_back(std::move(segment));
    if (slash == std::string_view::npos) break;
    target.remove_prefix(slash + 1);
  }
  return out;
}

Result<HostPort> ParseHost(std::string_view text) {
  const auto bad = [&] {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("malformed host ", GoQuote(text)));
  };
  HostPort out;
  std::string_view rest;
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return bad();
    out.host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return bad();
    in6_addr address;
    if (out.host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string::npos ||
        inet_pton(AF_INET6, out.host.c_str(), &address) != 1) {
      return bad();
    }
  } else {
    const size_t colon = text.find(':');
    out.host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
    for (const char c : out.host) {
      if (!IsUnreserved(c)) return bad();
    }
  }
  if (out.host.empty()) return bad();
  if (!rest.empty()) {
    out.port = rest.substr(1);
    if (out.port.size() > 5) return bad();
    for (const char c : out.port) {
      if (c < '0' || c > '9') return bad();
    }
  }
  return out;
}

bool IsIpLiteral(const std::string& host) {
  in_addr v4;
  in6_addr v6;
  return inet_pton(AF_INET, host.c_str(), &v4) == 1 || inet_pton(AF_INET6, host.c_str(), &v6) == 1;
}

bool IsLoopbackHost(const std::string& host) {
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  constexpr std::string_view kLocal = "localhost";
  if (EqualsIgnoreCase(host, kLocal)) return true;
  const std::string_view name = host;
  return name.size() > kLocal.size() && name[name.size() - kLocal.size() - 1] == '.' &&
         EqualsIgnoreCase(name.substr(name.size() - kLocal.size()), kLocal);
}

}  // namespace varve::http
