// Lines, columns, filters: what is encoded comes back byte for byte, what is there is never ruled
// out, and what is damaged is refused.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <random>
#include <set>

#include "engine/base/hash.h"
#include "engine/base/interrupt.h"
#include "engine/base/strings.h"
#include "engine/index/filters.h"
#include "engine/logs/block_format.h"
#include "engine/logs/char_class.h"
#include "engine/logs/columns.h"
#include "engine/logs/head_words.h"
#include "engine/logs/line_automaton.h"
#include "engine/logs/line_codec.h"
#include "engine/logs/line_cutter.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/line_keys.h"
#include "engine/logs/line_table.h"
#include "engine/logs/log_scan.h"
#include "engine/logs/page.h"
#include "engine/logs/page_keys.h"
#include "engine/logs/text_kernels.h"
#include "engine/logs/word_hash.h"
#include "tests/support/padded_lines.h"
#include "tests/support/shared_data.h"

namespace varve::logs {
namespace {

struct Encoded {
  std::string bytes;
  std::vector<uint64_t> keys;
  std::shared_ptr<Vocabulary> vocabulary = std::make_shared<Vocabulary>();
  uint64_t text_bytes = 0;
};

Encoded Encode(const std::vector<std::string_view>& lines) {
  Encoded out;
  for (const std::string_view line : lines) out.text_bytes += line.size();
  EncodeLines(PaddedLines(lines).lines(), &out.bytes, &out.keys, out.vocabulary.get());
  return out;
}

void ExpectRoundTrip(const std::vector<std::string_view>& lines, const Encoded& encoded) {
  Rows rows;
  const Status status =
      DecodeLines(encoded.bytes, static_cast<uint32_t>(lines.size()), encoded.text_bytes, &rows);
  ASSERT_TRUE(status.ok()) << status;
  for (uint32_t i = 0; i < lines.size(); ++i) ASSERT_EQ(rows.line(i), lines[i]) << i;
}

/// What a scan for `needle` would ask of a group: true if it would be read.
bool Allowed(const Encoded& encoded, size_t lines, const std::string& needle) {
  LogScanSpec spec;
  spec.line_filters = {{LineFilter::Op::kContains, {needle}}};
  const auto scan = *CompileLogScan(spec);
  std::string bytes;
  EXPECT_TRUE(EncodeGroupFilter(encoded.keys, MetadataColumns(), &bytes).ok());
  if (!bytes.empty()) {
    const auto filter = index::BinaryFuse::Parse(bytes);
    EXPECT_TRUE(filter.ok());
    if (RuledOutBy(*filter, ResolveNeeded(*scan, &encoded.vocabulary->text())).has_value())
      return false;
  }
  return *LinesMayContain(encoded.bytes, static_cast<uint32_t>(lines), encoded.text_bytes, needle);
}

std::vector<std::string> RandomLines(std::mt19937_64& random, size_t count) {
  const auto pick = [&](std::initializer_list<const char*> list) {
    return std::string(*(list.begin() + random() % list.size()));
  };
  std::vector<std::string> out;
  const int kind = static_cast<int>(random() % 6);
  for (size_t i = 0; i < count; ++i) {
    switch (kind) {
      case 0:
        out.push_back(Concat(i * 1000, " ", pick({"GET", "PUT"}), " /a/", random() % 99, "/",
                             pick({"x", "y-z", "Q"}), " took 0.00", random() % 9999,
                             "s id=", random(), "f"));
        break;
      case 1:
        out.push_back(Concat(R"({"t":")", 100000 + i, R"(","user":")", pick({"ann", "bob", "é"}),
                             random() % 5, R"(","path":")", pick({"/p", "/q/r", ""}), random() % 3,
                             R"(","ua":"a \" quote ;)", random() % 200, R"("})"));
        break;
      case 2: {
        std::string line(random() % 40, ' ');
        for (char& c : line) c = static_cast<char>(random());
        out.push_back(std::move(line));
        break;
      }
      case 3:
        out.push_back(random() % 3 == 0 ? ""
                                        : pick({"000", "0", "007", "12", "99999999999999999999"}));
        break;
      case 4: {
        // Prose: neighbouring words, with all that may stand around them.
        std::string line;
        for (size_t k = 0; k < 3 + random() % 12; ++k) {
          line += pick({"could", "not", "receive", "data", "from", "dead", "Ärger", "a_b", "x7",
                        "42", "file.c"});
          line += random() % 3 != 0
                      ? " "
                      : pick({"=", ": ", "\"", " \"", "\\", ", ", "-", "  ", " =", ":", "{", " /"});
        }
        out.push_back(std::move(line));
        break;
      }
      default: {
        std::string id;
        for (int k = 0; k < 16; ++k) id.push_back("0123456789abcdef"[random() % 16]);
        out.push_back(Concat("trace=", id, " done"));
      }
    }
  }
  return out;
}

TEST(Lines, RandomLinesComeBackAndAreFound) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const std::vector<std::string> owned = RandomLines(random, 1 + random() % 200);
    const std::vector<std::string_view> lines(owned.begin(), owned.end());
    const Encoded encoded = Encode(lines);
    ExpectRoundTrip(lines, encoded);
    if (::testing::Test::HasFatalFailure()) return;
    for (int k = 0; k < 20; ++k) {
      const std::string_view line = lines[random() % lines.size()];
      const size_t begin = random() % (line.size() + 1);
      const std::string needle(line.substr(begin, 1 + random() % 60));
      ASSERT_TRUE(Allowed(encoded, lines.size(), needle)) << round << " " << GoQuote(needle);
    }
  }
}

