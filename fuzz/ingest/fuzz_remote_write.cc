// Feeds bodies to the remote-write handlers. The first byte chooses the version and whether the
// body is compressed already; the rest is the body.

#include <snappy.h>

#include <cstdlib>

#include "tests/ingest/fake_database.h"
#include "tools/ingest/remote_write.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::ingest;
  if (size == 0) return 0;
  FakeDatabase database;
  IngestContext context(database, {});
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string body;
  if ((data[0] & 2) != 0) {
    body = rest;
  } else {
    snappy::Compress(rest.data(), rest.size(), &body);
  }
  RemoteWriteRequest request;
  request.content_type = (data[0] & 1) != 0
                             ? "application/x-protobuf;proto=io.prometheus.write.v2.Request"
                             : "application/x-protobuf";
  request.content_encoding = "snappy";
  request.body = body;
  const HttpOutcome first = HandleRemoteWrite(context, request);
  // A body that was accepted once is accepted again, by reference now, and stores nothing new.
  const size_t stored = database.sample_count();
  const HttpOutcome second = HandleRemoteWrite(context, request);
  if (first.status == 204 && (second.status != 204 || database.sample_count() != stored)) {
    std::abort();
  }
  if (first.status != 204 && first.status < 400) std::abort();
  return 0;
}
