#include "engine/logs/line_automaton.h"

#include <algorithm>
#include <bitset>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/base/utf8.h"

namespace varve::logs {
namespace {

using Bytes = std::bitset<256>;

/// A parsed expression.
struct Expression {
  enum class Op : uint8_t {
    kBytes,   // one ASCII byte of a set, or (with `other`) any character that is not ASCII
    kText,    // bytes one after the other
    kConcat,  // of parts; of none: the empty text
    kEither,
    kRepeat,
    kBegin,
    kEnd,
    kMaybe,  // empty, and perhaps not allowed here
  };
  Op op = Op::kConcat;
  Bytes bytes;
  bool other = false;
  std::string text;
  std::vector<Expression> parts;
  int least = 0;
  int most = -1;  // unbounded
};

bool IsLetter(uint32_t rune) {
  return (rune >= 'a' && rune <= 'z') || (rune >= 'A' && rune <= 'Z');
}
int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// A set of characters: the ASCII ones exactly, of others only whether there are any.
struct Class {
  Bytes ascii;
  bool other = false;

  void AddRange(uint32_t low, uint32_t high) {
    for (uint32_t c = low; c <= high && c < 0x80; ++c) ascii.set(c);
    other = other || high >= 0x80;
  }
  void Add(const Class& more) {
    ascii |= more.ascii;
    other = other || more.other;
  }
  /// Of non-ASCII characters some stay outside and some may not: they count as inside.
  void Negate() {
    for (size_t c = 0; c < 0x80; ++c) ascii.flip(c);
    other = true;
  }
};

/// Reads the part of RE2's syntax that it is sure about.
class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(pattern) {}

  std::optional<Expression> Run() {
    Expression out = Alternation(0);
    if (failed_ || at_ != text_.size()) return std::nullopt;
    return out;
  }

 private:
  static constexpr int kDepthMax = 60;
  static constexpr int kRepeatMax = 1000;

