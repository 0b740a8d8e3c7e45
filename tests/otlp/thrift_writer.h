#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Just enough of writing Thrift to make bodies for tests. Types are the binary protocol's numbers.
namespace varve::testing {

class BinaryThriftWriter {
 public:
  void BeginStruct() {}
  void EndStruct() { out_.push_back('\0'); }
  void Field(uint8_t type, int16_t id) {
    out_.push_back(static_cast<char>(type));
    Big(static_cast<uint64_t>(static_cast<uint16_t>(id)), 2);
  }
  void BoolField(int16_t id, bool value) {
    Field(2, id);
    out_.push_back(value ? 1 : 0);
  }
  void I32(int32_t value) { Big(static_cast<uint32_t>(value), 4); }
  void I64(int64_t value) { Big(static_cast<uint64_t>(value), 8); }
  void Double(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, 8);
    Big(bits, 8);
  }
  void Text(std::string_view text) {
    Big(text.size(), 4);
    out_.append(text);
  }
  void List(uint8_t type, uint32_t count) {
    out_.push_back(static_cast<char>(type));
    Big(count, 4);
  }
  void Map(uint8_t key, uint8_t value, uint32_t count) {
    out_.push_back(static_cast<char>(key));
    List(value, count);
  }
  template <typename Value>
  void Tag(std::string_view key, int32_t kind, Value value) {
    BeginStruct();
    Field(11, 1);
    Text(key);
    Field(8, 2);
    I32(kind);
    value();
    EndStruct();
  }
  std::string Take() { return std::move(out_); }

 private:
  void Big(uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) out_.push_back(static_cast<char>(value >> (8 * i)));
  }
  std::string out_;
};

class CompactThriftWriter {
 public:
  void BeginStruct() {
    ids_.push_back(last_);
    last_ = 0;
  }
  void EndStruct() {
    out_.push_back('\0');
    last_ = ids_.back();
    ids_.pop_back();
  }
  void Field(uint8_t type, int16_t id) { Head(CompactOf(type), id); }
  void BoolField(int16_t id, bool value) { Head(value ? 1 : 2, id); }
  void I32(int32_t value) { Zigzag(value); }
  void I64(int64_t value) { Zigzag(value); }
  void Double(double value) {
    char bytes[8];
    std::memcpy(bytes, &value, 8);
    out_.append(bytes, 8);
  }
  void Text(std::string_view text) {
    Varint(text.size());
    out_.append(text);
  }
  void List(uint8_t type, uint32_t count) {
    if (count < 15) {
      out_.push_back(static_cast<char>(count << 4 | CompactOf(type)));
    } else {
      out_.push_back(static_cast<char>(0xf0 | CompactOf(type)));
      Varint(count);
    }
  }
  void Map(uint8_t key, uint8_t value, uint32_t count) {
    Varint(count);
    if (count > 0) out_.push_back(static_cast<char>(CompactOf(key) << 4 | CompactOf(value)));
  }
  template <typename Value>
  void Tag(std::string_view key, int32_t kind, Value value) {
    BeginStruct();
    Field(11, 1);
    Text(key);
    Field(8, 2);
    I32(kind);
    value();
    EndStruct();
  }
  std::string Take() { return std::move(out_); }

 private:
  static uint8_t CompactOf(uint8_t type) {
    switch (type) {
      case 3:
        return 3;
      case 4:
        return 7;
      case 6:
        return 4;
      case 8:
        return 5;
      case 10:
        return 6;
      case 11:
        return 8;
      case 12:
        return 12;
      case 13:
        return 11;
      case 14:
        return 10;
      case 15:
        return 9;
      default:
        return 1;
    }
  }
  void Head(uint8_t type, int16_t id) {
    const int delta = id - last_;
    if (delta > 0 && delta < 16) {
      out_.push_back(static_cast<char>(delta << 4 | type));
    } else {
      out_.push_back(static_cast<char>(type));
      Zigzag(id);
    }
    last_ = id;
  }
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }
  void Zigzag(int64_t value) {
    Varint(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63));
  }
  std::string out_;
  int16_t last_ = 0;
  std::vector<int16_t> ids_;
};

