// Opens a block file that may hold anything and reads all of it.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/block/container.h"
#include "engine/block/container_format.h"
#include "engine/io/memory_file_system.h"

using varve::Hash64;
using varve::StatusCode;
using varve::block::BlockReader;

namespace {

void Store(std::string* bytes, size_t offset, uint64_t value) {
  std::memcpy(bytes->data() + offset, &value, sizeof value);
}

/// Makes the checksums of header, table of contents and footer right, so that mutations get past
/// them to the tests behind.
void Repair(std::string* bytes) {
  if (bytes->size() < 128) return;
  Store(bytes, 56, Hash64(std::string_view(*bytes).substr(0, 56)));
  uint64_t tag, toc;
  std::memcpy(&tag, bytes->data() + 24, sizeof tag);
  const size_t footer = bytes->size() - 64;
  std::memcpy(&toc, bytes->data() + footer, sizeof toc);
  if (toc <= footer) {
    Store(bytes, footer + 32, Hash64(std::string_view(*bytes).substr(toc, footer - toc), tag));
  }
  Store(bytes, footer + 56, Hash64(std::string_view(*bytes).substr(footer, 56), tag));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 1) Repair(&bytes);
  auto fs = std::make_shared<varve::io::MemoryFileSystem>();
  VARVE_CHECK(fs->Put("000001.varve", bytes).ok());
  const auto block = BlockReader::Open(*fs, "000001.varve");
  if (!block.ok()) {
    VARVE_CHECK(block.status().code() == StatusCode::kDataLoss ||
                block.status().code() == StatusCode::kUnimplemented);
    return 0;
  }
  uint64_t sum = varve::block::kBlockHeaderBytes + varve::block::kBlockFooterBytes;
  bool good = true;
  for (const auto& section : (*block)->sections()) {
    sum += varve::block::kTocEntryBytes + section.stored_bytes();
    if (!section.paged()) {
      good &= (*block)->Section(section.type).ok();
      continue;
    }
    const auto paged = (*block)->Paged(section.type);
    good &= paged.ok() && (*paged)->Read(0, (*paged)->size()).ok();
    if (paged.ok()) (*paged)->Read(size, data[0]).status().IgnoreError();
  }
  VARVE_CHECK(sum == bytes.size());
  // VerifyAll looks at padding as well.
  if ((*block)->VerifyAll().empty()) VARVE_CHECK(good);
  return 0;
}