  Expression Fail() {
    failed_ = true;
    return {};
  }
  bool More() const { return at_ < text_.size(); }
  char Peek() const { return text_[at_]; }
  bool Take(std::string_view token) {
    if (text_.substr(at_).substr(0, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  uint32_t Rune() {
    const auto byte = [&](size_t i) {
      return i < text_.size() ? static_cast<uint8_t>(text_[i]) : uint8_t{0};
    };
    const uint32_t first = byte(at_);
    if (first < 0x80) {
      ++at_;
      return first;
    }
    const size_t bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || at_ + bytes > text_.size()) {
      failed_ = true;
      at_ = text_.size();
      return 0;
    }
    uint32_t rune = first & (0xff >> (bytes + 1));
    for (size_t i = 1; i < bytes; ++i) rune = rune << 6 | (byte(at_ + i) & 0x3f);
    at_ += bytes;
    return rune;
  }

  Expression Alternation(int depth) {
    if (depth > kDepthMax) return Fail();
    Expression out;
    out.op = Expression::Op::kEither;
    do {
      Expression one;
      while (!failed_ && More() && Peek() != '|' && Peek() != ')') {
        one.parts.push_back(Repetition(Atom(depth)));
      }
      if (failed_) return {};
      out.parts.push_back(std::move(one));
    } while (Take("|"));
    if (out.parts.size() == 1) return std::move(out.parts[0]);
    return out;
  }

  Expression Repetition(Expression atom) {
    while (!failed_ && More()) {
      int least = 0;
      int most = -1;
      if (Take("*")) {
      } else if (Take("+")) {
        least = 1;
      } else if (Take("?")) {
        most = 1;
      } else if (!Bounds(&least, &most)) {
        return atom;
      }
      if (failed_) return {};
      Take("?");  // lazy ones find the same lines
      Expression out;
      out.op = Expression::Op::kRepeat;
      out.least = least;
      out.most = most;
      out.parts.push_back(std::move(atom));
      atom = std::move(out);
    }
    return atom;
  }

  /// Reads {n}, {n,} or {n,m}; anything else behind a brace is text.
  bool Bounds(int* least, int* most) {
    size_t at = at_;
    if (at >= text_.size() || text_[at] != '{') return false;
    ++at;
    const auto number = [&](int* out) {
      const size_t begin = at;
      int value = 0;
      while (at < text_.size() && text_[at] >= '0' && text_[at] <= '9') {
        value = std::min(value * 10 + (text_[at++] - '0'), kRepeatMax + 1);
      }
      *out = value;
      return at > begin;
    };
    if (!number(least)) return false;
    *most = *least;
    if (at < text_.size() && text_[at] == ',') {
      ++at;
      if (!number(most)) *most = -1;
    }
    if (at >= text_.size() || text_[at] != '}') return false;
    at_ = at + 1;
    if (*least > kRepeatMax || *most > kRepeatMax) failed_ = true;
    return true;
  }

  Expression Atom(int depth) {
    if (Take("(")) {
      const bool fold = fold_;
      const bool dot_newline = dot_newline_;
      if (Take("?")) {
        if (Take("P<") || Take("<")) {
          const size_t end = text_.find('>', at_);
          if (end == std::string_view::npos) return Fail();
          at_ = end + 1;
        } else {
          bool on = true;
          while (More() && Peek() != ':' && Peek() != ')') {
            const char c = text_[at_++];
            if (c == '-') {
              on = false;
            } else if (c == 'i') {
              fold_ = on;
            } else if (c == 's') {
              dot_newline_ = on;
            } else if (c != 'U') {
              return Fail();
            }
          }
          if (Take(")")) return {};  // to the end of the group
          if (!Take(":")) return Fail();
        }
      }
      Expression out = Alternation(depth + 1);
      if (!Take(")")) return Fail();
      fold_ = fold;
      dot_newline_ = dot_newline;
      return out;
    }
    if (Take("[")) return Brackets();
    if (Take(".")) {
      Class any;
      any.Negate();
      if (!dot_newline_) any.ascii.reset('\n');
      return Of(any);
    }
    if (Take("^")) return Empty(Expression::Op::kBegin);
    if (Take("$")) return Empty(Expression::Op::kEnd);
    if (Peek() == '\\') {
      if (Take("\\A")) return Empty(Expression::Op::kBegin);
      if (Take("\\z")) return Empty(Expression::Op::kEnd);
      if (Take("\\b") || Take("\\B")) return Empty(Expression::Op::kMaybe);
      Class known;
      if (PerlClass(&known)) return Of(known);
      return Literal(Escape());
    }
    if (Peek() == '*' || Peek() == '+' || Peek() == '?') return Fail();
    return Literal(Rune());
  }

  static Expression Empty(Expression::Op op) {
    Expression out;
    out.op = op;
    return out;
  }
  static Expression Of(const Class& set) {
    Expression out;
    out.op = Expression::Op::kBytes;
    out.bytes = set.ascii;
    out.other = set.other;
    return out;
  }

  Expression Literal(uint32_t rune) {
    if (failed_) return {};
    if (fold_) {
      if (rune >= 0x80) return Fail();
      if (IsLetter(rune)) {
        Class both;
        AddFolded(&both, rune);
        return Of(both);
      }
    }
    Expression out;
    out.op = Expression::Op::kText;
    AppendUtf8(rune, &out.text);
    return out;
  }
  /// The Kelvin sign and the long s are the only characters beyond ASCII that fold to ASCII.
  static void AddFolded(Class* out, uint32_t letter) {
    out->ascii.set(letter & ~0x20u);
    out->ascii.set(letter | 0x20u);
    const uint32_t low = letter | 0x20u;
    out->other = out->other || low == 'k' || low == 's';
  }

  /// Reads \d and its like.
  bool PerlClass(Class* out) {
    if (at_ + 1 >= text_.size() || text_[at_] != '\\') return false;
    const char c = text_[at_ + 1];
    switch (c | 0x20) {
      case 'd':
        out->AddRange('0', '9');
        break;
      case 'w':
        out->AddRange('0', '9');
        out->AddRange('A', 'Z');
        out->AddRange('a', 'z');
        out->ascii.set('_');
        out->other = fold_;  // what folds to k and s
        break;
      case 's':
        for (const char space : {'\t', '\n', '\f', '\r', ' '}) {
          out->ascii.set(static_cast<size_t>(space));
        }
        break;
      default:
        return false;
    }
    if (c < 'a') out->Negate();
    at_ += 2;
    return true;
  }

  /// Reads an escaped character.
  uint32_t Escape() {
    ++at_;
    if (!More()) {
      failed_ = true;
      return 0;
    }
    const char c = text_[at_++];
    switch (c) {
      case 'a':
        return '\a';
      case 'f':
        return '\f';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'v':
        return '\v';
      case 'x': {
        uint32_t rune = 0;
        if (Take("{")) {
          while (More() && HexValue(Peek()) >= 0 && rune <= 0x10ffff) {
            rune = rune << 4 | static_cast<uint32_t>(HexValue(text_[at_++]));
          }
          if (!Take("}") || rune > 0x10ffff) failed_ = true;
          return rune;
        }
        for (int i = 0; i < 2; ++i) {
          if (!More() || HexValue(Peek()) < 0) {
            failed_ = true;
            return 0;
          }
          rune = rune << 4 | static_cast<uint32_t>(HexValue(text_[at_++]));
        }
        return rune;
      }
      default:
        // Letters and digits have meanings of many kinds; what is left stands for itself.
        if (static_cast<uint8_t>(c) >= 0x80 || IsLetter(static_cast<uint8_t>(c)) ||
            (c >= '0' && c <= '9') || c == '_') {
          failed_ = true;
        }
        return static_cast<uint8_t>(c);
    }
  }

  Expression Brackets() {
    const bool negated = Take("^");
    Class out;
    bool first = true;
    bool beyond = false;  // a character or range that is named and not ASCII
    while (!failed_) {
      if (!More()) return Fail();
      if (!first && Take("]")) break;
      first = false;
      if (Take("[:")) {
        if (!NamedClass(&out)) return Fail();
        continue;
      }
      Class known;
      if (PerlClass(&known)) {
        out.Add(known);
        continue;
      }
      const uint32_t low = Peek() == '\\' ? Escape() : Rune();
      uint32_t high = low;
      if (at_ + 1 < text_.size() && Peek() == '-' && text_[at_ + 1] != ']') {
        ++at_;
        // What \d could mean here, RE2 decides.
        Class unknown;
        if (PerlClass(&unknown)) return Fail();
        high = Peek() == '\\' ? Escape() : Rune();
      }
      if (failed_ || high < low) return Fail();
      beyond = beyond || high >= 0x80;
      out.AddRange(low, high);
    }
    if (fold_) {
      if (beyond) return Fail();
      const Bytes named = out.ascii;
      for (uint32_t c = 'A'; c <= 'z'; ++c) {
        if (IsLetter(c) && named.test(c)) AddFolded(&out, c);
      }
    }
    if (negated) out.Negate();
    return Of(out);
  }

  bool NamedClass(Class* out) {
    const size_t end = text_.find(":]", at_);
    if (end == std::string_view::npos) return false;
    const std::string_view name = text_.substr(at_, end - at_);
    at_ = end + 2;
    struct Named {
      std::string_view name;
      bool (*has)(int c);
    };
    static constexpr auto lower = [](int c) { return c >= 'a' && c <= 'z'; };
    static constexpr auto upper = [](int c) { return c >= 'A' && c <= 'Z'; };
    static constexpr auto digit = [](int c) { return c >= '0' && c <= '9'; };
    static const Named kNamed[] = {
        {"alnum", [](int c) { return lower(c) || upper(c) || digit(c); }},
        {"alpha", [](int c) { return lower(c) || upper(c); }},
        {"ascii", [](int) { return true; }},
        {"blank", [](int c) { return c == '\t' || c == ' '; }},
        {"cntrl", [](int c) { return c < 0x20 || c == 0x7f; }},
        {"digit", digit},
        {"graph", [](int c) { return c > 0x20 && c < 0x7f; }},
        {"lower", lower},
        {"print", [](int c) { return c >= 0x20 && c < 0x7f; }},
        {"punct",
         [](int c) { return c > 0x20 && c < 0x7f && !lower(c) && !upper(c) && !digit(c); }},
        {"space", [](int c) { return (c >= '\t' && c <= '\r') || c == ' '; }},
        {"upper", upper},
        {"word", [](int c) { return lower(c) || upper(c) || digit(c) || c == '_'; }},
        {"xdigit",
         [](int c) { return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }},
    };
    for (const Named& one : kNamed) {
      if (one.name != name) continue;
      for (int c = 0; c < 0x80; ++c) {
        if (one.has(c)) out->ascii.set(static_cast<size_t>(c));
      }
      return true;
    }
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool failed_ = false;
  bool fold_ = false;
  bool dot_newline_ = false;
};

}  // namespace

/// Makes the states from the expressions: first an automaton that may be in many places at once
/// (Thompson's), then its sets of places as states.
class AutomatonBuilder {
 public:
  using State = LineAutomaton::State;
  using Verdict = LineAutomaton::Verdict;

  void Add(const Expression& expression) { roots_.push_back(Compile(expression, kMatch)); }

  std::unique_ptr<const LineAutomaton> Build() {
    if (failed_) return nullptr;
    auto out = std::unique_ptr<LineAutomaton>(new LineAutomaton());
    FindClasses(out.get());
    marks_.assign(places_.size(), 0);

    Begin();
    for (const uint32_t root : roots_) Enter(root, false, false);
    const std::vector<uint32_t> anywhere = Taken();
    const bool anywhere_matches = matched_;
    Begin();
    for (const uint32_t root : roots_) Enter(root, true, false);
    Key first;
    first.places = Taken();
    first.initial = true;
    StateOf(first, matched_ || anywhere_matches);
    for (size_t s = 0; s < keys_.size(); ++s) {
      const Key key = keys_[s];
      out->next_.resize((s + 1) << out->shift_);
      for (size_t c = 0; c < representatives_.size(); ++c) {
        State next = static_cast<State>(s);
        if (key.sink == Sink::kNone) {
          const uint8_t byte = representatives_[c];
          Begin();
          for (const uint32_t place : key.places) {
            if (places_[place].kind == Kind::kBytes && places_[place].bytes.test(byte)) {
              Enter(places_[place].next, false, false);
            }
          }
          for (const uint32_t place : anywhere) Mark(place);
          Key reached;
          const bool matched = matched_;
          reached.places = Taken();
          reached.tainted =
              unsure_beyond_ascii_ && (key.tainted || byte >= 0x80) && reached.places != anywhere;
          // A match that ends with this byte is as sure as the way to it.
          if (matched) reached.tainted = unsure_beyond_ascii_ && (key.tainted || byte >= 0x80);
          next = StateOf(reached, matched);
        }
        if (failed_) return nullptr;
        out->next_[(s << out->shift_) + c] = next;
      }
      out->verdicts_.push_back(VerdictOf(key));
    }
    if (failed_) return nullptr;
    out->MakeTables();
    return out;
  }

 private:
  static constexpr size_t kPlacesMax = 4096;
  static constexpr size_t kWorkMax = size_t{1} << 22;  // places looked at

  enum class Kind : uint8_t { kBytes, kSplit, kBegin, kEnd, kMatch };
  struct Place {
    Kind kind = Kind::kMatch;
    uint32_t next = 0;
    uint32_t other = 0;  // of a split
    Bytes bytes;
  };
  static constexpr uint32_t kMatch = 0;
  enum class Sink : uint8_t { kNone, kYes, kUnsure };
  struct Key {
    std::vector<uint32_t> places;  // sorted: bytes and ends
    bool initial = false;          // nothing was read yet
    bool tainted = false;          // the way here crosses bytes beyond ASCII
    Sink sink = Sink::kNone;
  };

  uint32_t NewPlace(Kind kind, uint32_t next) {
    if (places_.size() >= kPlacesMax) {
      failed_ = true;
      return kMatch;
    }
    places_.emplace_back();
    places_.back().kind = kind;
    places_.back().next = next;
    return static_cast<uint32_t>(places_.size() - 1);
  }
  uint32_t NewRange(int low, int high, uint32_t next) {
    const uint32_t place = NewPlace(Kind::kBytes, next);
    for (int c = low; c <= high && !failed_; ++c) places_[place].bytes.set(static_cast<size_t>(c));
    return place;
  }
  uint32_t NewSplit(uint32_t a, uint32_t b) {
    const uint32_t place = NewPlace(Kind::kSplit, a);
    if (!failed_) places_[place].other = b;
    return place;
  }

  /// Adds places that read the expression and go on at `next`. Returns the first.
  uint32_t Compile(const Expression& e, uint32_t next) {
    if (failed_) return kMatch;
    switch (e.op) {
      case Expression::Op::kBytes: {
        uint32_t place = NewPlace(Kind::kBytes, next);
        if (failed_) return kMatch;
        places_[place].bytes = e.bytes;
        if (e.other) {
          // RE2 reads any character as UTF-8 of two to four bytes.
          unsure_beyond_ascii_ = true;
          const uint32_t one = NewRange(0x80, 0xbf, next);
          const uint32_t two = NewRange(0x80, 0xbf, one);
          const uint32_t three = NewRange(0x80, 0xbf, two);
          place = NewSplit(
              place, NewSplit(NewRange(0xc2, 0xdf, one),
                              NewSplit(NewRange(0xe0, 0xef, two), NewRange(0xf0, 0xf4, three))));
        }
        return place;
      }
      case Expression::Op::kText:
        for (size_t i = e.text.size(); i-- > 0;) {
          const int byte = static_cast<uint8_t>(e.text[i]);
          next = NewRange(byte, byte, next);
        }
        return next;
      case Expression::Op::kConcat:
        for (size_t i = e.parts.size(); i-- > 0;) next = Compile(e.parts[i], next);
        return next;
      case Expression::Op::kEither: {
        uint32_t out = Compile(e.parts.back(), next);
        for (size_t i = e.parts.size() - 1; i-- > 0;)
          out = NewSplit(Compile(e.parts[i], next), out);
        return out;
      }
      case Expression::Op::kRepeat: {
        const Expression& part = e.parts[0];
        if (e.most < 0) {
          const uint32_t loop = NewSplit(kMatch, next);
          const uint32_t body = Compile(part, loop);
          if (failed_) return kMatch;
          places_[loop].next = body;
          next = loop;
        } else {
          const uint32_t end = next;
          for (int i = e.least; i < e.most && !failed_; ++i) {
            next = NewSplit(Compile(part, next), end);
          }
        }
        for (int i = 0; i < e.least && !failed_; ++i) next = Compile(part, next);
        return next;
      }
      case Expression::Op::kBegin:
        return NewPlace(Kind::kBegin, next);
      case Expression::Op::kEnd:
        return NewPlace(Kind::kEnd, next);
      case Expression::Op::kMaybe:
        unsure_ = true;
        return next;
    }
    return kMatch;
  }

  // A set of places is gathered between Begin and Taken.
  void Begin() {
    ++mark_;
    matched_ = false;
    taken_.clear();
  }
  bool Mark(uint32_t place) {
    if (marks_[place] == mark_) return false;
    marks_[place] = mark_;
    taken_.push_back(place);
    return true;
  }
  void Enter(uint32_t root, bool at_begin, bool at_end) {
    stack_.push_back(root);
    while (!stack_.empty()) {
      const uint32_t at = stack_.back();
      stack_.pop_back();
      if (++work_ > kWorkMax) failed_ = true;
      if (failed_) break;
      const Place& place = places_[at];
      if (place.kind == Kind::kMatch) {
        matched_ = true;
        continue;
      }
      if (!Mark(at)) continue;
      if (place.kind == Kind::kSplit) {
        stack_.push_back(place.other);
        stack_.push_back(place.next);
      } else if ((place.kind == Kind::kBegin && at_begin) || (place.kind == Kind::kEnd && at_end)) {
        stack_.push_back(place.next);
      }
    }
    stack_.clear();
  }
  /// Returns the places that still matter, sorted.
  std::vector<uint32_t> Taken() {
    std::vector<uint32_t> out;
    for (const uint32_t place : taken_) {
      const Kind kind = places_[place].kind;
      if (kind == Kind::kBytes || kind == Kind::kEnd) out.push_back(place);
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  State StateOf(Key key, bool matched) {
    if (matched) {
      const Sink sink = key.tainted || unsure_ ? Sink::kUnsure : Sink::kYes;
      key = Key();
      key.sink = sink;
    }
    std::string name = Concat(key.initial, key.tainted, static_cast<int>(key.sink));
    name.append(reinterpret_cast<const char*>(key.places.data()),
                key.places.size() * sizeof key.places[0]);
    const auto [known, added] =
        by_name_.try_emplace(std::move(name), static_cast<State>(keys_.size()));
    if (added) {
      if (keys_.size() >= LineAutomaton::kStatesMax) {
        failed_ = true;
        return 0;
      }
      keys_.push_back(std::move(key));
    }
    return known->second;
  }

  Verdict VerdictOf(const Key& key) {
    if (key.sink != Sink::kNone) {
      return key.sink == Sink::kYes ? Verdict::kYes : Verdict::kUnsure;
    }
    Begin();
    for (const uint32_t place : key.places) {
      if (places_[place].kind == Kind::kEnd) Enter(places_[place].next, key.initial, true);
    }
    if (!matched_) return Verdict::kNo;
    return key.tainted || unsure_ ? Verdict::kUnsure : Verdict::kYes;
  }

  void FindClasses(LineAutomaton* out) {
    std::vector<Bytes> sets;
    for (const Place& place : places_) {
      if (place.kind == Kind::kBytes) sets.push_back(place.bytes);
    }
    // Bytes beyond ASCII leave a mark on the way.
    Bytes beyond;
    for (size_t c = 0x80; c < 256; ++c) beyond.set(c);
    sets.push_back(beyond);
    std::array<uint32_t, 256> group{};
    uint32_t groups = 1;
    for (const Bytes& set : sets) {
      absl::flat_hash_map<uint64_t, uint32_t> renamed;
      for (size_t c = 0; c < 256; ++c) {
        const uint64_t both = uint64_t{group[c]} * 2 + (set.test(c) ? 1 : 0);
        group[c] = renamed.try_emplace(both, static_cast<uint32_t>(renamed.size())).first->second;
      }
      groups = static_cast<uint32_t>(renamed.size());
      if (groups == 256) break;
    }
    representatives_.assign(groups, 0);
    for (size_t c = 256; c-- > 0;) {
      out->class_of_[c] = static_cast<uint8_t>(group[c]);
      representatives_[group[c]] = static_cast<uint8_t>(c);
    }
    while ((size_t{1} << out->shift_) < groups) ++out->shift_;
  }

  std::vector<Place> places_{Place()};
  std::vector<uint32_t> roots_;
  bool failed_ = false;
  bool unsure_ = false;               // no match is sure
  bool unsure_beyond_ascii_ = false;  // those that cross such bytes are not

  std::vector<uint8_t> representatives_;  // of each class of bytes
  std::vector<Key> keys_;                 // of each state
  absl::flat_hash_map<std::string, State> by_name_;
  std::vector<uint32_t> marks_, taken_, stack_;
  uint32_t mark_ = 0;
  bool matched_ = false;
  size_t work_ = 0;
};

void LineAutomaton::MakeTables() {
  const size_t count = verdicts_.size();
  pairs_.assign(count * kPairs, 0);
  hex_.assign(count * 256, 0);
  any_digit_.assign(count, kNone);
  any_hex_digit_.assign(count, kNone);
  absorbing_.assign(count, false);
  if (count <= kWideStatesMax) {
    wide_.reserve(count * 256);
    for (size_t s = 0; s < count; ++s) {
      for (uint32_t c = 0; c < 256; ++c) {
        const State next = Step(static_cast<State>(s), static_cast<uint8_t>(c));
        wide_.push_back(static_cast<State>(next << 8));
      }
    }
  }
  for (size_t s = 0; s < count; ++s) {
    bool stays = true;
    for (size_t c = 0; c < 256; ++c) {
      stays = stays && Step(static_cast<State>(s), static_cast<uint8_t>(c)) == s;
    }
    absorbing_[s] = stays;
  }
  const auto hex_digit = [](uint32_t value) {
    return static_cast<uint8_t>("0123456789abcdef"[value]);
  };
  for (size_t s = 0; s < count; ++s) {
    const auto state = static_cast<State>(s);
    std::array<State, 16> first;
    for (uint32_t i = 0; i < 16; ++i) first[i] = Step(state, hex_digit(i));
    if (std::all_of(first.begin(), first.begin() + 10, [&](State n) { return n == first[0]; })) {
      any_digit_[s] = first[0];
      if (std::all_of(first.begin() + 10, first.end(), [&](State n) { return n == first[0]; })) {
        any_hex_digit_[s] = first[0];
      }
    }
    for (uint32_t i = 0; i < 256; ++i) hex_[s * 256 + i] = Step(first[i >> 4], hex_digit(i & 15));
    for (uint32_t i = 0; i < 100; ++i) {
      pairs_[s * kPairs + i] = Step(first[i / 10], static_cast<uint8_t>('0' + i % 10));
    }
  }
}

void LineAutomaton::RunAll(std::span<const std::string_view> texts, State* states) const {
  constexpr size_t kNoText = SIZE_MAX;
  std::array<Lane, kLanes> lanes{};
  size_t next = 0;
  // Puts the next text that is not decided into a lane.
  const auto fill = [&](Lane* lane) {
    for (; next < texts.size(); ++next) {
      const std::string_view text = texts[next];
      if (text.empty() || absorbing_[states[next]]) continue;
      if (text.size() >= kLongBytes) {
        states[next] = RunLong(states[next], text);
        continue;
      }
      *lane = {text.data(), text.size(), states[next], next};
      ++next;
      return true;
    }
    lane->text = kNoText;
    return false;
  };
  bool full = true;
  for (Lane& lane : lanes) full = fill(&lane) && full;
  while (full) {
    size_t steps = SIZE_MAX;
    for (const Lane& lane : lanes) steps = std::min(steps, lane.left);
    Advance(&lanes, steps);
    for (Lane& lane : lanes) {
      if (lane.left > 0) continue;
      states[lane.text] = lane.state;
      full = fill(&lane) && full;
    }
  }
  for (const Lane& lane : lanes) {
    if (lane.text != kNoText) states[lane.text] = Run(lane.state, {lane.at, lane.left});
  }
}

template <typename F>
void LineAutomaton::AdvanceBy(std::array<Lane, kLanes>* lanes, size_t steps, F&& step) {
  static_assert(kLanes == 4);
  auto& [a, b, c, d] = *lanes;
  uint32_t sa = a.state;
  uint32_t sb = b.state;
  uint32_t sc = c.state;
  uint32_t sd = d.state;
  for (size_t k = 0; k < steps; ++k) {
    sa = step(sa, static_cast<uint8_t>(a.at[k]));
    sb = step(sb, static_cast<uint8_t>(b.at[k]));
    sc = step(sc, static_cast<uint8_t>(c.at[k]));
    sd = step(sd, static_cast<uint8_t>(d.at[k]));
  }
  a.state = static_cast<State>(sa);
  b.state = static_cast<State>(sb);
  c.state = static_cast<State>(sc);
  d.state = static_cast<State>(sd);
  for (Lane& lane : *lanes) {
    lane.at += steps;
    lane.left -= steps;
  }
}

void LineAutomaton::Advance(std::array<Lane, kLanes>* lanes, size_t steps) const {
  if (wide_.empty()) {
    AdvanceBy(lanes, steps, [this](uint32_t state, uint8_t byte) -> uint32_t {
      return Step(static_cast<State>(state), byte);
    });
    return;
  }
  const State* const wide = wide_.data();
  for (Lane& lane : *lanes) lane.state = static_cast<State>(lane.state << 8);
  AdvanceBy(lanes, steps,
            [wide](uint32_t row, uint8_t byte) -> uint32_t { return wide[row + byte]; });
  for (Lane& lane : *lanes) lane.state >>= 8;
}

LineAutomaton::State LineAutomaton::RunLong(State state, std::string_view text) const {
  // All pieces are read at once, each from the state that the bytes before it lead to by
  // themselves: that is nearly always the right one. Where it is not, the piece is read again
  // until both ways meet.
  constexpr size_t kContext = 32;
  static_assert(kLongBytes >= kLanes * kContext);
  const size_t bytes = text.size() / kLanes;
  std::array<Lane, kLanes> lanes;
  std::array<State, kLanes> guess;
  for (size_t i = 0; i < kLanes; ++i) {
    guess[i] = i == 0 ? state : Run(start(), text.substr(i * bytes - kContext, kContext));
    lanes[i] = {text.data() + i * bytes, bytes, guess[i], i};
  }
  Advance(&lanes, bytes);
  state = lanes[0].state;
  for (size_t i = 1; i < kLanes; ++i) {
    State guessed = guess[i];
    const char* const piece = text.data() + i * bytes;
    for (size_t k = 0; k < bytes && state != guessed && !absorbing_[state]; ++k) {
      state = Step(state, static_cast<uint8_t>(piece[k]));
      guessed = Step(guessed, static_cast<uint8_t>(piece[k]));
    }
    if (absorbing_[state]) return state;
    if (state == guessed) state = lanes[i].state;
  }
  return Run(state, text.substr(kLanes * bytes));
}

std::unique_ptr<const LineAutomaton> LineAutomaton::OfTexts(std::span<const std::string> texts) {
  AutomatonBuilder builder;
  for (const std::string& text : texts) {
    Expression one;
    one.op = Expression::Op::kText;
    one.text = text;
    builder.Add(one);
  }
  return builder.Build();
}

std::unique_ptr<const LineAutomaton> LineAutomaton::OfPatterns(
    std::span<const std::string> patterns) {
  AutomatonBuilder builder;
  for (const std::string& pattern : patterns) {
    const std::optional<Expression> one = Parser(pattern).Run();
    if (!one.has_value()) return nullptr;
    builder.Add(*one);
  }
  return builder.Build();
}

}  // namespace varve::logs
