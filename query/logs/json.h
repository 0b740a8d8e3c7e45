#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "query/logs/entry_labels.h"

/// Reads JSON as log lines hold it: from left to right, member by member, trusting nothing beyond
/// the place it has reached. A line that is cut or broken keeps the members before the fault, as in
/// Loki; a parser that validates the whole document first, or builds it, could not say which.
/// Nothing recurses here: nested values are skipped by counting brackets.
namespace varve::query {

enum class JsonType : uint8_t { kString, kNumber, kObject, kArray, kBoolean, kNull };

/// Why a value does not parse; the texts are Loki's.
enum class JsonFault : uint8_t {
  kNone,
  kMalformed,
  kObject,
  kArray,
  kString,
  kValue,
  kUnknownType,
  kEscape,
  kDepth,
};
std::string_view ToString(JsonFault fault);

/// A value in its text; strings without their quotes, escapes as they stand.
struct JsonValue {
  JsonType type = JsonType::kNull;
  std::string_view text;
};

/// Walks the members of one object.
class JsonObjectReader {
 public:
  /// `text` should be an object. Leading white space is skipped.
  explicit JsonObjectReader(std::string_view text) : text_(text) {}

  /// Reads the opening brace. False if there is none (fault()).
  bool Open();
  /// Reads the next member. False at the end of the object or at a fault.
  bool Next(std::string_view* key, JsonValue* value);
  JsonFault fault() const { return fault_; }
  /// Bytes behind the closing brace; valid after Next gave false without fault.
  size_t position() const { return at_; }

 private:
  bool Fail(JsonFault fault) {
    fault_ = fault;
    return false;
  }
  std::string_view text_;
  size_t at_ = 0;
  bool first_ = true;
  JsonFault fault_ = JsonFault::kNone;
};

/// Walks the elements of one array.
class JsonArrayReader {
 public:
  explicit JsonArrayReader(std::string_view text) : text_(text) {}
  bool Open();
  bool Next(JsonValue* value);
  JsonFault fault() const { return fault_; }

 private:
  bool Fail(JsonFault fault) {
    fault_ = fault;
    return false;
  }
  std::string_view text_;
  size_t at_ = 0;
  bool first_ = true;
  JsonFault fault_ = JsonFault::kNone;
};

/// Reads one value at `*at`, white space before it included. False at a fault.
bool ReadJsonValue(std::string_view text, size_t* at, JsonValue* value, JsonFault* fault);

/// Resolves escapes; the result is `text` itself if there are none, else bytes in `arena`. False
/// for a bad escape.
bool UnescapeJson(std::string_view text, EntryArena& arena, std::string_view* out);
/// Gives a value as a label has it: strings unescaped (a bad escape gives ""), without U+FFFD and
/// bytes that are not UTF-8; null as ""; the rest as it stands.
std::string_view JsonLabelValue(const JsonValue& value, EntryArena& arena);

/// Drops U+FFFD and bytes that are not UTF-8; the result is `text` itself if there are none.
std::string_view DropInvalidUtf8(std::string_view text, EntryArena& arena);

}  // namespace varve::query
