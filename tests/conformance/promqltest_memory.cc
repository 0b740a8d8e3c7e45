// Runs scripts on plain maps instead of a Database: `promqltest_memory [--verbose] FILE...`.

#include "tests/support/memory_snapshot.h"
#include "tools/promqltest/command.h"

int main(int argc, char** argv) {
  return varve::promqltest::RunPromqlTestOn(argc, argv, varve::testing::MemoryStorage());
}
