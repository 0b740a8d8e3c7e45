#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// JSON as Prometheus writes it: the same digits for the same bits.
namespace varve::json {

/// Appends a float in Go's shortest form, 'f' layout, 'e' below 1e-6 and from 1e21 on; "+Inf",
/// "-Inf", "NaN". No quotes. (Prometheus, util/jsonutil.)
void AppendFloat(double value, std::string* out);
/// Appends Unix milliseconds as seconds: "1.500", "12", "-0.001". Any int64 is valid.
void AppendTimeMs(int64_t time_ms, std::string* out);
/// Appends a quoted string. Bytes that are not UTF-8 become U+FFFD; `<`, `>` and `&` are escaped
/// too, so that a body mistaken for HTML stays inert.
void AppendString(std::string_view text, std::string* out);

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
