#include "tools/loki/stream_selector.h"

#include <algorithm>
#include <optional>

#include "engine/base/strings.h"
#include "engine/base/utf8.h"

namespace varve::loki {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNameByte(char c) { return IsNameStart(c) || (c >= '0' && c <= '9'); }
bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Undoes Go's escapes of a double-quoted literal; false if one is unknown or cut.
bool Unquote(std::string_view text, std::string* out) {
  out->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out->push_back(text[i]);
      continue;
    }
    if (++i == text.size()) return false;
    const char c = text[i];
    // Reads the digits of a code from `at` on and leaves `i` at the last one.
    const auto digits = [&](size_t at, size_t count, uint32_t base) -> std::optional<uint32_t> {
      if (at + count > text.size()) return std::nullopt;
      uint32_t value = 0;
      for (const char digit_text : text.substr(at, count)) {
        const int digit = HexDigit(digit_text);
        if (digit < 0 || static_cast<uint32_t>(digit) >= base) return std::nullopt;
        value = value * base + static_cast<uint32_t>(digit);
      }
      i = at + count - 1;
      return value;
    };
    constexpr std::string_view kNames = "abfnrtv\\\"'";
    constexpr std::string_view kBytes = "\a\b\f\n\r\t\v\\\"'";
    if (const size_t simple = kNames.find(c); simple != std::string_view::npos) {
      out->push_back(kBytes[simple]);
    } else if (c == 'u' || c == 'U') {
      const auto rune = digits(i + 1, c == 'u' ? 4 : 8, 16);
      if (!rune || *rune > 0x10ffff || (*rune >= 0xd800 && *rune < 0xe000)) return false;
      AppendUtf8(*rune, out);
    } else {
      const auto byte = c == 'x' ? digits(i + 1, 2, 16) : digits(i, 3, 8);
      if (!byte || *byte > 255) return false;
      out->push_back(static_cast<char>(*byte));
    }
  }
  return true;
}

class SelectorParser {
 public:
  SelectorParser(std::string_view text, LogBatch* batch, std::vector<LabelView>* labels)
      : text_(text), batch_(*batch), labels_(*labels) {}

  std::string Parse() {
    SkipBlanks();
    if (AtEnd()) return Error("unexpected end of input");
    if (text_[at_] != '{') return Stray();
    ++at_;
    for (bool first = true;; first = false) {
      SkipBlanks();
      if (!first && !AtEnd() && text_[at_] != '}') {
        if (text_[at_] != ',') return Unexpected("\",\" or \"}\"");
        ++at_;
        SkipBlanks();
      }
      if (!AtEnd() && text_[at_] == '}') break;
      if (std::string wrong = Label(); !wrong.empty()) return wrong;
    }
    ++at_;
    SkipBlanks();
    return AtEnd() ? std::string() : Stray();
  }

 private:
  std::string Label() {
    if (AtEnd() || !IsNameStart(text_[at_])) return Unexpected("identifier or \"}\"");
    const std::string_view name = Name();
    SkipBlanks();
    if (AtEnd() || text_[at_] != '=' || Token() == "<op:=~>") return Unexpected("\"=\"");
    ++at_;
    SkipBlanks();
    if (AtEnd() || (text_[at_] != '"' && text_[at_] != '`')) return Unexpected("string");
    const size_t begin = at_;
    const char quote = text_[at_++];
    bool escaped = false;
    while (!AtEnd() && text_[at_] != quote) {
      if (quote == '"' && text_[at_] == '\\') {
        escaped = true;
        ++at_;
      }
      ++at_;
    }
    if (AtEnd()) {
      at_ = begin;
      return Error(quote == '"' ? "unterminated quoted string" : "unterminated raw string");
    }
    std::string_view value = text_.substr(begin + 1, at_ - begin - 1);
    if (escaped) {
      if (!Unquote(value, &unquoted_)) {
        at_ = begin;
        return Error("invalid escape sequence in a quoted string");
      }
      value = batch_.Copy(unquoted_);
    }
    ++at_;
    labels_.push_back({name, value});
    return {};
  }

  bool AtEnd() const { return at_ >= text_.size(); }
  void SkipBlanks() {
    while (!AtEnd() && IsBlank(text_[at_])) ++at_;
  }
  std::string_view Name() {
    const size_t begin = at_;
    while (!AtEnd() && IsNameByte(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  // What stands at the place, as the parser calls it; empty: nothing that it knows.
  std::string Token() const {
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with("=~")) return "<op:=~>";
    if (rest.starts_with("!~")) return "<op:!~>";
    if (rest.starts_with("!=")) return "<op:!=>";
    const char c = rest.front();
    if (c == '=' || c == ',' || c == '{' || c == '}') return Concat("\"", std::string(1, c), "\"");
    if (c == '"' || c == '`') return "string";
    if (!IsNameStart(c)) return {};
    size_t size = 0;
    while (size < rest.size() && IsNameByte(rest[size])) ++size;
    return Concat("identifier ", GoQuote(rest.substr(0, std::min<size_t>(size, 64))));
  }
  std::string Stray() const {
    const std::string token = Token();
    if (!token.empty()) return Error("unexpected ", token);
    return Error("unexpected character: '", text_.substr(at_, CharacterBytes()), "'");
  }
  std::string Unexpected(std::string_view wanted) const {
    if (AtEnd()) return Error("unexpected end of input inside braces");
    const std::string token = Token();
    if (token.empty()) {
      return Error("unexpected character inside braces: '", text_.substr(at_, CharacterBytes()),
                   "'");
    }
    return Error("unexpected ", token, " in label set, expected ", wanted);
  }
  size_t CharacterBytes() const {
    const auto c = static_cast<unsigned char>(text_[at_]);
    return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  }
  template <typename... Pieces>
  std::string Error(const Pieces&... pieces) const {
    const std::string_view before = text_.substr(0, at_);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
    return Concat(line, ":", at_ - line_begin + 1, ": parse error: ", pieces...);
  }

  const std::string_view text_;
  LogBatch& batch_;
  std::vector<LabelView>& labels_;
  size_t at_ = 0;
  std::string unquoted_;
};

}  // namespace

std::string ParseStreamSelector(std::string_view text, LogBatch* batch,
                                std::vector<LabelView>* labels) {
  labels->clear();
  return SelectorParser(text, batch, labels).Parse();
}

std::string SelectorText(LabelsView labels, size_t bytes_max) {
  std::vector<LabelView> sorted(labels.begin(), labels.end());
  std::ranges::stable_sort(sorted, {}, &LabelView::name);
  std::string out = "{";
  for (const LabelView& label : sorted) {
    if (out.size() > bytes_max) break;
    if (out.size() > 1) out += ", ";
    out += label.name.substr(0, bytes_max);
    out += '=';
    out += GoQuote(label.value.substr(0, bytes_max));
  }
  return out + "}";
}

}  // namespace varve::loki