// Metadata that stands at the same place for entry after entry is written again by a copy: the page
// must be that of equal texts elsewhere.
TEST(Page, MetadataRoundTrips) {
  std::mt19937_64 random(11);
  const std::string values[] = {"", "info", "a value that is longer than any short copy would be",
                                std::string(300, 'v')};
  Rows rows;  // that hold another page before each
  std::vector<uint32_t> streams;
  for (int round = 0; round < 300; ++round) {
    const std::vector<std::string> owned = RandomLines(random, 1 + random() % 60);
    std::vector<std::vector<LabelView>> shared(owned.size());
    std::vector<std::vector<std::pair<std::string, std::string>>> apart(owned.size());
    std::vector<std::vector<LabelView>> apart_views(owned.size());
    std::vector<EntryView> entries;
    std::vector<EntryView> copies;
    for (size_t i = 0; i < owned.size(); ++i) {
      const uint64_t kind = random() % 6;  // many are like the one before
      if (kind >= 3 && i > 0) {
        shared[i] = shared[i - 1];
      } else {
        if (kind >= 1) shared[i].push_back({"level", values[random() % std::size(values)]});
        if (kind >= 2) shared[i].push_back({"trace_id", values[random() % std::size(values)]});
      }
      for (const LabelView& label : shared[i]) apart[i].emplace_back(label.name, label.value);
      for (const auto& [name, value] : apart[i]) apart_views[i].push_back({name, value});
      const auto time = static_cast<int64_t>(random());
      const auto stream = static_cast<uint32_t>(random() % 3);
      entries.push_back({time, owned[i], shared[i], stream});
      copies.push_back({time, owned[i], apart_views[i], stream});
    }
    const bool one_stream = round % 2 == 0;
    std::string page;
    std::string copy;
    EncodePage(entries, one_stream, &page);
    EncodePage(copies, one_stream, &copy);
    ASSERT_EQ(page, copy) << round;
    ASSERT_TRUE(DecodePage(page, &rows, &streams).ok());
    ASSERT_EQ(rows.size(), entries.size());
    for (uint32_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(rows.times[i], entries[i].time_ns);
      ASSERT_EQ(rows.line(i), owned[i]);
      const LabelsView metadata = rows.metadata_of(i);
      ASSERT_TRUE(std::equal(metadata.begin(), metadata.end(), shared[i].begin(), shared[i].end()));
      ASSERT_EQ(one_stream ? entries[i].stream : streams[i], entries[i].stream);
    }
  }
}

TEST(Page, EveryCutIsRefused) {
  const LabelView level{"level", "info"};
  const std::string line(200, 'x');
  const EntryView entries[] = {{1'700'000'000'000'000'000, line, {&level, 1}, 0},
                               {1'700'000'000'000'000'300, "short", {&level, 1}, 1},
                               {1'600'000'000'000'000'000, "", {}, 2}};
  for (const bool large : {false, true}) {  // large: compressed
    std::string page;
    EncodePage(std::span(entries).subspan(large ? 0 : 1), false, &page);
    ASSERT_EQ(page[0], large ? 1 : 0);
    Rows rows;
    std::vector<uint32_t> streams;
    ASSERT_TRUE(DecodePage(page, &rows, &streams).ok());
    for (size_t size = 0; size < page.size(); ++size) {
      EXPECT_FALSE(DecodePage(page.substr(0, size), &rows, &streams).ok()) << size;
      // The size that the head tells fits, what it is of does not.
      if (!large && size >= 2) {
        std::string cut = page.substr(0, size);
        cut[1] = static_cast<char>(size - 2);
        EXPECT_FALSE(DecodePage(cut, &rows, &streams).ok()) << size;
      }
    }
  }
}

TEST(PageKeys, CollectingCanBeInterrupted) {
  std::string words, id;
  while (words.size() < 1 << 20) words += Concat("word", words.size(), " ");
  while (id.size() < 1 << 20) id += Concat(id.size(), "a");
  for (const std::string& line : {words, id}) {
    const EntryView entry{0, line, {}, 0};
    std::string page;
    EncodePage({&entry, 1}, true, &page);
    Rows rows;
    std::vector<uint32_t> streams;
    ASSERT_TRUE(DecodePage(page, &rows, &streams).ok());
    PageKeyCollector collector;
    PageKeys whole;
    ASSERT_TRUE(collector.Collect(page, rows, &whole).ok());
    for (const int allowed : {0, 1, 4}) {
      int checks = 0;
      const auto check = [&] {
        return checks++ < allowed ? absl::OkStatus() : MakeStatus(StatusCode::kCancelled, "enough");
      };
      const InterruptCheck interrupt(check);
      PageKeys keys;
      EXPECT_EQ(collector.Collect(page, rows, &keys).code(), StatusCode::kCancelled);
      EXPECT_EQ(checks, allowed + 1);
      EXPECT_LT(keys.keys.size(), whole.keys.size() * (allowed + 2) / 8);
    }
  }
}

