#pragma once

#include "tools/ingest/protobuf.h"
#include "varve/sample.h"

namespace varve::ingest {

/// Bounds the spans and buckets of one histogram on the wire, so that one sample cannot claim
/// memory out of proportion.
inline constexpr size_t kHistogramBucketsMax = 65536;

/// Reads the Histogram message that remote write 1.0 and 2.0 share (field numbers agree).
/// `start_ms` gets field 17, which only 2.0 has. False after a fault.
bool ReadRemoteHistogram(std::string_view bytes, WireFault* fault, Histogram* histogram,
                         int64_t* time_ms, int64_t* start_ms);

/// Reads a BucketSpan message {sint32 offset = 1; uint32 length = 2;} and appends it.
bool ReadBucketSpan(WireReader* field, WireFault* fault, std::vector<BucketSpan>* spans);

}  // namespace varve::ingest
