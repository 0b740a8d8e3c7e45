#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tools/loki/json_kernels.h"
#include "varve/status.h"

namespace varve::loki {

/// Walks JSON text that may carry any bytes in its strings, undoing escapes in place.
///
/// Our own rather than simdjson, which refuses a whole body for one byte that is not UTF-8: logs
/// have such bytes, and senders drop what gets 400. Undoing escapes in place also makes every
/// string a view of the body. Syntax is checked as strictly as RFC 8259 asks; nothing recurses.
///
/// All methods return false, and leave the error set, where the text does not fit; stop then.
class JsonText {
 public:
  /// The bytes are changed while they are read and must outlive the views.
  JsonText(char* text, size_t size, const JsonKernels& kernels = BestJsonKernels())
      : kernels_(kernels), begin_(text), at_(text), end_(text + size) {}

  /// Returns the next byte that is no white space, without taking it; 0 at the end.
  char Peek() {
    // Clients write few blanks or none.
    if (at_ == end_ || static_cast<unsigned char>(*at_) <= ' ') SkipBlanks();
    return at_ == end_ ? '\0' : *at_;
  }
  /// Takes `c` or fails with "expected ...".
  bool Take(char c, const char* what) { return TakeIf(c) || Fail(what); }
  /// Takes `c` if it comes next.
  bool TakeIf(char c) {
    if (Peek() != c || at_ == end_) return false;
    ++at_;
    return true;
  }
  /// Reads a string, opening quote included. The view points into the text.
  bool String(std::string_view* out);
  /// Takes a string of 19 digits, as Unix nanoseconds have from 2001 on, if one comes next and its
  /// value fits for sure. False: take it as any string; it may be an integer all the same.
  bool TakeNanoseconds(int64_t* value);
  /// Reads a number as text.
  bool Number(std::string_view* out);
  /// Passes over any value; `raw`, if not null, becomes its text, which must not be changed by a
  /// later read through another JsonText before it is used. Nesting is bounded by kDepthMax.
  bool Skip(std::string_view* raw = nullptr);
  /// Takes a null if one comes next.
  bool TakeNull();
  bool AtEnd() { return Peek() == 0 && at_ == end_; }

  /// Records an error at the current place unless there is one. Returns false.
  bool Fail(const char* what);
  bool ok() const { return error_ == nullptr; }
  /// "expected ... at byte 12".
  std::string ErrorText() const;

  size_t offset() const { return static_cast<size_t>(at_ - begin_); }
  /// Goes back to an offset that was skipped over.
  void Seek(size_t offset) { at_ = begin_ + offset; }

  static constexpr size_t kDepthMax = 512;

 private:
  void SkipBlanks();
  bool SkipString();

  const JsonKernels& kernels_;
  char* const begin_;
  char* at_;
  char* const end_;
  const char* error_ = nullptr;
  size_t error_at_ = 0;
};

/// Walks the members of an object or the elements of an array:
///   JsonList members(&json, '{', '}');
///   while (members.Next()) { read one key, ':' and one value }
///   if (!json.ok()) ...
class JsonList {
 public:
  JsonList(JsonText* json, char open, char close)
      : json_(json),
        close_(close),
        good_(json->Take(open, open == '{' ? "expected an object" : "expected an array")) {}
  bool Next();

 private:
  JsonText* json_;
  char close_;
  bool good_;
  bool first_ = true;
};

}  // namespace varve::loki