// LZ4 repeats in the lines what it has met in the metadata, where no words of lines are looked for.
TEST(PageKeys, MetadataIsNoPlaceToHaveMetAWord) {
  const std::string text = " some words of metadata that lines have too, in this very order ";
  const LabelView label{"note", text};
  std::vector<EntryView> entries(20, EntryView{0, text, {&label, 1}, 0});
  std::string page;
  EncodePage(entries, true, &page);
  ASSERT_FALSE(BlockOfPage(page).empty());
  Rows rows;
  std::vector<uint32_t> streams;
  ASSERT_TRUE(DecodePage(page, &rows, &streams).ok());
  PageKeyCollector collector;
  PageKeys keys;
  ASSERT_TRUE(collector.Collect(page, rows, &keys).ok());
  for (const std::string_view word : {"words", "metadata", "lines", "order"}) {
    EXPECT_NE(keys.words.find(Concat(word, "\n")), std::string::npos) << word;
  }
}

// The filter of a head's page must know all that a scan for any piece of a line may ask for, though
// the collector leaves out what LZ4 repeats.
TEST(PageKeys, NothingInThePageIsRuledOut) {
  std::mt19937_64 random(5);
  PageKeyCollector collector;
  int allowed_wrongly = 0;
  for (int round = 0; round < 200; ++round) {
    const std::vector<std::string> owned = RandomLines(random, 1 + random() % 200);
    std::vector<EntryView> entries;
    const LabelView trace{"trace_id", "7c9e6679"};
    for (const std::string& line : owned) {
      entries.push_back({0, line, round % 2 == 0 ? LabelsView() : LabelsView(&trace, 1), 0});
    }
    std::string page;
    EncodePage(entries, true, &page);
    Rows rows;
    std::vector<uint32_t> streams;
    ASSERT_TRUE(DecodePage(page, &rows, &streams).ok());
    PageKeys keys;
    ASSERT_TRUE(collector.Collect(page, rows, &keys).ok());
    index::BlockedBloom bloom(keys.keys.size());
    for (const uint64_t key : keys.keys) bloom.Add(key);
    HeadWords words;
    const uint64_t version = words.Add(keys.words);
    const auto allowed = [&](const LogScanSpec& spec) {
      return !RuledOutBy(bloom, *words.Needed(**CompileLogScan(spec), version)).has_value();
    };
    LogScanSpec spec;
    for (int k = 0; k < 40; ++k) {
      const std::string_view line = owned[random() % owned.size()];
      const size_t begin = random() % (line.size() + 1);
      spec.line_filters = {
          {LineFilter::Op::kContains, {std::string(line.substr(begin, 1 + random() % 60))}}};
      ASSERT_TRUE(allowed(spec)) << round << " " << GoQuote(spec.line_filters[0].texts[0]);
    }
    if (round % 2 != 0) {
      ASSERT_TRUE(bloom.MayContain(MetadataKey(trace.name, trace.value)));
    }
    // The vocabulary is exact, the filter nearly.
    spec.line_filters = {{LineFilter::Op::kContains, {"quizzacious"}}};
    EXPECT_FALSE(allowed(spec)) << round;
    spec.line_filters = {{LineFilter::Op::kContains, {" quizzacious "}}};
    allowed_wrongly += allowed(spec) ? 1 : 0;
  }
  EXPECT_LT(allowed_wrongly, 20);
}

