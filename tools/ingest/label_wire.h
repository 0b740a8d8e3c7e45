#pragma once

#include <string_view>

#include "tools/ingest/protobuf.h"
#include "varve/labels.h"

namespace varve::ingest {

/// Reads {string name = 1; string value = 2;}: Label of remote write, LabelPair of the client
/// model, LabelPairAdapter of Loki. Faults call it `message`. The views point into `bytes`.
inline bool ReadLabel(std::string_view bytes, WireFault* fault, std::string_view message,
                      LabelView* out) {
  *out = {};
  WireReader reader(bytes, fault, message);
  while (reader.Next()) {
    bool good;
    switch (reader.field()) {
      case 1:
        good = reader.Bytes(&out->name);
        break;
      case 2:
        good = reader.Bytes(&out->value);
        break;
      default:
        good = reader.Skip();
    }
    if (!good) return false;
  }
  return fault->ok();
}

}  // namespace varve::ingest
