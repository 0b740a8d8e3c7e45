#include "engine/index/regex_plan.h"

#include <algorithm>
#include <utility>

#include "engine/base/strings.h"
#include "engine/base/utf8.h"

namespace varve::index {
namespace {

enum class PieceKind : uint8_t {
  kText,
  kAny,     // .*
  kSome,    // .+
  kOpaque,  // anything, and not all of it
  kBegin,   // ^
  kEnd,     // $
};
struct Piece {
  PieceKind kind;
  std::string text;
};
using Sequence = std::vector<Piece>;
using Language = std::vector<Sequence>;  // alternatives

void Append(Sequence* sequence, const Piece& piece) {
  if (piece.kind == PieceKind::kText && !sequence->empty() &&
      sequence->back().kind == PieceKind::kText) {
    sequence->back().text += piece.text;
  } else {
    sequence->push_back(piece);
  }
}

constexpr uint32_t kReplacementRune = 0xfffd;

/// Reads the part of the syntax that it is sure about; anything else sets failed_.
class Parser {
 public:
  /// With `narrow` parts of several alternatives are not followed: fewer, longer texts remain.
  Parser(std::string_view pattern, bool narrow) : text_(pattern), narrow_(narrow) {}

  std::optional<Language> Run() {
    if (!IsValidUtf8(text_)) return std::nullopt;
    Language out = Alternation(0);
    if (failed_ || at_ != text_.size()) return std::nullopt;
    return out;
  }
  /// Tells that something was read whose validity only RE2 knows (names of groups).
  bool unsure() const { return unsure_; }

 private:
  static constexpr int kDepthMax = 100;
  // Classes that stand for more than their alternatives could say.
  static Language Opaque() { return {{{PieceKind::kOpaque, {}}}}; }
  static Language Text(std::string text) { return {{{PieceKind::kText, std::move(text)}}}; }
  static Language Empty() { return {{}}; }

