#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/base/any_value.h"
#include "varve/span.h"
#include "varve/span_batch.h"

namespace varve {
namespace {

TEST(SpanIds, ParseAndPrint) {
  struct Case {
    const char* text;
    const char* printed;  // nullptr: does not parse
  };
  const Case traces[] = {{"0123456789abcdefFEDCBA9876543210", "0123456789abcdeffedcba9876543210"},
                         {"1", "00000000000000000000000000000001"},
                         {"abc", "00000000000000000000000000000abc"},
                         {"00000000000000000000000000000000", "00000000000000000000000000000000"},
                         {"", nullptr},
                         {"0123456789abcdef0123456789abcdef0", nullptr},
                         {"xyz", nullptr},
                         {"0x1", nullptr}};
  for (const Case& c : traces) {
    SCOPED_TRACE(c.text);
    const auto id = ParseTraceId(c.text);
    ASSERT_EQ(id.has_value(), c.printed != nullptr);
    EXPECT_EQ(id.has_value() ? ToString(*id) : "", c.printed == nullptr ? "" : c.printed);
  }
  EXPECT_EQ(ToString(*ParseSpanId("F")), "000000000000000f");
  EXPECT_FALSE(ParseSpanId("00000000000000000").has_value());
  EXPECT_TRUE(ParseSpanId("0")->empty());
  EXPECT_LT(*ParseTraceId("1"), *ParseTraceId("2"));
}

TEST(Values, CompareTypeAndBits) {
  EXPECT_FALSE(ValueView::Int(1) == ValueView::Double(1));
  EXPECT_FALSE(ValueView::String("a") == ValueView::Bytes("a"));
  EXPECT_FALSE(ValueView::Double(0.0) == ValueView::Double(-0.0));
  EXPECT_TRUE(ValueView::Double(std::nan("")) == ValueView::Double(std::nan("")));
  EXPECT_TRUE(ValueView() == ValueView());
  EXPECT_FALSE(ValueView::Bool(true) == ValueView::Bool(false));
}

TEST(Values, PrintAsJaegerDoes) {
  std::string array;
  AppendElement(ValueView::String("a\"\n\x01"), &array);
  AppendElement(ValueView::Int(-3), &array);
  AppendElement(ValueView::Double(std::numeric_limits<double>::infinity()), &array);
  AppendElement(ValueView(), &array);
  std::string map;
  AppendEntry({"k", ValueView::Bool(true)}, &map);
  AppendEntry({"n", ValueView::Array(array)}, &map);
  struct Case {
    ValueView value;
    const char* text;
  };
  const Case cases[] = {
      {ValueView(), ""},
      {ValueView::String("a\"b"), "a\"b"},
      {ValueView::Bool(true), "true"},
      {ValueView::Int(std::numeric_limits<int64_t>::min()), "-9223372036854775808"},
      {ValueView::Double(0.5), "0.5"},
      {ValueView::Double(1e21), "1e+21"},
      {ValueView::Double(1e20), "100000000000000000000"},
      {ValueView::Double(1e-7), "1e-07"},
      {ValueView::Double(-std::numeric_limits<double>::infinity()), "-Inf"},
      {ValueView::Bytes(std::string_view("\x00\xff", 2)), "AP8="},
      {ValueView::Bytes("abc"), "YWJj"},
      {ValueView::Array(array), "[\"a\\\"\\n\\u0001\",-3,\"+Inf\",null]"},
      {ValueView::Map(map), "{\"k\":true,\"n\":[\"a\\\"\\n\\u0001\",-3,\"+Inf\",null]}"},
      {ValueView::Array(""), "[]"},
      {ValueView::Map(""), "{}"}};
  for (const Case& c : cases) EXPECT_EQ(ToString(c.value), c.text);
  std::string json;
  AppendJson(ValueView::String("\xff ok \xe2\x82\xac"), &json);
  EXPECT_EQ(json, "\"\\ufffd ok \xe2\x82\xac\"");
}

TEST(Values, WireRoundTrip) {
  std::string array;
  AppendElement(ValueView::String("x"), &array);
  const ValueView values[] = {
      ValueView::String("text"), ValueView::String(""),   ValueView::Bool(false),
      ValueView::Int(-1),        ValueView::Double(-0.0), ValueView::Bytes("\x01"),
      ValueView::Array(array),   ValueView::Map(""),      ValueView()};
  for (const ValueView& value : values) {
    std::string wire;
    EncodeAnyValue(value, &wire);
    ValueView back;
    ASSERT_TRUE(DecodeAnyValue(wire, &back));
    EXPECT_TRUE(back == value) << ToString(value);
    std::string pair;
    EncodeKeyValue({"key", value}, &pair);
    AttributeView attribute;
    ASSERT_TRUE(DecodeKeyValue(pair, &attribute));
    EXPECT_EQ(attribute.key, "key");
    EXPECT_TRUE(attribute.value == value);
    for (size_t cut = 1; cut < wire.size(); ++cut) {
      ValueView part;
      EXPECT_FALSE(DecodeAnyValue(std::string_view(wire).substr(0, cut), &part)) << cut;
    }
  }
}

TEST(Values, DepthAndFormAreChecked) {
  std::string nested;
  for (int depth = 1; depth <= 200; ++depth) {
    const ValueView value = ValueView::Array(nested);
    EXPECT_EQ(ValidateValue(value, 64), depth <= 64) << depth;
    std::string json;
    AppendJson(value, &json);  // ends by itself
    std::string outer;
    AppendElement(value, &outer);
    nested = std::move(outer);
  }
  for (const char* bad : {"\xff", "\x0a\x05x", "\x0a\xff\xff\xff\xff\x0f", "\x07"}) {
    EXPECT_FALSE(ValidateValue(ValueView::Array(bad), 64));
    EXPECT_FALSE(ValidateValue(ValueView::Map(bad), 64));
  }
}

TEST(Values, UnknownFieldsAreSkippedAndTheLastOfAOneofWins) {
  std::string wire;
  wire += "\x9a\x01\x01x";  // field 19, bytes
  EncodeAnyValue(ValueView::Int(5), &wire);
  EncodeAnyValue(ValueView::String("last"), &wire);
  ValueView value;
  ASSERT_TRUE(DecodeAnyValue(wire, &value));
  EXPECT_TRUE(value == ValueView::String("last"));
}

TEST(Attributes, LastValueOfAKeyIsFound) {
  const std::vector<AttributeView> attributes = {
      {"a", ValueView::Int(1)}, {"b", ValueView::Int(2)}, {"a", ValueView::Int(3)}};
  ASSERT_NE(FindAttribute(attributes, "a"), nullptr);
  EXPECT_EQ(FindAttribute(attributes, "a")->integer, 3);
  EXPECT_EQ(FindAttribute(attributes, "c"), nullptr);
}

TEST(SpanBatches, RangesFollowFilling) {
  SpanBatch batch;
  const AttributeView attribute{"k", ValueView::String(batch.Copy("v"))};
  const uint32_t resource = batch.AddResource({&attribute, 1}, "url", 1);
  const uint32_t scope = batch.AddScope(resource, "lib", "1", {&attribute, 1});
  SpanBatch::Span span;
  span.scope = scope;
  span.attributes = {77, 77};  // ignored
  batch.AddSpan(span, {&attribute, 1});
  batch.AddEvent(5, "event", {&attribute, 1}, 2);
  batch.AddEvent(6, "event", {});
  batch.AddSpan(span, {});
  batch.AddLink({}, {&attribute, 1});
  ASSERT_EQ(batch.spans().size(), 2u);
  EXPECT_EQ(batch.events(batch.spans()[0]).size(), 2u);
  EXPECT_EQ(batch.events(batch.spans()[1]).size(), 0u);
  EXPECT_EQ(batch.links(batch.spans()[1]).size(), 1u);
  EXPECT_EQ(batch.attributes(batch.spans()[0].attributes)[0].value, ValueView::String("v"));
  EXPECT_EQ(batch.resource_of(batch.spans()[1]).schema_url, "url");
  SpanBatch moved = std::move(batch);
  EXPECT_EQ(moved.attributes(moved.links(moved.spans()[1])[0].attributes)[0].key, "k");
  moved.Clear();
  EXPECT_TRUE(moved.empty());
}

}  // namespace
}  // namespace varve
