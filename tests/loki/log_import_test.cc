#include "tools/loki/log_import.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tests/support/shared_data.h"

namespace varve::loki {
namespace {

constexpr int64_t kNow = 1'795'800'000'000'000'000;  // 2026-11-27T17:20:00Z

TEST(FindTime, InTheFormsOfTheField) {
  const std::pair<std::string_view, int64_t> cases[] = {
      {"2026-11-27T17:19:00Z x", -60'000'000'000},
      {"2026-11-27 17:20:00.123 UTC [1] LOG", 123'000'000},
      {"[2026-11-27 17:20:00,5] INFO", 500'000'000},
      {"2026/11/27 17:20:01 [error] 7#7", 1'000'000'000},
      {"{\"ts\":\"2026-11-27T19:20:00+02:00\"}", 0},
      {"10.0.0.1 - - [27/Nov/2026:17:20:02 +0000] \"GET", 2'000'000'000},
      {"10.0.0.1 - - [27/Nov/2026:18:20:02 +0100] \"GET", 2'000'000'000},
      {"7:M 27 Nov 2026 17:20:00.042 * Ready", 42'000'000},
      {"<13>Nov 27 17:20:03 host app: x", 3'000'000'000},
      {"Nov  1 17:20:00 host app: x", -26LL * 86'400'000'000'000},
      {"1795800001.25 epoch", 1'250'000'000},
      {"1795800000001 epoch", 1'000'000},
  };
  for (const auto& [line, time] : cases) {
    const auto found = FindTime(line, kNow);
    ASSERT_TRUE(found.has_value()) << line;
    EXPECT_EQ(*found - kNow, time) << line;
  }
  for (const std::string_view line :
       {"", "no time", "12026-11-27T17:19:00Z", "2026-13-27T17:19:00Z", "Nov 27", "17:20:00",
        "123456789 x", "9999-99-99 99:99:99", "Decimal 12 12:00:00"}) {
    EXPECT_FALSE(FindTime(line, kNow).has_value()) << line;
  }
}

class LogImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = Concat(::testing::TempDir(), "varve_import_", info->name(), "_", getpid());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    Options options;
    options.dir = dir_ + "/store";
    options.background_threads = 0;
    auto database = Database::Open(options);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
  }
  void TearDown() override {
    if (database_ != nullptr) {
      EXPECT_TRUE(database_->Close().ok());
    }
    database_.reset();
    std::filesystem::remove_all(dir_);
  }
  std::string File(const std::string& name, std::string_view bytes) {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  Status Import(const std::vector<std::string>& paths, const LogImportOptions& options = {}) {
    summary_ = {};
    return ImportLogFiles(paths, options, database_.get(), &summary_);
  }
  // All lines of one stream by time, each followed by a newline; with `times`, the time before it.
  std::string Lines(const std::vector<Matcher>& matchers, bool times = false) {
    std::string out;
    const auto snapshot = database_->TakeLogSnapshot();
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    const auto scan = CompileLogScan({});
    const auto streams = (*snapshot)->Select(matchers, {});
    EXPECT_TRUE(streams.ok()) << streams.status();
    EXPECT_LE((*streams)->size(), 1u);
    std::vector<LogChunk> chunks;
    LogRows rows;
    LogScanStats stats;
    for (size_t i = 0; i < (*streams)->size(); ++i) {
      EXPECT_TRUE((*streams)->GetChunks(i, {}, &chunks).ok());
      for (const LogChunk& chunk : chunks) {
        EXPECT_TRUE(chunk.Read(**scan, &rows, &stats).ok());
        for (size_t r = 0; r < rows.size(); ++r) {
          if (times) out += Concat(rows.times_ns[r] - kNow, " ");
          out += rows.lines[r];
          out.push_back('\n');
        }
      }
    }
    return out;
  }

  std::string dir_;
  std::unique_ptr<Database> database_;
  LogImportSummary summary_;
};

TEST_F(LogImportTest, KeepsOrderRepeatsAndBytes) {
  const std::string text =
      "before any time\n"
      "2026-11-27T17:20:00Z one\n"
      "2026-11-27T17:20:00Z one\n"
      "no time \xff\xfe\r\n"
      "\n"
      "2026-11-27T17:20:01Z two\n"
      "2026-11-27T17:20:00Z one\n"
      "last without newline";
  LogImportOptions options;
  options.labels = Labels{{"app", "a"}};
  ASSERT_TRUE(Import({File("x.log", text)}, options).ok());
  EXPECT_EQ(summary_.lines, 8u);
  EXPECT_EQ(summary_.entries, 8u);
  EXPECT_EQ(summary_.lines_without_time, 4u);
  const std::string lines = Lines({{MatchType::kEqual, "app", "a"}}, true);
  EXPECT_NE(lines.find("0 2026-11-27T17:20:00Z one\n1 2026-11-27T17:20:00Z one\n"),
            std::string::npos)
      << lines;
  EXPECT_NE(lines.find("2 no time \xff\xfe\r\n2 2026-11-27T17:20:00Z one\n"), std::string::npos)
      << lines;
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 8);
}

TEST_F(LogImportTest, GivenTimesKeepTheFileAsItIs) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += i % 3 == 0 ? "same\n" : Concat("line ", i, "\n");
  LogImportOptions options;
  options.time_ns = kNow;
  ASSERT_TRUE(Import({File("x.log", text)}, options).ok());
  EXPECT_EQ(Lines({}), text);
}

TEST_F(LogImportTest, JoinsLines) {
  const std::string text =
      "2026-11-27T17:20:00Z first\n"
      "\tat A\n"
      "\tat B\n"
      "Caused by: C\n"
      "2026-11-27T17:20:01Z second\n";
  LogImportOptions options;
  options.multiline = "auto";
  ASSERT_TRUE(Import({File("auto.log", text)}, options).ok());
  EXPECT_EQ(summary_.entries, 2u);
  EXPECT_EQ(Lines({{MatchType::kRegex, "filename", ".*auto.log"}}), text);
  options.multiline = "^BEGIN";
  options.time_ns = kNow;
  ASSERT_TRUE(Import({File("re.log", "BEGIN a\nb\nBEGIN c\n")}, options).ok());
  EXPECT_EQ(summary_.entries, 2u);
  EXPECT_EQ(Lines({{MatchType::kRegex, "filename", ".*re.log"}}, true),
            "0 BEGIN a\nb\n1 BEGIN c\n");
  options.multiline = "(";
  EXPECT_EQ(Import({}, options).code(), StatusCode::kInvalidArgument);
}

TEST_F(LogImportTest, ReadsCompressedFilesAndNamesDamage) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += Concat("line ", i, " of some text\n");
  std::string zstd(ZSTD_compressBound(text.size()), '\0');
  zstd.resize(ZSTD_compress(zstd.data(), zstd.size(), text.data(), text.size(), 3));
  const std::string gz_path = dir_ + "/x.gz";
  gzFile gz = gzopen(gz_path.c_str(), "wb");
  gzwrite(gz, text.data(), static_cast<unsigned>(text.size()));
  gzclose(gz);
  LogImportOptions options;
  options.time_ns = kNow;
  ASSERT_TRUE(Import({File("x.zst", zstd), gz_path}, options).ok());
  EXPECT_EQ(Lines({{MatchType::kRegex, "filename", ".*zst"}}), text);
  EXPECT_EQ(Lines({{MatchType::kRegex, "filename", ".*gz"}}), text);
  const Status cut = Import({File("cut.zst", zstd.substr(0, zstd.size() / 2))}, options);
  EXPECT_EQ(cut.code(), StatusCode::kDataLoss);
  EXPECT_NE(ToStd(cut.message()).find("cut.zst"), std::string::npos);
  EXPECT_EQ(Import({dir_ + "/none"}).code(), StatusCode::kNotFound);
}

TEST_F(LogImportTest, LeavesOutLinesThatAreTooLong) {
  LogImportOptions options;
  options.line_bytes_max = 1000;
  options.time_ns = kNow;
  const std::string text = Concat("a\n", std::string(5u << 20, 'x'), "\n", std::string(1000, 'y'),
                                  "\n", std::string(1001, 'z'), "\nb\n");
  ASSERT_TRUE(Import({File("x.log", text)}, options).ok());
  EXPECT_EQ(summary_.lines_too_long, 2u);
  EXPECT_EQ(summary_.warnings.size(), 2u);
  EXPECT_NE(summary_.warnings[0].find("x.log:2: a line of 5242880 bytes is left out"),
            std::string::npos)
      << summary_.warnings[0];
  EXPECT_EQ(Lines({}), Concat("a\n", std::string(1000, 'y'), "\nb\n"));
}

// Every file of real logs goes in and comes out byte by byte: from the head, sealed and compacted.
// The first 6 MB of each; all of it with VARVE_WHOLE_DATA set.
TEST_F(LogImportTest, RealLogsComeBack) {
  const auto folder = varve::testing::SharedPath("data/logs");
  if (!folder.has_value()) GTEST_SKIP() << "skipped: data/logs is not there";
  const bool whole = std::getenv("VARVE_WHOLE_DATA") != nullptr;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  ASSERT_GT(names.size(), 10u);
  std::vector<std::string> texts;
  size_t longest = 0;
  for (const std::string& name : names) {
    std::string text = varve::testing::ReadFile(*folder + "/" + name);
    if (!whole && text.size() > 6'000'000) {
      // A long line is worth more than many short ones, so the cut is never inside one.
      text.resize(text.find('\n', 6'000'000) + 1);
    }
    LogImportOptions options;
    options.labels = Labels{{"file", name}};
    options.filename_label = false;
    options.time_ns = kNow;
    ASSERT_TRUE(Import({File("data.log", text)}, options).ok());
    EXPECT_EQ(summary_.lines_too_long, 0u);
    if (!text.empty() && text.back() != '\n') text.push_back('\n');
    texts.push_back(std::move(text));
  }
  const auto check = [&](std::string_view phase) {
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string got = Lines({{MatchType::kEqual, "file", names[i]}});
      // Not EXPECT_EQ: nobody wants to read 60 MB of difference.
      EXPECT_TRUE(got == texts[i])
          << phase << " " << names[i] << ": " << got.size() << " bytes of " << texts[i].size();
    }
  };
  check("head");
  ASSERT_TRUE(database_->Flush().ok());
  check("flushed");
  ASSERT_TRUE(database_->Compact().ok());
  check("compacted");
  for (const std::string& text : texts) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      longest = std::max(longest, end - begin);
      begin = end + 1;
    }
  }
  std::printf("longest line: %zu bytes\n", longest);
}

}  // namespace
}  // namespace varve::loki
