#include "tools/loki/delete_log.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace varve::loki {
namespace {

DeleteLog::Contents Sample() {
  DeleteLog::Contents contents;
  contents.count = 1;
  contents.items.push_back({"00000001",
                            "{app=\"a\"} |= \"two\"",
                            {0, 1'700'000'000'000'000'000},
                            1'700'000'000'000'000'001});
  return contents;
}

// Version 1: changes with the format only.
constexpr std::string_view kGolden =
    "76617276652064656c6574696f6e7320310a"  // "varve deletions 1\n"
    "ba435f139a8ba2f0"                      // checksum
    "01"                                    // count
    "083030303030303031"                    // id
    "127b6170703d2261227d207c3d202274776f22"
    "008080d0e2c6bfce972f"  // range
    "8280d0e2c6bfce972f";

TEST(DeleteLog, WritesTheGoldenBytes) {
  EXPECT_EQ(absl::BytesToHexString(DeleteLog::Encode(Sample())), kGolden);
}

TEST(DeleteLog, NamesTheFileAndThePlaceOfDamage) {
  const std::string bytes = DeleteLog::Encode(Sample());
  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto cut = DeleteLog::Decode(std::string_view(bytes).substr(0, length), "d/list");
    ASSERT_EQ(cut.status().code(), StatusCode::kDataLoss) << length;
    EXPECT_NE(cut.status().message().find("d/list"), std::string::npos) << cut.status();
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    EXPECT_EQ(DeleteLog::Decode(damaged, "f").status().code(), StatusCode::kDataLoss) << bit;
  }
}

}  // namespace
}  // namespace varve::loki
