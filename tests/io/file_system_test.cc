// What every FileSystem promises, tried on the real one and on the one in memory.

#include "engine/io/file_system.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "engine/io/memory_file_system.h"

namespace varve::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FileSystemTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string_view(GetParam()) == "posix") {
      fs_ = PosixFileSystem();
      std::string pattern = (std::filesystem::temp_directory_path() / "varve-io-XXXXXX").string();
      ASSERT_NE(mkdtemp(pattern.data()), nullptr);
      root_ = pattern;
    } else {
      fs_ = std::make_shared<MemoryFileSystem>();
      root_ = "/root";
      ASSERT_TRUE(fs_->MakeDirs(root_).ok());
    }
  }
  void TearDown() override { EXPECT_TRUE(fs_->RemoveAll(root_).ok()); }
  std::string Path(std::string_view name) const { return JoinPath(root_, name); }
  void Write(const std::string& path, std::string_view bytes) {
    auto file = fs_->Create(path);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(bytes).ok());
    ASSERT_TRUE((*file)->Sync().ok());
    ASSERT_TRUE((*file)->Close().ok());
  }
  std::string Read(const std::string& path) {
    auto bytes = fs_->ReadFile(path, 1 << 20);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.ok() ? *bytes : "";
  }

  std::shared_ptr<FileSystem> fs_;
  std::string root_;
};

