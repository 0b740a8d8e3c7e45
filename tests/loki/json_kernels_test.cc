#include "tools/loki/json_kernels.h"

#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "engine/base/strings.h"
#include "engine/base/utf8.h"
#include "gtest/gtest.h"
#include "tests/support/shared_data.h"
#include "tools/loki/json_text.h"

namespace varve::loki {
namespace {

/// What reading one string gives, and what it leaves.
struct Outcome {
  bool ok = false;
  std::string text;
  std::string error;
  std::string rest;  // from where reading stopped
  bool operator==(const Outcome&) const = default;
};

// The text lies in an allocation of its own size, so that a sanitizer sees any step outside.
Outcome Read(const JsonKernels& kernels, std::string_view json) {
  const auto bytes = std::make_unique<char[]>(json.size());
  std::memcpy(bytes.get(), json.data(), json.size());
  JsonText text(bytes.get(), json.size(), kernels);
  Outcome out;
  std::string_view view;
  out.ok = text.String(&view);
  if (out.ok) out.text = view;
  out.error = text.ErrorText();
  out.rest = std::string_view(bytes.get(), json.size()).substr(text.offset());
  return out;
}

// Reads the string byte by byte, as RFC 8259 has it.
Outcome Model(std::string_view json) {
  Outcome out;
  size_t at = 1;
  const auto hex4 = [&](size_t i) -> int {
    if (i + 4 > json.size()) return -1;
    int value = 0;
    for (const char c : json.substr(i, 4)) {
      if (!std::isxdigit(static_cast<unsigned char>(c))) return -1;
      value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
  };
  const auto fail = [&](std::string_view what) {
    out.text.clear();
    out.error = Concat(what, " at byte ", at);
    out.rest = json.substr(at);
    return out;
  };
  for (; at < json.size() && json[at] != '"';) {
    if (static_cast<unsigned char>(json[at]) < 0x20) return fail("control character in a string");
    if (json[at] != '\\') {
      out.text += json[at++];
      continue;
    }
    if (at + 1 == json.size()) return fail("unterminated string");
    constexpr std::string_view kFrom = "\"\\/bfnrt";
    constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
    if (const size_t kind = kFrom.find(json[at + 1]); kind != std::string_view::npos) {
      out.text += kTo[kind];
      at += 2;
      continue;
    }
    if (json[at + 1] != 'u') return fail("invalid escape in a string");
    int rune = hex4(at + 2);
    if (rune < 0) return fail("invalid \\u escape");
    at += 6;
    if (rune >= 0xd800 && rune < 0xe000) {
      const int low = rune < 0xdc00 && json.substr(at).starts_with("\\u") ? hex4(at + 2) : -1;
      if (low >= 0xdc00 && low < 0xe000) {
        rune = 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
      } else {
        rune = 0xfffd;
      }
    }
    char bytes[kUtf8BytesMax];
    out.text.append(bytes, PutUtf8(static_cast<uint32_t>(rune), bytes));
  }
  if (at == json.size()) return fail("unterminated string");
  out.ok = true;
  out.error = Concat("no error at byte ", 0);
  out.rest = json.substr(at + 1);
  return out;
}

void ExpectAllLikeModel(std::string_view json) {
  const Outcome expected = Model(json);
  for (const JsonKernels& kernels : AllJsonKernels()) {
    const Outcome got = Read(kernels, json);
    ASSERT_EQ(got.ok, expected.ok) << kernels.name << ": " << json;
    ASSERT_EQ(got.text, expected.text) << kernels.name << ": " << json;
    ASSERT_EQ(got.error, expected.error) << kernels.name << ": " << json;
    ASSERT_EQ(got.rest, expected.rest) << kernels.name << ": " << json;
  }
}

TEST(JsonKernels, EscapesAtEveryPlaceOfABlock) {
  for (const std::string_view escape :
       {R"(\")", R"(\\)", R"(\\\")", R"(\\\\\\)", R"(\/)", R"(\n)", R"(\u0041)", R"(\u20ac)",
        R"(\ud83d\ude00)", R"(\ud83d)", R"(\ud83dx)", R"(\ude00\n)", R"(\x)", R"(\u12g4)", R"(\)",
        "\x01", "\\\x01"}) {
    for (size_t before = 0; before < 140; ++before) {
      for (const size_t after : {0, 1, 7, 30, 63, 64, 150}) {
        const std::string json =
            Concat("\"", std::string(before, 'a'), escape, std::string(after, 'b'));
        ExpectAllLikeModel(json);  // not terminated
        ExpectAllLikeModel(Concat(json, "\""));
        ExpectAllLikeModel(Concat(json, "\", \"a string behind it, with \\\"escapes\\\"\""));
      }
    }
  }
}

TEST(JsonKernels, RandomStrings) {
  constexpr std::string_view kPieces[] = {
      "a",     "bc",        "def ",  "/",         "\xc3\xa9", "\xff",      R"(\")",
      R"(\")", R"(\\)",     R"(\/)", R"(\n)",     R"(\t)",    R"(\u0000)", "words",
      "{",     R"(\u00E9)", R"(\\)", R"(\ufffd)", "0123456",  ":",         R"(\uD83D\uDE00)"};
  std::mt19937_64 random(20'261'128);
  for (int i = 0; i < 20'000; ++i) {
    std::string json = "\"";
    // Few kinds a string, so that runs of one come up.
    const size_t first = random() % std::size(kPieces);
    const size_t kinds = 1 + random() % std::size(kPieces);
    const size_t pieces = random() % 80;
    for (size_t k = 0; k < pieces; ++k) {
      json += kPieces[(first + random() % kinds) % std::size(kPieces)];
    }
    if (random() % 4 == 0) json[1 + random() % json.size()] = static_cast<char>(random() % 256);
    json += "\"";
    if (random() % 2 == 0) json += std::string(random() % 100, '"');
    ExpectAllLikeModel(json);
  }
}

// Lines of real programs, escaped as a client does.
TEST(JsonKernels, RealLines) {
  size_t lines = 0;
  for (const char* name : {"caddy-access.json", "nginx-error-debug.log", "postgres-jsonlog.json",
                           "nginx-json-invalid-utf8-long-lines.json"}) {
    const auto path = testing::SharedPath(Concat("data/logs/", name, ".zst"));
    if (!path.has_value()) GTEST_SKIP() << "skipped: data/logs is not there";
    const std::string text = testing::ReadFile(*path);
    for (const std::string_view line :
         testing::SplitLines(std::string_view(text).substr(0, 1u << 20))) {
      std::string json = "\"";
      for (const char c : line) {
        constexpr char kHex[] = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
          json += '\\';
          json += c;
        } else if (byte < 0x20 || byte > 0x7e) {
          json += Concat("\\u00", std::string_view(&kHex[byte >> 4], 1),
                         std::string_view(&kHex[byte & 15], 1));
        } else {
          json += c;
        }
      }
      ExpectAllLikeModel(Concat(json, "\"]"));
      ++lines;
    }
  }
  EXPECT_GT(lines, 5'000u);
}

}  // namespace
}  // namespace varve::loki