// Digits alone are no word of a filter: runs of nine and more are found by their minimizers,
// however they are written and whatever stands around them.
TEST(Lines, NumbersRuleOutBareDigits) {
  std::mt19937_64 random(11);
  // Columns of numbers, padded numbers, text, hexadecimal, a dictionary; a template; lines kept
  // whole.
  const std::vector<std::function<std::string(size_t)>> shapes = {
      [&](size_t) { return Concat("order ", 1'000'000'000 + random() % 1'000'000'000, " paid"); },
      [&](size_t) { return Concat("call 0", 10'000'000'000 + random() % 1'000'000'000, " ended"); },
      [&](size_t) { return Concat("at ", random(), random(), " ns"); },
      [&](size_t i) { return Concat("hash ", 1'000'000'000'000'000 + i * 7'777'777'777'777, "a"); },
      [&](size_t i) { return Concat("batch ", 1'700'000'000'123 + i % 3, " of ", i); },
      [&](size_t) { return std::string("part 4006381333931 is out"); },
      [&](size_t) { return Concat("user_", 100'000'000 + random() % 900'000'000, "x=1"); },
      [&](size_t) { return std::string(random() % 9, 'q') + Concat(random(), "\0", random()); },
  };
  for (size_t shape = 0; shape < shapes.size(); ++shape) {
    std::vector<std::string> owned;
    for (size_t i = 0; i < 200; ++i) owned.push_back(shapes[shape](i));
    const std::vector<std::string_view> lines(owned.begin(), owned.end());
    const Encoded encoded = Encode(lines);
    int absent_allowed = 0;
    for (int k = 0; k < 200; ++k) {
      const std::string_view line = lines[random() % lines.size()];
      const size_t digit = line.find_first_of("0123456789");
      const size_t digits =
          std::min(line.find_first_not_of("0123456789", digit), line.size()) - digit;
      if (digits >= kNumberBytesMin) {
        const size_t bytes = kNumberBytesMin + random() % (digits - kNumberBytesMin + 1);
        const size_t begin = digit + random() % (digits - bytes + 1);
        const std::string needle(line.substr(begin, bytes));
        ASSERT_TRUE(Allowed(encoded, lines.size(), needle)) << shape << " " << needle;
      }
      std::string absent;
      while (absent.size() < kNumberBytesMin + k % 12) {
        absent.push_back(static_cast<char>('0' + random() % 10));
      }
      const bool present = std::any_of(lines.begin(), lines.end(), [&](std::string_view one) {
        return one.find(absent) != std::string_view::npos;
      });
      absent_allowed += !present && Allowed(encoded, lines.size(), absent) ? 1 : 0;
    }
    EXPECT_LT(absent_allowed, 10) << shape;
  }
  const auto keys = [](std::string_view word) {
    std::vector<uint64_t> out;
    AddNumberKeys(word, &out);
    return out.size();
  };
  EXPECT_EQ(keys("12345678"), 0u);
  EXPECT_EQ(keys("12345678a12345678"), 0u);
  EXPECT_EQ(keys("123456789"), 1u);
  EXPECT_EQ(keys("a123456789b987654321c"), 2u);
}

TEST(Lines, PairsOfWordsRuleOutPhrases) {
  std::vector<std::string> owned;
  for (int i = 0; i < 50; ++i) {
    owned.push_back(Concat("connection from client ", i, " lost: no data received"));
    owned.push_back(Concat("received no answer, client ", i, " is from home"));
  }
  const std::vector<std::string_view> lines(owned.begin(), owned.end());
  const Encoded encoded = Encode(lines);
  const auto pairs = [](std::string_view needle) {
    std::vector<uint64_t> keys;
    AddPairKeys(needle, &keys);
    return keys;
  };
  EXPECT_TRUE(Allowed(encoded, lines.size(), " no data "));
  for (const std::string needle : {" data from ", " received from client ", "x no client x"}) {
    ASSERT_FALSE(pairs(needle).empty()) << needle;
    EXPECT_FALSE(Allowed(encoded, lines.size(), needle)) << needle;
  }
  // Words that may go on, that are not of letters, that a value may part from what follows.
  for (const std::string needle : {"no data", " no data", "no data ", " no  data ", " no, data ",
                                   " no d4ta ", "=no data ", ":no data ", " no data.", ""}) {
    EXPECT_TRUE(pairs(needle).empty()) << needle;
  }
  EXPECT_EQ(pairs(" no data ").size(), 1u);
  EXPECT_EQ(pairs(" a b c =d e f=").size(), 3u);
}

/// What the filters of a scan leave of encoded lines must be what they leave of the lines.
void ExpectSameMatches(const std::vector<std::string_view>& lines, const Encoded& encoded,
                       const LogScanSpec& spec) {
  const auto scan = CompileLogScan(spec);
  ASSERT_TRUE(scan.ok()) << scan.status();
  LineTable table;
  ASSERT_TRUE(
      table.Open(encoded.bytes, static_cast<uint32_t>(lines.size()), encoded.text_bytes).ok());
  if (!table.templated()) return;
  std::vector<uint32_t> expected;
  std::vector<uint32_t> selected;
  for (uint32_t i = 0; i < lines.size(); ++i) {
    selected.push_back(i);
    if (LineMatches(**scan, lines[i])) expected.push_back(i);
  }
  Rows rows;
  for (const bool render : {false, true}) {
    std::vector<uint32_t> kept = selected;
    const Status status = (*scan)->KeepMatchingLines(&table, render, &rows, &kept);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(kept, expected) << GoQuote(spec.line_filters[0].texts[0]);
    for (const uint32_t row : render ? kept : std::vector<uint32_t>()) {
      ASSERT_EQ(rows.line(row), lines[row]);
    }
  }
  // The same over lines that are decoded.
  Rows decoded;
  ASSERT_TRUE(table.Render(&decoded).ok());
  std::vector<uint32_t> kept = selected;
  ASSERT_TRUE((*scan)->KeepMatchingLines(decoded.text, decoded.line_begin, &kept).ok());
  ASSERT_EQ(kept, expected) << GoQuote(spec.line_filters[0].texts[0]);
}

std::string RandomPattern(std::mt19937_64& random, int depth) {
  const auto pick = [&](std::initializer_list<const char*> list) {
    return std::string(*(list.begin() + random() % list.size()));
  };
  std::string out;
  const size_t parts = 1 + random() % 3;
  for (size_t i = 0; i < parts; ++i) {
    if (depth > 0 && random() % 4 == 0) {
      out += Concat(pick({"(", "(?:", "(?i:", "(?s:"}), RandomPattern(random, depth - 1), "|",
                    random() % 3 == 0 ? "" : RandomPattern(random, depth - 1), ")");
    } else {
      out += pick({"GET",       "PUT",   "/",     "[0-9]", "\\d",   "[a-f]", "user",
                   "ann",       "é",     ".",     "[^ ]",  "took",  " ",     "id=",
                   "0",         "1",     "99",    "[5-7]", "\\w",   "\\W",   "\\s",
                   "\\S",       "\\bx",  "^",     "$",     "trace", "x",     "[[:alpha:]_]",
                   "[^\\d\\s]", "[é-ü]", "\\x41", "\\.",   "\"",    "s",     "k",
                   "q",         "f",     "[+-]",  "[]a]",  "{",     "\\D",   "path"});
    }
    if (random() % 4 == 0) {
      if (out.back() == '^' || out.back() == '$') continue;
      out += pick({"*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "+?"});
    }
  }
  return out;
}

TEST(Lines, FiltersSeeInEncodedLinesWhatIsInThem) {
  std::mt19937_64 random(11);
  int compared = 0;
  for (int round = 0; round < 150; ++round) {
    const std::vector<std::string> owned = RandomLines(random, 80 + random() % 200);
    const std::vector<std::string_view> lines(owned.begin(), owned.end());
    const Encoded encoded = Encode(lines);
    for (int k = 0; k < 12; ++k) {
      LogScanSpec spec;
      const size_t filters = 1 + random() % 2;
      bool valid = true;
      for (size_t f = 0; f < filters; ++f) {
        LineFilter filter;
        filter.op = static_cast<LineFilter::Op>(random() % 4);
        const bool regex =
            filter.op == LineFilter::Op::kMatches || filter.op == LineFilter::Op::kNotMatches;
        for (size_t t = 0; t < 1 + random() % 2; ++t) {
          const std::string_view line = lines[random() % lines.size()];
          const size_t begin = random() % (line.size() + 1);
          filter.texts.push_back(regex ? RandomPattern(random, 2)
                                       : std::string(line.substr(begin, 1 + random() % 12)));
        }
        spec.line_filters.push_back(std::move(filter));
      }
      valid = CompileLogScan(spec).ok();
      if (!valid) continue;
      ++compared;
      ExpectSameMatches(lines, encoded, spec);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(compared, 1000);
}

// All ways of looking at bytes say of each what the table of classes says.
TEST(TextKernels, SayWhatBytesAre) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 4000; ++round) {
    std::array<char, 64> text;
    for (char& c : text) {
      const uint64_t r = random();
      c = static_cast<char>(round % 2 == 0 ? r % 256 : "azAZ09_gfGF /:@[`{\xc3\xff"[r % 20]);
    }
    WordBytes expected{};
    for (size_t i = 0; i < text.size(); ++i) {
      const uint8_t bits = kWordBits[static_cast<uint8_t>(text[i])];
      expected.words |= uint64_t{bits != 0} << i;
      expected.digits |= uint64_t{(bits & kWordDigit) != 0} << i;
      expected.upper |= uint64_t{(bits & kWordUpper) != 0 || text[i] == '_'} << i;
      expected.beyond_hex |= uint64_t{(bits & kWordBeyondHex) != 0} << i;
    }
    for (const TextKernel& kernel : AllTextKernels()) {
      const WordBytes actual = kernel.word_bytes(text.data());
      ASSERT_EQ(actual.words, expected.words) << kernel.name;
      ASSERT_EQ(actual.digits, expected.digits) << kernel.name;
      ASSERT_EQ(actual.upper, expected.upper) << kernel.name;
      ASSERT_EQ(actual.beyond_hex, expected.beyond_hex) << kernel.name;
    }
  }
}

TEST(WordHash, IsTheSameWithPaddingAndWithout) {
  std::mt19937_64 random(8);
  std::set<uint64_t> seen;
  for (size_t bytes = 1; bytes <= 40; ++bytes) {
    std::string text(bytes + 16, '\0');
    for (char& c : text) c = static_cast<char>(random() % 256);
    const std::string word = text.substr(0, bytes);
    EXPECT_EQ(WordHash().Padded({text.data(), bytes}), WordHash()(word));
    EXPECT_TRUE(seen.insert(WordHash()(word)).second);
    // Zeros are bytes too.
    EXPECT_TRUE(seen.insert(WordHash()(word + '\0')).second);
  }
}

// What words a text has does not hang on where they lie in the steps that it is read by: compared
// with each word alone.
TEST(KeyCollector, FindsWordsWhereverTheyLie) {
  std::mt19937_64 random(9);
  static constexpr std::string_view kWords[] = {"a",
                                                "GET",
                                                "w0rd",
                                                "0123456789012",
                                                "deadbeef01",
                                                "handler_name",
                                                "x9y8z7w6v5u4t3",
                                                "ÜberGröße",
                                                "12",
                                                "_",
                                                "Zookeeper",
                                                "cafe",
                                                "550e8400e29b41d4a716446655440000"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    std::vector<std::string> words;
    while (text.size() < random() % 300) {
      std::string word(kWords[random() % std::size(kWords)]);
      if (random() % 8 == 0) {
        word.append(random() % 140, static_cast<char>(random() % 2 == 0 ? 'k' : '7'));
      }
      text += word;
      text += "-=/. \""[random() % 6];
      if (text.back() == ' ') text += '-';  // pairs of words are tested elsewhere
      words.push_back(std::move(word));
    }
    std::vector<std::string_view> alone(words.begin(), words.end());
    alone.push_back(text);
    const PaddedLines padded(alone);
    std::vector<uint64_t> together;
    std::vector<uint64_t> each;
    Vocabulary some;
    Vocabulary all;
    KeyCollector collector;
    collector.Start(&together, &some);
    collector.Add(padded.lines().back());
    collector.Start(&each, &all);
    for (size_t i = 0; i < words.size(); ++i) collector.Add(padded.lines()[i]);
    for (std::vector<uint64_t>* keys : {&together, &each}) {
      std::sort(keys->begin(), keys->end());
      keys->erase(std::unique(keys->begin(), keys->end()), keys->end());
    }
    ASSERT_EQ(together, each) << text;
    ASSERT_EQ(some.Sorted(), all.Sorted()) << text;
  }
}

// A value that fits the template that is expected is cut as it would be alone: pieces that nearly
// fit, and what ends quotes, fields and words, in every order.
TEST(LineCutter, ExpectedTemplatesCutNothingElse) {
  static constexpr std::string_view kPieces[] = {
      "\"a\":", "\"a1\"", "\"", "\"\"", "\\\"", "\\", "k=",  "k=v", "k=1", "=",   ":", " ",
      "word",   "w0rd",   "1",  "é",    "_",    "-",  "x-y", ",",   "{",   "2.5", "]", "\t"};
  std::mt19937_64 random(31);
  size_t followed = 0;
  size_t changed = 0;
  for (int round = 0; round < 2000; ++round) {
    // Few shapes, each with a piece changed now and then.
    std::vector<std::vector<std::string>> shapes(1 + random() % 3);
    for (auto& shape : shapes) {
      for (size_t i = random() % 12; i-- > 0;) {
        shape.emplace_back(kPieces[random() % std::size(kPieces)]);
      }
    }
    std::vector<std::string> lines;
    for (int i = 0; i < 40; ++i) {
      std::vector<std::string> line = shapes[random() % shapes.size()];
      if (!line.empty() && random() % 2 == 0) {
        line[random() % line.size()] = kPieces[random() % std::size(kPieces)];
      }
      std::string& text = lines.emplace_back();
      for (const std::string& piece : line) text += piece;
      if (random() % 16 == 0) text.insert(random() % (text.size() + 1), 1, '\0');
    }
    const PaddedLines padded(std::vector<std::string_view>(lines.begin(), lines.end()));
    const std::span<const std::string_view> views = padded.lines();
    for (const CutBy by : {CutBy::kWords, CutBy::kFields}) {
      LineCutter all;
      all.Cut(views, by);
      std::vector<uint32_t> rows(all.templates().size());
      for (size_t row = 0; row < views.size(); ++row) {
        LineCutter alone;
        alone.Cut(views.subspan(row, 1), by);
        ASSERT_EQ(alone.template_of(0) == LineCutter::kWhole,
                  all.template_of(row) == LineCutter::kWhole)
            << lines[row];
        if (alone.template_of(0) == LineCutter::kWhole) continue;
        const LineCutter::Template& expected = alone.templates()[0];
        const LineCutter::Template& actual = all.templates()[all.template_of(row)];
        ASSERT_EQ(all.text(actual), alone.text(expected)) << lines[row];
        ASSERT_EQ(actual.slots, expected.slots);
        const uint32_t place = rows[all.template_of(row)]++;
        for (uint32_t s = 0; s < actual.slots; ++s) {
          const LineCutter::Word word = alone.words(0)[s];
          const LineCutter::Slot& slot = all.slots(actual)[s];
          if (place < slot.changed) {
            ASSERT_EQ(slot.first, views[row].substr(word.begin, word.bytes)) << lines[row];
            continue;
          }
          ASSERT_EQ(all.words(row)[s].begin, word.begin) << lines[row];
          ASSERT_EQ(all.words(row)[s].bytes, word.bytes) << lines[row];
          ++changed;
        }
        if (actual.rows > 1) ++followed;
      }
    }
  }
  EXPECT_GT(followed, 50'000u);  // else little was expected
  EXPECT_GT(changed, 20'000u);   // else little was looked for
}

TEST(Automaton, IsMadeForUsualExpressions) {
  const auto of = [](const char* pattern) {
    const std::vector<std::string> patterns{pattern};
    return LineAutomaton::OfPatterns(patterns);
  };
  for (const char* pattern :
       {"[0-9]{3}[a-f][0-9]{4}[a-f]{2}", "(?i)error|warn(ing)?", "level=(debug|info).*took [5-9]",
        R"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})", "^\\S+ - .*$", "a[0-9]{20}b"}) {
    EXPECT_NE(of(pattern), nullptr) << pattern;
  }
  using Verdict = LineAutomaton::Verdict;
  const auto ask = [&](const char* pattern, std::string_view line) {
    const auto automaton = of(pattern);
    return automaton->verdict(automaton->Run(LineAutomaton::start(), line));
  };
  EXPECT_EQ(ask("^$", ""), Verdict::kYes);
  EXPECT_EQ(ask("^$", "a"), Verdict::kNo);
  EXPECT_EQ(ask("a.c", "xabcx"), Verdict::kYes);
  EXPECT_EQ(ask("a.c", "é abc"), Verdict::kYes);
  EXPECT_EQ(ask("a.c", "aéc"), Verdict::kUnsure);
  EXPECT_EQ(ask("a.c", "a\nc"), Verdict::kNo);
  EXPECT_EQ(ask("\\bab", "ab"), Verdict::kUnsure);
  EXPECT_EQ(ask("(?i)ab$", "xAB"), Verdict::kYes);
  // Long texts are read in pieces, several at once.
  std::mt19937_64 random(5);
  const auto long_one = of("ab{3,5}c[0-9]{2}d|xy.{3}y$");
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> owned(random() % 9);
    std::vector<std::string_view> texts;
    std::vector<LineAutomaton::State> states;
    for (std::string& text : owned) {
      text.resize(random() % (round % 2 == 0 ? 3000 : 40));
      for (char& c : text) c = "abbbbc012dxy"[random() % 12];
      texts.push_back(text);
      states.push_back(LineAutomaton::start());
    }
    long_one->RunAll(texts, states.data());
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(states[i], long_one->Run(LineAutomaton::start(), texts[i]));
    }
  }
  // What grows without bound is left to RE2.
  EXPECT_EQ(of("a.{20}b"), nullptr);
  EXPECT_EQ(of("[ab]c.{10}d(x{1000}){1000}"), nullptr);
  EXPECT_EQ(of("\\pL+"), nullptr);
}

TEST(Lines, DamageIsRefusedOrDecodesInBounds) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 40; ++round) {
    const std::vector<std::string> owned = RandomLines(random, 60);
    const Encoded encoded = Encode({owned.begin(), owned.end()});
    for (int k = 0; k < 200; ++k) {
      std::string bad = encoded.bytes;
      if (k % 3 == 0) {
        bad.resize(random() % bad.size());
      } else {
        bad[random() % bad.size()] = static_cast<char>(random());
      }
      Rows rows;
      DecodeLines(bad, 60, encoded.text_bytes, &rows).IgnoreError();
      LinesMayContain(bad, 60, encoded.text_bytes, "word").status().IgnoreError();
    }
  }
}

TEST(Filters, RuleOutWhatIsAbsent) {
  std::vector<std::string> owned;
  for (int i = 0; i < 500; ++i) {
    owned.push_back(Concat("level=info msg=\"request done\" id=", std::string(8, 'a'), 100000 + i,
                           "bcdef user=u", i));
  }
  const Encoded encoded = Encode({owned.begin(), owned.end()});
  int allowed = 0;
  for (int i = 0; i < 200; ++i) {
    allowed += Allowed(encoded, owned.size(), Concat(" absent", i, " ")) ? 1 : 0;
    allowed += Allowed(encoded, owned.size(), Concat("7c9e66", 10000 + i, "aa25401d")) ? 1 : 0;
    allowed +=
        Allowed(encoded, owned.size(), Concat("quizzacious", i % 2 == 0 ? "ly" : "")) ? 1 : 0;
  }
  EXPECT_LT(allowed, 20);
  EXPECT_TRUE(Allowed(encoded, owned.size(), "aaa100123bcde"));
  EXPECT_TRUE(Allowed(encoded, owned.size(), "reques"));
}

TEST(Filters, TextsOfExpressions) {
  const auto needs = [](const char* pattern) {
    LogScanSpec spec;
    spec.line_filters = {{LineFilter::Op::kMatches, {pattern}}};
    const auto scan = *CompileLogScan(spec);
    return scan->required().empty() ? std::string() : scan->required()[0][0];
  };
  EXPECT_EQ(needs("checkpoint (starting|complete)"), "checkpoint ");
  EXPECT_EQ(needs("a+b"), "a");
  EXPECT_EQ(needs("abc?d"), "ab");
  EXPECT_EQ(needs("foo|bar"), "");
  EXPECT_EQ(needs("(?i)foo"), "");
  EXPECT_EQ(needs("foo\\n|bar"), "");
  EXPECT_EQ(needs("x\\.y\\d+zz"), "x.y");
  EXPECT_EQ(needs("[abc]+longer[^]x]tail"), "longer");
  EXPECT_EQ(needs("é*xy"), "xy");
  EXPECT_EQ(needs("a{2}bcd"), "bcd");
  EXPECT_EQ(needs("(?:abc)?de"), "de");
}

TEST(Columns, TimesAndMetadata) {
  const std::vector<std::vector<int64_t>> cases = {
      {5},
      {INT64_MIN, INT64_MAX, 0},
      {1'000'000'000, 2'000'000'000, 2'000'000'000, 5'000'000'000},
      {-7, -7, -3},
      {INT64_MIN, INT64_MIN},
  };
  for (const std::vector<int64_t>& times : cases) {
    std::string bytes;
    EncodeTimes(times, &bytes);
    std::vector<int64_t> back;
    ASSERT_TRUE(DecodeTimes(bytes, static_cast<uint32_t>(times.size()), &back).ok());
    EXPECT_EQ(back, times);
  }
  MetadataColumns columns;
  const std::vector<LabelView> first{{"a", "1"}, {"b", ""}};
  const std::vector<LabelView> third{{"b", "x"}};
  columns.Add(first);
  columns.Add({});
  columns.Add(third);
  std::string bytes;
  const std::vector<uint32_t> numbers{0, 1};
  columns.Encode(numbers, &bytes);
  const std::vector<std::string_view> names{"a", "b"};
  Rows rows;
  ASSERT_TRUE(DecodeMetadata(bytes, 3, names, &rows).ok());
  EXPECT_TRUE(SameMetadata(rows.metadata_of(0), first));
  EXPECT_TRUE(rows.metadata_of(1).empty());
  EXPECT_TRUE(SameMetadata(rows.metadata_of(2), third));
}

TEST(Lines, RealLogsComeBackByteForByte) {
  uint64_t raw = 0;
  uint64_t stored = 0;
  for (const char* name : {"nginx-error.log", "node-shop-winston.json", "etcd-zap.json",
                           "nginx-raw-bytes-long-lines.log", "zookeeper-java-debug.log",
                           "redis-debug.log", "haproxy-http.log"}) {
    const auto path = varve::testing::SharedPath(Concat("data/logs/", name, ".zst"));
    if (!path.has_value()) {
      std::printf("skipped: no shared logs\n");
      return;
    }
    const std::string text = varve::testing::ReadFile(*path).substr(0, 8 << 20);
    std::vector<std::string_view> group;
    uint64_t bytes = 0;
    const std::vector<std::string_view> lines = varve::testing::SplitLines(text);
    for (size_t i = 0; i < lines.size(); ++i) {
      group.push_back(lines[i]);
      bytes += lines[i].size();
      if (bytes < (1 << 20) && i + 1 < lines.size()) continue;
      const Encoded encoded = Encode(group);
      ExpectRoundTrip(group, encoded);
      if (::testing::Test::HasFatalFailure()) return;
      raw += bytes;
      stored += encoded.bytes.size();
      for (size_t k = 0; k < group.size(); k += 1 + group.size() / 20) {
        const std::string_view line = group[k].substr(0, 200);
        ASSERT_TRUE(Allowed(encoded, group.size(), std::string(line.substr(line.size() / 3))));
      }
      group.clear();
      bytes = 0;
    }
  }
  EXPECT_GT(raw, stored * 8) << raw << " bytes became " << stored;
}

TEST(Vocabulary, KeepsEachWordOnceUntilItIsFull) {
  Vocabulary words;
  const auto add = [&words](std::string_view word) {
    Vocabulary::Hashed hashed{word, WordHash()(word)};
    words.Add({&hashed, 1});
  };
  for (int round = 0; round < 2; ++round) {
    for (const std::string_view word : {"zebra", "", "ant", "zebra", "zebr", "ant"}) add(word);
  }
  EXPECT_EQ(words.words(), "zebra\n\nant\nzebr\n");
  words.AddAll("bee\nant\n");
  EXPECT_EQ(words.Sorted(), "\nant\nbee\nzebr\nzebra\n");
  EXPECT_EQ(words.size(), 5u);
  // Words that share a place in the memory of the last ones.
  for (int i = 0; i < 100'000; ++i) {
    add("word" + std::to_string(i % 50'000));
  }
  EXPECT_EQ(words.size(), 50'005u);
  const std::string large(kVocabularyBytesMax - words.words().size(), 'x');
  add(large);
  EXPECT_TRUE(words.full());
  add("ant");
  EXPECT_EQ(words.words(), "");
}

}  // namespace
}  // namespace varve::logs