INSTANTIATE_TEST_SUITE_P(Both, FileSystemTest, testing::Values("posix", "memory"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(FileSystemTest, WritesAndReadsBack) {
  auto file = fs_->Create(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 0u);
  EXPECT_TRUE((*file)->Append("hello ").ok());
  EXPECT_TRUE((*file)->Append("world").ok());
  EXPECT_EQ((*file)->size(), 11u);
  EXPECT_TRUE((*file)->WriteAt(0, "J").ok());
  EXPECT_EQ((*file)->size(), 11u);
  EXPECT_TRUE((*file)->WriteAt(8, "lding").ok());
  EXPECT_EQ((*file)->size(), 13u);
  EXPECT_TRUE((*file)->Sync().ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_EQ(Read(Path("a")), "Jello wolding");
  EXPECT_EQ(*fs_->FileSize(Path("a")), 13u);
}

TEST_P(FileSystemTest, CreateCutsWhatWasThere) {
  Write(Path("a"), "old and long");
  Write(Path("a"), "new");
  EXPECT_EQ(Read(Path("a")), "new");
}

TEST_P(FileSystemTest, OpenForWriteGoesOnAtTheEnd) {
  Write(Path("a"), "abc");
  auto file = fs_->OpenForWrite(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 3u);
  EXPECT_TRUE((*file)->Append("def").ok());
  EXPECT_TRUE((*file)->Truncate(4).ok());
  EXPECT_TRUE((*file)->Append("X").ok());
  EXPECT_EQ(Read(Path("a")), "abcdX");
}

TEST_P(FileSystemTest, PreallocatedBytesAreZeroAndDoNotCountAsSize) {
  auto file = fs_->Create(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->Append("abc").ok());
  EXPECT_TRUE((*file)->Preallocate(4096).ok());
  EXPECT_EQ((*file)->size(), 3u);
  EXPECT_TRUE((*file)->Append("def").ok());
  const std::string content = Read(Path("a"));
  EXPECT_EQ(content.substr(0, 6), "abcdef");
  EXPECT_EQ(content.find_first_not_of('\0', 6), std::string::npos);
  EXPECT_TRUE((*file)->Truncate(6).ok());
  EXPECT_EQ(Read(Path("a")), "abcdef");
}

TEST_P(FileSystemTest, RandomAccessChecksBounds) {
  Write(Path("a"), "0123456789");
  auto file = fs_->Open(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 10u);
  EXPECT_EQ(*(*file)->Read(0, 10), "0123456789");
  EXPECT_EQ(*(*file)->Read(3, 4), "3456");
  EXPECT_EQ(*(*file)->Read(10, 0), "");
  for (const auto& [offset, bytes] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 11}, {10, 1}, {11, 0}, {5, UINT64_MAX}, {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}}) {
    const auto got = (*file)->Read(offset, bytes);
    ASSERT_FALSE(got.ok());
    EXPECT_EQ(got.status().code(), StatusCode::kDataLoss);
    EXPECT_EQ(FilePlaceOf(got.status())->file, Path("a"));
    EXPECT_EQ(FilePlaceOf(got.status())->offset, offset);
  }
}

TEST_P(FileSystemTest, ReadsAnEmptyFile) {
  Write(Path("a"), "");
  auto file = fs_->Open(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 0u);
  EXPECT_EQ(*(*file)->Read(0, 0), "");
  EXPECT_EQ(Read(Path("a")), "");
}

TEST_P(FileSystemTest, ReadersKeepRemovedAndReplacedFiles) {
  Write(Path("a"), "old");
  Write(Path("b"), "new");
  auto file = fs_->Open(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(fs_->Rename(Path("b"), Path("a")).ok());
  EXPECT_EQ(*(*file)->Read(0, 3), "old");
  EXPECT_EQ(Read(Path("a")), "new");
  EXPECT_TRUE(fs_->Remove(Path("a")).ok());
  EXPECT_EQ(*(*file)->Read(0, 3), "old");
  EXPECT_THAT(*fs_->List(root_), IsEmpty());
}

TEST_P(FileSystemTest, ReadFileIsBounded) {
  Write(Path("a"), "12345");
  EXPECT_EQ(*fs_->ReadFile(Path("a"), 5), "12345");
  EXPECT_EQ(fs_->ReadFile(Path("a"), 4).status().code(), StatusCode::kResourceExhausted);
}

TEST_P(FileSystemTest, MissingPathsAreNotFound) {
  EXPECT_EQ(fs_->Open(Path("x")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->OpenForWrite(Path("x")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->Create(Path("x/y")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->ReadFile(Path("x"), 1).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->FileSize(Path("x")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->List(Path("x")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->Remove(Path("x")).code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->Rename(Path("x"), Path("y")).code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->HardLink(Path("x"), Path("y")).code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->SyncDir(Path("x")).code(), StatusCode::kNotFound);
  EXPECT_FALSE(*fs_->Exists(Path("x")));
  EXPECT_TRUE(fs_->RemoveAll(Path("x")).ok());
  EXPECT_THAT(std::string(fs_->Open(Path("x")).status().message()), HasSubstr(Path("x")));
}

TEST_P(FileSystemTest, DirectoriesAreNotFiles) {
  ASSERT_TRUE(fs_->MakeDirs(Path("d")).ok());
  EXPECT_FALSE(fs_->Open(Path("d")).ok());
  EXPECT_FALSE(fs_->ReadFile(Path("d"), 1).ok());
  EXPECT_FALSE(fs_->Create(Path("d")).ok());
  Write(Path("f"), "");
  EXPECT_FALSE(fs_->MakeDirs(Path("f")).ok());
}

TEST_P(FileSystemTest, MakesAndRemovesTrees) {
  EXPECT_TRUE(fs_->MakeDirs(Path("a/b/c")).ok());
  EXPECT_TRUE(fs_->MakeDirs(Path("a/b/c")).ok());
  Write(Path("a/b/c/f"), "1");
  Write(Path("a/g"), "2");
  EXPECT_THAT(*fs_->List(Path("a")), ElementsAre("b", "g"));
  EXPECT_TRUE(*fs_->Exists(Path("a/b/c/f")));
  EXPECT_TRUE(fs_->RemoveAll(Path("a")).ok());
  EXPECT_FALSE(*fs_->Exists(Path("a")));
}

TEST_P(FileSystemTest, HardLinksShareBytes) {
  Write(Path("a"), "abc");
  EXPECT_TRUE(fs_->HardLink(Path("a"), Path("b")).ok());
  EXPECT_EQ(fs_->HardLink(Path("a"), Path("b")).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(fs_->Remove(Path("a")).ok());
  EXPECT_EQ(Read(Path("b")), "abc");
}

TEST_P(FileSystemTest, CopiesFiles) {
  Write(Path("a"), std::string(3 << 19, 'x'));
  EXPECT_TRUE(CopyFile(*fs_, Path("a"), Path("b")).ok());
  EXPECT_EQ(*fs_->ReadFile(Path("b"), 4 << 20), std::string(3 << 19, 'x'));
  EXPECT_EQ(CopyFile(*fs_, Path("a"), Path("b")).code(), StatusCode::kAlreadyExists);
}

TEST_P(FileSystemTest, WritesAtomically) {
  EXPECT_TRUE(WriteFileAtomically(*fs_, Path("a"), "one").ok());
  EXPECT_TRUE(WriteFileAtomically(*fs_, Path("a"), "two").ok());
  EXPECT_EQ(Read(Path("a")), "two");
  EXPECT_THAT(*fs_->List(root_), ElementsAre("a"));
}

TEST_P(FileSystemTest, LocksOnce) {
  auto first = fs_->Lock(Path("LOCK"));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(fs_->Lock(Path("LOCK")).status().code(), StatusCode::kFailedPrecondition);
  first->reset();
  EXPECT_TRUE(fs_->Lock(Path("LOCK")).ok());
}

TEST_P(FileSystemTest, TellsFreeBytes) { EXPECT_GT(*fs_->FreeBytes(root_), 0u); }

TEST_P(FileSystemTest, ClosedFilesRefuse) {
  auto file = fs_->Create(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_FALSE((*file)->Append("x").ok());
  EXPECT_FALSE((*file)->Sync().ok());
}

TEST(PosixFileSystem, MakesPrivateFiles) {
  std::string pattern = (std::filesystem::temp_directory_path() / "varve-io-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  auto fs = PosixFileSystem();
  ASSERT_TRUE(fs->MakeDirs(pattern + "/d").ok());
  ASSERT_TRUE(fs->Create(pattern + "/f").ok());
  struct stat info;
  ASSERT_EQ(stat((pattern + "/d").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(stat((pattern + "/f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_TRUE(fs->RemoveAll(pattern).ok());
}

TEST(PosixFileSystem, RemoveAllDoesNotFollowLinks) {
  std::string pattern = (std::filesystem::temp_directory_path() / "varve-io-XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  auto fs = PosixFileSystem();
  ASSERT_TRUE(fs->MakeDirs(pattern + "/keep").ok());
  ASSERT_TRUE(fs->Create(pattern + "/keep/f").ok());
  ASSERT_TRUE(fs->MakeDirs(pattern + "/gone").ok());
  ASSERT_EQ(symlink((pattern + "/keep").c_str(), (pattern + "/gone/link").c_str()), 0);
  EXPECT_TRUE(fs->RemoveAll(pattern + "/gone").ok());
  EXPECT_TRUE(*fs->Exists(pattern + "/keep/f"));
  EXPECT_TRUE(fs->RemoveAll(pattern).ok());
}

bool WritePastTheFileSizeLimit() {
  signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{100, 100};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string path = std::filesystem::temp_directory_path() / "varve-io-limit";
  auto file = PosixFileSystem()->Create(path);
  const Status first = (*file)->Append(std::string(60, 'x'));
  const Status second = (*file)->Append(std::string(60, 'x'));
  unlink(path.c_str());
  return first.ok() && second.code() == StatusCode::kResourceExhausted && (*file)->size() == 60;
}

TEST(PosixFileSystem, FullDisksAndLimitsAreResourceExhausted) {
  // /dev/full answers every write with ENOSPC; a device has no size, so it is opened by Create.
  auto fs = PosixFileSystem();
  auto file = fs->Create("/dev/full");
  if (file.ok()) {
    EXPECT_EQ((*file)->Append("x").code(), StatusCode::kResourceExhausted);
    EXPECT_EQ((*file)->size(), 0u);
  }
  // A child process, since the limit cannot be raised again.
  EXPECT_EXIT(std::exit(WritePastTheFileSizeLimit() ? 0 : 1), testing::ExitedWithCode(0), "");
}

TEST(Paths, JoinAndSplit) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(DirName("a/b/c"), "a/b");
  EXPECT_EQ(DirName("c"), "");
  EXPECT_EQ(DirName("/c"), "/");
  EXPECT_EQ(BaseName("a/b/c"), "c");
  EXPECT_EQ(BaseName("c"), "c");
}

}  // namespace
}  // namespace varve::io