/// Writes Batch{process{service, tags}, spans[1]} with every type of tag.
template <typename Writer>
std::string JaegerBatch(Writer writer) {
  writer.BeginStruct();
  writer.Field(12, 1);
  writer.BeginStruct();
  writer.Field(11, 1);
  writer.Text("api");
  writer.Field(15, 2);
  writer.List(12, 1);
  writer.Tag("hostname", 0, [&] { writer.Field(11, 3), writer.Text("h1"); });
  writer.EndStruct();
  writer.Field(15, 2);
  writer.List(12, 1);
  writer.BeginStruct();
  writer.Field(10, 1);
  writer.I64(0x1122);
  writer.Field(10, 2);
  writer.I64(0);
  writer.Field(10, 3);
  writer.I64(0x33);
  writer.Field(10, 4);
  writer.I64(0);
  writer.Field(11, 5);
  writer.Text("op");
  writer.Field(15, 6);
  writer.List(12, 2);
  for (int kind = 0; kind < 2; ++kind) {
    writer.BeginStruct();
    writer.Field(8, 1);
    writer.I32(kind);
    writer.Field(10, 2);
    writer.I64(0x1122);
    writer.Field(10, 3);
    writer.I64(0);
    writer.Field(10, 4);
    writer.I64(0x44 + kind);
    writer.EndStruct();
  }
  writer.Field(8, 7);
  writer.I32(1);
  writer.Field(10, 8);
  writer.I64(1'000'000);
  writer.Field(10, 9);
  writer.I64(250);
  writer.Field(15, 10);
  writer.List(12, 6);
  writer.Tag("s", 0, [&] { writer.Field(11, 3), writer.Text("text"); });
  writer.Tag("d", 1, [&] { writer.Field(4, 4), writer.Double(0.5); });
  writer.Tag("b", 2, [&] { writer.BoolField(5, true); });
  writer.Tag("l", 3, [&] { writer.Field(10, 6), writer.I64(-7); });
  writer.Tag("bin", 4, [&] { writer.Field(11, 7), writer.Text("\x01\x02"); });
  writer.Tag("span.kind", 0, [&] { writer.Field(11, 3), writer.Text("server"); });
  writer.Field(15, 11);
  writer.List(12, 1);
  writer.BeginStruct();
  writer.Field(10, 1);
  writer.I64(1'000'100);
  writer.Field(15, 2);
  writer.List(12, 2);
  writer.Tag("event", 0, [&] { writer.Field(11, 3), writer.Text("started"); });
  writer.Tag("n", 3, [&] { writer.Field(10, 6), writer.I64(2); });
  writer.EndStruct();
  // A field of the future: a map of lists, passed over.
  writer.Field(13, 99);
  writer.Map(11, 8, 1);
  writer.Text("k");
  writer.I32(5);
  writer.EndStruct();
  writer.EndStruct();
  return writer.Take();
}

/// What Jaeger's JSON says of it.
inline constexpr std::string_view kJaegerExpected =
    R"([{"traceID":"0000000000001122","spans":[{"traceID":"0000000000001122","spanID":"0000000000000033",)"
    R"("flags":1,"operationName":"op","references":[{"refType":"CHILD_OF","traceID":"0000000000001122","spanID":"0000000000000044"},)"
    R"({"refType":"FOLLOWS_FROM","traceID":"0000000000001122","spanID":"0000000000000045"}],"startTime":1000000,"duration":250,)"
    R"("tags":[{"key":"s","type":"string","value":"text"},{"key":"d","type":"float64","value":0.5},{"key":"b","type":"bool","value":true},)"
    R"({"key":"l","type":"int64","value":-7},{"key":"bin","type":"binary","value":"AQI="},{"key":"span.kind","type":"string","value":"server"}],)"
    R"("logs":[{"timestamp":1000100,"fields":[{"key":"event","type":"string","value":"started"},{"key":"n","type":"int64","value":2}]}],)"
    R"("processID":"p1","warnings":null}],"processes":{"p1":{"serviceName":"api","tags":[{"key":"hostname","type":"string","value":"h1"}]}},"warnings":null}])";

/// The datagrams in which a client of a Jaeger agent sends it: emitBatch{batch}.
inline std::string BinaryDatagram() {
  return std::string(
             "\x80\x01\x00\x04\x00\x00\x00\x09"
             "emitBatch"
             "\x00\x00\x00\x00\x0c\x00\x01",
             24) +
         JaegerBatch(BinaryThriftWriter()) + std::string(1, '\0');
}
inline std::string CompactDatagram() {
  return std::string(
             "\x82\x81\x00\x09"
             "emitBatch"
             "\x1c",
             14) +
         JaegerBatch(CompactThriftWriter()) + std::string(1, '\0');
}

}  // namespace varve::testing