  Language Fail() {
    failed_ = true;
    return Empty();
  }
  bool More() const { return at_ < text_.size(); }
  char Peek() const { return text_[at_]; }
  bool Take(std::string_view token) {
    if (text_.substr(at_).substr(0, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  Language Alternation(int depth) {
    if (depth > kDepthMax) return Fail();
    Language out;
    bool too_many = false;
    do {
      Language next = Concatenation(depth);
      if (failed_) return {};
      if (too_many || out.size() + next.size() > RegexPlan::kAlternativesMax) {
        too_many = true;  // the rest is read all the same: it must be well formed
      } else {
        std::move(next.begin(), next.end(), std::back_inserter(out));
      }
    } while (Take("|"));
    return too_many ? Opaque() : out;
  }

  Language Concatenation(int depth) {
    Language out = Empty();
    while (!failed_ && More() && Peek() != '|' && Peek() != ')') {
      Multiply(&out, Repetition(Atom(depth)));
    }
    return out;
  }

  /// Appends `tail` to every alternative of `out`; gives up on the tail where that makes too many.
  void Multiply(Language* out, Language tail) {
    const size_t count = out->size() * tail.size();
    const bool both = out->size() > 1 && tail.size() > 1;
    if ((narrow_ && tail.size() > 1) ||
        count > (both ? RegexPlan::kProductMax : RegexPlan::kAlternativesMax)) {
      tail = Opaque();
    }
    if (tail.size() == 1) {
      for (Sequence& sequence : *out) {
        for (const Piece& piece : tail[0]) {
          Append(&sequence, piece);
          work_ += piece.text.size() + 1;
        }
      }
    } else {
      Language product;
      product.reserve(count);
      for (const Sequence& head : *out) {
        for (const Sequence& rest : tail) {
          Sequence sequence = head;
          for (const Piece& piece : rest) Append(&sequence, piece);
          for (const Piece& piece : sequence) work_ += piece.text.size() + 1;
          product.push_back(std::move(sequence));
        }
      }
      *out = std::move(product);
    }
    if (work_ > RegexPlan::kWorkMax) failed_ = true;
  }

  Language Repetition(Language atom) {
    if (failed_ || !More()) return atom;
    size_t least = 0;
    bool unbounded = true;
    size_t most = 0;
    const bool any_rune = atom.size() == 1 && atom[0].size() == 1 && is_dot_;
    is_dot_ = false;
    if (Take("*")) {
    } else if (Take("+")) {
      least = 1;
    } else if (Take("?")) {
      unbounded = false;
      most = 1;
    } else if (Peek() == '{') {
      if (!Bounds(&least, &most, &unbounded)) return Fail();
    } else {
      return atom;
    }
    Take("?");  // a lazy one accepts the same strings
    if (More() && (Peek() == '*' || Peek() == '+' || Peek() == '?' || Peek() == '{')) return Fail();
    if (any_rune && unbounded && least <= 1) {
      return {{{least == 0 ? PieceKind::kAny : PieceKind::kSome, {}}}};
    }
    if (!unbounded && most == 0) return Empty();
    if (!unbounded && most == 1) {
      if (least == 1) return atom;
      atom.insert(atom.begin(), Sequence{});
      return atom;
    }
    Language out = Empty();
    if (least <= 8) {
      for (size_t i = 0; i < least; ++i) Multiply(&out, atom);
      if (!unbounded && most == least) return out;
    } else {
      out = atom;
    }
    Multiply(&out, Opaque());
    return out;
  }

  bool Number(size_t* out) {
    const size_t begin = at_;
    *out = 0;
    while (More() && Peek() >= '0' && Peek() <= '9' && at_ - begin < 4) {
      *out = *out * 10 + static_cast<size_t>(Peek() - '0');
      ++at_;
    }
    return at_ > begin && *out <= 1000;
  }
  bool Bounds(size_t* least, size_t* most, bool* unbounded) {
    // RE2 limits the product of nested counts; only it knows how.
    unsure_ = true;
    if (!Take("{") || !Number(least)) return false;
    *unbounded = false;
    *most = *least;
    if (Take(",")) {
      if (More() && Peek() == '}') {
        *unbounded = true;
      } else if (!Number(most)) {
        return false;
      }
    }
    return Take("}") && (*unbounded || *least <= *most);
  }

  Language Atom(int depth) {
    is_dot_ = false;
    const char c = Peek();
    switch (c) {
      case '(':
        return Group(depth);
      case '[':
        return Class();
      case '\\':
        return Escape();
      case '.':
        ++at_;
        is_dot_ = true;
        return Opaque();
      case '^':
        ++at_;
        return {{{PieceKind::kBegin, {}}}};
      case '$':
        ++at_;
        return {{{PieceKind::kEnd, {}}}};
      case '*':
      case '+':
      case '?':
      case '{':
        return Fail();
      default: {
        uint32_t rune;  // the text was found to be UTF-8
        const std::string_view bytes = text_.substr(at_, GetUtf8(text_.substr(at_), &rune));
        if (rune == kReplacementRune) return Fail();
        at_ += bytes.size();
        return Text(std::string(bytes));
      }
    }
  }

  Language Group(int depth) {
    Take("(");
    if (Take("?")) {
      if (Take("P<") || Take("<")) {
        unsure_ = true;
        while (More() && Peek() != '>') ++at_;
        if (!Take(">")) return Fail();
      } else if (!Take(":")) {
        return Fail();
      }
    }
    Language out = Alternation(depth + 1);
    is_dot_ = false;
    if (!Take(")")) return Fail();
    return out;
  }

  /// Reads one escaped rune that stands for itself or for a control character.
  std::optional<char> PlainEscape(char c) {
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      default:
        break;
    }
    const bool punctuation = (c >= '!' && c <= '/') || (c >= ':' && c <= '@') ||
                             (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    if (punctuation) return c;
    return std::nullopt;
  }

  Language Escape() {
    Take("\\");
    if (!More()) return Fail();
    const char c = Peek();
    if (const std::optional<char> plain = PlainEscape(c)) {
      ++at_;
      return Text(std::string(1, *plain));
    }
    if (std::string_view("dDsSwW").find(c) != std::string_view::npos) {
      ++at_;
      return Opaque();
    }
    if (c == 'b' || c == 'B') {
      ++at_;
      return Opaque();
    }
    return Fail();
  }

  Language Class() {
    Take("[");
    const bool negated = Take("^");
    std::vector<uint32_t> runes;
    bool wide = negated;
    bool first = true;
    while (true) {
      if (!More()) return Fail();
      if (Peek() == ']' && !first) break;
      first = false;
      uint32_t low = 0;
      if (!ClassRune(&low, &wide)) {
        if (failed_) return {};
        continue;  // a named class such as \d
      }
      uint32_t high = low;
      if (More() && Peek() == '-') {
        if (at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
          ++at_;
          bool named = false;
          if (!ClassRune(&high, &named) || high < low) return Fail();
        }
      }
      if (high - low >= RegexPlan::kClassMax || runes.size() > RegexPlan::kClassMax) {
        wide = true;
      } else {
        for (uint32_t rune = low; rune <= high; ++rune) runes.push_back(rune);
      }
    }
    Take("]");
    if (wide) return Opaque();
    std::sort(runes.begin(), runes.end());
    runes.erase(std::unique(runes.begin(), runes.end()), runes.end());
    if (runes.size() > RegexPlan::kClassMax) return Opaque();
    Language out;
    for (const uint32_t rune : runes) {
      if (rune == kReplacementRune || (rune >= 0xd800 && rune < 0xe000)) return Opaque();
      std::string text;
      AppendUtf8(rune, &text);
      out.push_back({{PieceKind::kText, std::move(text)}});
    }
    return out;
  }

  /// Reads one rune of a class, or a named class (returns false and sets `wide`).
  bool ClassRune(uint32_t* rune, bool* wide) {
    if (!More()) {
      failed_ = true;
      return false;
    }
    const char c = Peek();
    if (c == '[') {  // [:alpha:] or a plain bracket: RE2 knows
      failed_ = true;
      return false;
    }
    if (c == '\\') {
      ++at_;
      if (!More()) {
        failed_ = true;
        return false;
      }
      const char escaped = Peek();
      if (const std::optional<char> plain = PlainEscape(escaped)) {
        ++at_;
        *rune = static_cast<unsigned char>(*plain);
        return true;
      }
      if (std::string_view("dDsSwW").find(escaped) != std::string_view::npos) {
        ++at_;
        *wide = true;
        return false;
      }
      failed_ = true;
      return false;
    }
    if (c == '-') {  // fine at the ends of a class, an error of its own kind elsewhere
      const bool at_end = at_ + 1 < text_.size() && text_[at_ + 1] == ']';
      if (!at_end) {
        failed_ = true;
        return false;
      }
    }
    at_ += GetUtf8(text_.substr(at_), rune);
    return true;
  }

  std::string_view text_;
  bool narrow_;
  size_t at_ = 0;
  size_t work_ = 0;
  bool failed_ = false;
  bool unsure_ = false;
  bool is_dot_ = false;
};

/// Brings a sequence into the form of an Alternative.
RegexPlan::Alternative Normalise(Sequence sequence) {
  // An anchor at its own end says nothing new; anywhere else it is not followed.
  while (!sequence.empty() && sequence.front().kind == PieceKind::kBegin) {
    sequence.erase(sequence.begin());
  }
  while (!sequence.empty() && sequence.back().kind == PieceKind::kEnd) sequence.pop_back();
  RegexPlan::Alternative out;
  out.texts.emplace_back();
  bool in_gap = false;
  for (Piece& piece : sequence) {
    if (piece.kind == PieceKind::kText) {
      out.texts.back() += piece.text;
      in_gap = false;
      continue;
    }
    const bool some = piece.kind == PieceKind::kSome;
    if (!in_gap) {
      out.texts.emplace_back();
      out.gap_bytes_min.push_back(some ? 1 : 0);
      in_gap = true;
      out.exact = out.exact && (some || piece.kind == PieceKind::kAny);
      continue;
    }
    // Two gaps in a row: .*.+ is .+, but .+.+ wants two runes.
    if (some) {
      if (out.gap_bytes_min.back() == 1) out.exact = false;
      out.gap_bytes_min.back() = 1;
    } else if (piece.kind != PieceKind::kAny) {
      out.exact = false;
    }
  }
  return out;
}

const std::string& LongestText(const RegexPlan::Alternative& alternative) {
  return *std::max_element(alternative.texts.begin(), alternative.texts.end(),
                           [](const auto& a, const auto& b) { return a.size() < b.size(); });
}

RegexPlan::Alternative Anything() {
  RegexPlan::Alternative out;
  out.texts.resize(2);
  out.gap_bytes_min.push_back(0);
  out.exact = false;
  return out;
}

bool Glob(const RegexPlan::Alternative& alternative, std::string_view value) {
  const std::string& prefix = alternative.texts.front();
  if (alternative.texts.size() == 1) return value == prefix;
  const std::string& suffix = alternative.texts.back();
  if (!value.starts_with(prefix)) return false;
  value.remove_prefix(prefix.size());
  if (!value.ends_with(suffix)) return false;
  value.remove_suffix(suffix.size());
  // What lies between is matched from the left: the earliest place is never worse.
  for (size_t i = 1; i + 1 < alternative.texts.size(); ++i) {
    const size_t at = value.find(alternative.texts[i], alternative.gap_bytes_min[i - 1]);
    if (at == std::string_view::npos) return false;
    value.remove_prefix(at + alternative.texts[i].size());
  }
  return value.size() >= alternative.gap_bytes_min.back();
}

}  // namespace

RegexPlan RegexPlan::Analyse(std::string_view pattern) {
  RegexPlan plan;
  Parser parser(pattern, /*narrow=*/false);
  std::optional<Language> language = parser.Run();
  if (!language) {
    plan.alternatives_.push_back(Anything());
    return plan;
  }
  plan.valid_ = !parser.unsure();
  plan.alternatives_.reserve(language->size());
  for (Sequence& sequence : *language) {
    plan.alternatives_.push_back(Normalise(std::move(sequence)));
  }
  plan.Summarise();
  if (!plan.literals_ && plan.prefixes_.empty() && plan.needle_.empty()) {
    // Many alternatives share no text; a coarser reading may leave one that all of them contain.
    std::optional<Language> coarse = Parser(pattern, /*narrow=*/true).Run();
    if (coarse && coarse->size() == 1) {
      const Alternative only = Normalise(std::move(coarse->front()));
      plan.needle_ = LongestText(only);
    }
  }
  return plan;
}

void RegexPlan::Summarise() {
  exact_ = std::all_of(alternatives_.begin(), alternatives_.end(),
                       [](const Alternative& alternative) { return alternative.exact; });
  const bool texts_only =
      std::all_of(alternatives_.begin(), alternatives_.end(),
                  [](const Alternative& alternative) { return alternative.texts.size() == 1; });
  if (texts_only) {
    literals_.emplace();
    for (const Alternative& alternative : alternatives_) {
      literals_->push_back(alternative.texts[0]);
    }
    std::sort(literals_->begin(), literals_->end());
    literals_->erase(std::unique(literals_->begin(), literals_->end()), literals_->end());
  }
  std::vector<std::string> prefixes;
  for (const Alternative& alternative : alternatives_) {
    const bool anything = alternative.texts.size() == 2 && alternative.texts[0].empty() &&
                          alternative.texts[1].empty() && alternative.exact;
    if (anything && alternative.gap_bytes_min[0] == 0) accepts_all_ = true;
    if (anything && alternative.gap_bytes_min[0] == 1) accepts_all_but_empty_ = true;
    prefixes.push_back(alternative.texts[0]);
  }
  if (accepts_all_but_empty_ && Test({}) == Verdict::kYes) accepts_all_ = true;
  // With an inexact alternative beside it `.+` may still accept the empty value.
  if (accepts_all_ || !exact_) accepts_all_but_empty_ = false;
  std::sort(prefixes.begin(), prefixes.end());
  for (std::string& prefix : prefixes) {
    if (prefix.empty()) {
      prefixes_.clear();
      break;
    }
    if (prefixes_.empty() || !prefix.starts_with(prefixes_.back())) {
      prefixes_.push_back(std::move(prefix));
    }
    if (prefixes_.size() > kPrefixesMax) {
      prefixes_.clear();
      break;
    }
  }
  if (!literals_ && alternatives_.size() > kTestedMax) {
    // Trying so many one after the other costs more than RE2's automaton.
    exact_ = false;
    alternatives_.assign(1, Anything());
    return;
  }
  if (alternatives_.size() == 1) {
    const Alternative& only = alternatives_[0];
    needle_ = LongestText(only);
    needle_suffices_ = only.exact && only.texts.size() == 3 && !only.texts[1].empty() &&
                       only.texts[0].empty() && only.texts[2].empty() &&
                       only.gap_bytes_min[0] == 0 && only.gap_bytes_min[1] == 0;
  }
}

RegexPlan::Verdict RegexPlan::Test(std::string_view value) const {
  if (literals_) {
    const bool found = std::binary_search(literals_->begin(), literals_->end(), value);
    return found ? Verdict::kYes : Verdict::kNo;
  }
  if (!prefixes_.empty()) {
    // The only prefix that can fit is the last one that is not greater than the value.
    const auto after = std::upper_bound(prefixes_.begin(), prefixes_.end(), value);
    if (after == prefixes_.begin() || !value.starts_with(*std::prev(after))) return Verdict::kNo;
  }
  Verdict out = Verdict::kNo;
  for (const Alternative& alternative : alternatives_) {
    if (!Glob(alternative, value)) continue;
    if (alternative.exact) return Verdict::kYes;
    out = Verdict::kMaybe;
  }
  return out;
}

std::optional<std::string> FromGoSyntax(std::string_view pattern) {
  std::string out;
  out.reserve(pattern.size());
  bool in_class = false;
  for (size_t at = 0; at < pattern.size();) {
    const std::string_view rest = pattern.substr(at);
    if (rest[0] == '\\') {
      if (rest.starts_with("\\Q") && !in_class) {
        const size_t end = rest.find("\\E");
        const size_t bytes = end == std::string_view::npos ? rest.size() : end + 2;
        out.append(rest.substr(0, bytes));
        at += bytes;
        continue;
      }
      if (rest.starts_with("\\C")) return std::nullopt;
      out.append(rest.substr(0, 2));
      at += std::min<size_t>(2, rest.size());
      continue;
    }
    if (in_class) {
      if (rest.starts_with("[:")) {
        const size_t end = rest.find(":]");
        if (end != std::string_view::npos) {
          out.append(rest.substr(0, end + 2));
          at += end + 2;
          continue;
        }
      }
      if (rest[0] == ']') in_class = false;
    } else if (rest[0] == '[') {
      in_class = true;
      // A bracket that comes first belongs to the class.
      const size_t bytes = rest.starts_with("[^]") ? 3 : rest.starts_with("[]") ? 2 : 1;
      out.append(rest.substr(0, bytes));
      at += bytes;
      continue;
    } else if (rest.starts_with("(?<") && !rest.starts_with("(?<=") && !rest.starts_with("(?<!")) {
      out.append("(?P<");
      at += 3;
      continue;
    }
    out += rest[0];
    ++at;
  }
  return out;
}

}  // namespace varve::index
