#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// JSON as Prometheus writes it: the same digits for the same bits.
namespace varve::json {

/// Room that any float or time takes at most.
inline constexpr size_t kNumberBytesMax = 48;

/// Write to `out`, which has kNumberBytesMax bytes of room, what the functions below append, and
/// return its end.
char* PrintFloat(double value, char* out);
char* PrintTimeMs(int64_t time_ms, char* out);

/// Appends a float in Go's shortest form, 'f' layout, 'e' below 1e-6 and from 1e21 on; "+Inf",
/// "-Inf", "NaN". No quotes. (Prometheus, util/jsonutil.)
void AppendFloat(double value, std::string* out);
/// Appends Unix milliseconds as seconds: "1.500", "12", "-0.001". Any int64 is valid.
void AppendTimeMs(int64_t time_ms, std::string* out);
/// Appends a quoted string. Bytes that are not UTF-8 become U+FFFD; `<`, `>` and `&` are escaped
/// too, so that a body mistaken for HTML stays inert.
void AppendString(std::string_view text, std::string* out);

/// Appends the points of series, keeping the text of times from one series for the next. Not
/// thread-safe.
class PointsWriter {
 public:
  /// Appends `[time,"value"],...`; both lists have the same length, times ascend. No brackets
  /// around the list.
  void Append(std::span<const int64_t> times_ms, std::span<const double> values, std::string* out);

 private:
  static constexpr size_t kTimeBytesMax = 32;
  static constexpr size_t kTimesMax = 16'384;
  struct Time {
    int64_t time_ms;
    uint32_t bytes;
    char text[kTimeBytesMax];  // with what stands before it and after it
  };
  /// Finds or makes the texts of ascending times, from `times_[from]` on. Gives their places.
  void Place(std::span<const int64_t> times_ms, size_t from, uint32_t* places);

  std::vector<Time> times_;  // ascending
};

/// Appends one JSON document to a string, commas included. Calls must nest properly; a value that
/// follows a key belongs to it. Holds no copy: what is written can be flushed and cleared between
/// calls.
class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}

  Writer& BeginObject() { return Open('{'); }
  Writer& EndObject() { return Close('}'); }
  Writer& BeginArray() { return Open('['); }
  Writer& EndArray() { return Close(']'); }
  Writer& Key(std::string_view key);
  Writer& String(std::string_view value);
  Writer& Int(int64_t value);
  Writer& Uint(uint64_t value);
  Writer& Bool(bool value);
  Writer& Null();
  /// Writes a float as a JSON number; what JSON cannot say (Inf, NaN) becomes null.
  Writer& Number(double value);
  /// Writes a sample value: a string, in AppendFloat's form.
  Writer& FloatString(double value);
  Writer& TimeMs(int64_t time_ms);
  /// Writes text that is JSON already.
  Writer& Raw(std::string_view json);

  Writer& Field(std::string_view key, std::string_view value) { return Key(key).String(value); }

 private:
  void Comma() {
    if (!fresh_) out_->push_back(',');
    fresh_ = false;
  }
  Writer& Open(char c) {
    Comma();
    out_->push_back(c);
    fresh_ = true;
    return *this;
  }
  Writer& Close(char c) {
    out_->push_back(c);
    fresh_ = false;
    return *this;
  }

  std::string* out_;
  bool fresh_ = true;  // nothing stands before the next value that needs a comma
};

}  // namespace varve::json
