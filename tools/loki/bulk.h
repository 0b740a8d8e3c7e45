#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/loki/context.h"
#include "tools/server/http/router.h"

namespace varve::loki {

/// How documents of `_bulk` become entries.
struct BulkOptions {
  std::string index;  // for actions that name none
  std::vector<std::string> time_fields = {"@timestamp", "timestamp", "time"};
  std::string message_field;               // empty: the whole document is the line
  std::vector<std::string> stream_fields;  // become labels
};

struct BulkItem {
  enum class Action : uint8_t { kIndex, kCreate, kUpdate, kDelete };
  Action action = Action::kIndex;
  std::string index;
  std::string id;
  int status = 201;
  std::string error;
};

/// Reads newline-delimited actions and documents. The text is changed. Documents that are malformed
/// fail alone: their item says why. Errors, for a body that is none at all: kInvalidArgument with
/// the line.
Status DecodeBulk(char* text, size_t size, const BulkOptions& options, PushScratch* scratch,
                  std::vector<BulkItem>* items);

/// Reads one document, for `item->index`. The text is changed.
void DecodeDocument(char* text, size_t size, const BulkOptions& options, PushScratch* scratch,
                    BulkItem* item);

/// Adds Elasticsearch's `_bulk`, `_doc` and `_create`, and what its clients ask for before they
/// send, at the root and under /elasticsearch.
void AddBulkRoutes(Context* context, http::Router* router);

}  // namespace varve::loki
