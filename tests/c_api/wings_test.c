/* Logs and traces through varve.h: every function of theirs, the way a C program would use it, and
 * the way it should not. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "expect.h"
#include "varve.h"

#define NS INT64_C(1000000000)
#define START (INT64_C(1700000000) * NS)
#define TEXT(name, text_of) {.key = (name), .type = VARVE_TEXT, .text = (text_of)}
#define INT(name, number_of) {.key = (name), .type = VARVE_INT, .integer = (number_of)}

static const uint8_t trace_id[16] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                     0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};

/* Reads text `row` of a column without an offset of its own. */
static void text_at(const struct ArrowArray* column, int64_t row, char* out, size_t size) {
  const int32_t* offsets = column->buffers[1];
  const char* bytes = column->buffers[2];
  snprintf(out, size, "%.*s", (int)(offsets[row + 1] - offsets[row]), bytes + offsets[row]);
}

static void expect_text(const struct ArrowArray* column, int64_t row, const char* text, int line) {
  char got[256];
  text_at(column, row, got, sizeof(got));
  if (strcmp(got, text) == 0) return;
  fprintf(stderr, "line %d: row %d is \"%s\", not \"%s\"\n", line, (int)row, got, text);
  ++failures;
}
#define TEXT_IS(column, row, text) expect_text((column), (row), (text), __LINE__)

/* Counts the rows of a stream and releases it. */
static int64_t drain(struct ArrowArrayStream* stream) {
  int64_t rows = 0;
  for (;;) {
    struct ArrowArray array;
    if (stream->get_next(stream, &array) != 0) {
      fprintf(stderr, "stream: %s\n", stream->get_last_error(stream));
      ++failures;
      break;
    }
    if (array.release == NULL) break;
    rows += array.length;
    array.release(&array);
  }
  stream->release(stream);
  return rows;
}

static void append_logs(varve_database* db) {
  varve_log_batch* batch = varve_log_batch_new();
  const varve_label shop[] = {{.name = "app", .value = "shop"}, {.name = "dc", .value = "north"}};
  const varve_label bank[] = {{.name = "app", .value = "bank"}};
  uint32_t stream = 9;
  OK(varve_log_batch_add_stream(batch, shop, 2, &stream, &error));
  EXPECT(stream == 0);
  const varve_label metadata[] = {{.name = "user", .value = "ann-1", .value_size = 3},
                                  {.name = "trace_id", .value = "4bf9"}};
  const char body[] = "level=info msg=start|level=error msg=late\0tail";
  const varve_log_entry entries[] = {
      {.time_ns = START + 1,
       .line = body,
       .line_size = 20,
       .metadata = metadata,
       .metadata_count = 2},
      {.time_ns = START + 2, .line = body + 21, .line_size = sizeof(body) - 22},
      {.time_ns = START, .line = body, .line_size = 0}, /* an empty line, not the rest of body */
      {.time_ns = START + NS, .line = NULL, .line_size = 0}};
  OK(varve_log_batch_add_entries(batch, stream, entries, sizeof(entries[0]), 4, &error));
  OK(varve_log_batch_add_stream(batch, bank, 1, &stream, &error));
  OK(varve_log_batch_add_entries(batch, stream, entries, sizeof(entries[0]), 1, &error));
  varve_append_counts counts = {0, 7};
  OK(varve_append_logs(db, batch, NULL, &counts, &error));
  EXPECT(counts.rows == 5 && counts.rejected == 0);
  varve_log_batch_clear(batch);
  OK(varve_append_logs(db, batch, NULL, &counts, &error));
  EXPECT(counts.rows == 0);

  /* An error adds nothing, and says where it is. */
  OK(varve_log_batch_add_stream(batch, bank, 1, &stream, &error));
  varve_log_entry bad[2] = {entries[0], entries[1]};
  bad[1].line = NULL;
  FAILS(VARVE_INVALID_ARGUMENT, "entry 1: line is NULL",
        varve_log_batch_add_entries(batch, stream, bad, sizeof(bad[0]), 2, &error));
  bad[1] = entries[1];
  bad[1].line_size = (size_t)1 << 40;
  FAILS(VARVE_INVALID_ARGUMENT, "entry 1: line has 1099511627776 bytes",
        varve_log_batch_add_entries(batch, stream, bad, sizeof(bad[0]), 2, &error));
  const varve_label twice[] = {{.name = "a", .value = "1"}, {.name = "a", .value = "2"}};
  bad[1] = entries[1];
  bad[1].metadata = twice;
  bad[1].metadata_count = 2;
  FAILS(VARVE_INVALID_ARGUMENT, "entry 1: a metadata name is empty or repeated",
        varve_log_batch_add_entries(batch, stream, bad, sizeof(bad[0]), 2, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "stream 5 is not in this batch of 1",
        varve_log_batch_add_entries(batch, 5, entries, sizeof(entries[0]), 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "entry_size is 8",
        varve_log_batch_add_entries(batch, stream, entries, 8, 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "entries is NULL",
        varve_log_batch_add_entries(batch, stream, NULL, sizeof(entries[0]), 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "more than a batch holds",
        varve_log_batch_add_entries(batch, stream, entries, sizeof(entries[0]), SIZE_MAX, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "batch is NULL",
        varve_log_batch_add_entries(NULL, 0, entries, sizeof(entries[0]), 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "a", varve_log_batch_add_stream(batch, twice, 2, &stream, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "18446744073709551615",
        varve_log_batch_add_stream(batch, twice, SIZE_MAX, &stream, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "database is NULL",
        varve_append_logs(NULL, batch, NULL, NULL, &error));
  OK(varve_append_logs(db, batch, NULL, &counts, &error));
  EXPECT(counts.rows == 0);
  varve_log_batch_free(batch);
}

static void query_logs(varve_database* db) {
  varve_result* result = NULL;
  varve_query_options options = VARVE_QUERY_OPTIONS_INIT;
  options.forward = 1;
  options.analyze = 1;
  OK(varve_logql_range(db, "{app=\"shop\"} |= \"level\"", START, START + NS, 0, &options, &result,
                       &error));
  EXPECT(varve_result_kind(result) == VARVE_ENTRIES);
  EXPECT(varve_result_rows(result) == 2);
  EXPECT(varve_result_series_count(result) == 0 && varve_result_text(result) == NULL);
  EXPECT(varve_result_next(result) == NULL);
  EXPECT(strlen(varve_result_analysis(result)) > 0);
  varve_series series;
  FAILS(VARVE_INVALID_ARGUMENT, "no series", varve_result_series(result, 0, &series, &error));
  struct ArrowArrayStream stream;
  OK(varve_result_arrow_stream(result, &stream, &error));
  varve_result_free(result);
  struct ArrowSchema schema;
  EXPECT(stream.get_schema(&stream, &schema) == 0 && schema.n_children == 3);
  EXPECT(strcmp(schema.children[0]->format, "tsn:UTC") == 0);
  EXPECT(strcmp(schema.children[1]->name, "line") == 0);
  EXPECT(strcmp(schema.children[2]->format, "+m") == 0);
  schema.release(&schema);
  struct ArrowArray array;
  EXPECT(stream.get_next(&stream, &array) == 0 && array.length == 2);
  EXPECT(((const int64_t*)array.children[0]->buffers[1])[1] == START + 2);
  TEXT_IS(array.children[1], 0, "level=info msg=start");
  /* Labels: app, dc, trace_id, user (the first three bytes of "ann-1"). */
  const struct ArrowArray* pairs = array.children[2]->children[0];
  EXPECT(((const int32_t*)array.children[2]->buffers[1])[1] == 4);
  TEXT_IS(pairs->children[0], 3, "user");
  TEXT_IS(pairs->children[1], 3, "ann");
  array.release(&array);
  EXPECT(drain(&stream) == 0);

  options.limit = 1;
  options.forward = 0;
  OK(varve_logql_range(db, "{app=~\".+\"}", START, START + 2 * NS, 0, &options, &result, &error));
  EXPECT(varve_result_rows(result) == 1);
  varve_result_free(result);
  OK(varve_logql(db, "sum by (app) (count_over_time({app=~\".+\"}[1m]))", START + NS, NULL, &result,
                 &error));
  EXPECT(varve_result_kind(result) == VARVE_VECTOR && varve_result_series_count(result) == 2);
  OK(varve_result_series(result, 1, &series, &error));
  EXPECT(strcmp(series.labels[0].value, "shop") == 0 && series.values[0] == 4);
  varve_result_free(result);
  OK(varve_logql_range(db, "count_over_time({app=\"bank\"}[1m])", START, START + 60 * NS, 30 * NS,
                       NULL, &result, &error));
  EXPECT(varve_result_kind(result) == VARVE_MATRIX && varve_result_rows(result) == 2);
  varve_result_free(result);

  char* plan = NULL;
  OK(varve_logql_explain(db, "{app=\"shop\"} |= \"error\"", &plan, &error));
  EXPECT(plan != NULL && strstr(plan, "error") != NULL);
  varve_string_free(plan);

  varve_error* error = NULL;
  EXPECT(varve_logql_range(db, "{app=\"shop\"}\n |= ", START, START + NS, 0, NULL, &result,
                           &error) == VARVE_INVALID_ARGUMENT);
  EXPECT(varve_error_line(error) == 2 && varve_error_column(error) > 0);
  EXPECT(strstr(varve_error_rendered(error), "^") != NULL);
  varve_error_free(error);
  FAILS(VARVE_INVALID_ARGUMENT, "", varve_logql(db, "{app=\"shop\"", START, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "query is NULL",
        varve_logql(db, NULL, START, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "plan is NULL", varve_logql_explain(db, "{a=\"b\"}", NULL, &error));

  OK(varve_log_entries_arrow_stream(db, "{app=\"shop\"}", START, START + NS - 1, &stream, &error));
  EXPECT(drain(&stream) == 3);
  FAILS(VARVE_INVALID_ARGUMENT, "",
        varve_log_entries_arrow_stream(db, "{app=", START, START, &stream, &error));
}

static void append_spans(varve_database* db) {
  varve_span_batch* batch = varve_span_batch_new();
  const varve_attribute shop[] = {TEXT("service.name", "shop"), INT("process.pid", 77)};
  uint32_t resource = 9;
  OK(varve_span_batch_add_resource(batch, shop, 2, "tracer", "1.2", &resource, &error));
  EXPECT(resource == 0);
  const varve_attribute items[] = {INT(NULL, 5),
                                   {.type = VARVE_TEXT, .text = "five-", .text_size = 4}};
  const varve_attribute fields[] = {TEXT("deep", "yes"), {.key = "nothing", .type = VARVE_EMPTY}};
  const varve_attribute attributes[] = {
      TEXT("http.method", "GET"),
      INT("http.status_code", 500),
      {.key = "cached", .type = VARVE_BOOL, .integer = 1},
      {.key = "ratio", .type = VARVE_DOUBLE, .number = 0.5},
      {.key = "raw", .type = VARVE_BYTES, .text = "\0\1\2", .text_size = 3},
      {.key = "list", .type = VARVE_ARRAY, .items = items, .items_count = 2},
      {.key = "map", .type = VARVE_MAP, .items = fields, .items_count = 2}};
  const varve_span_event events[] = {
      {.time_ns = START + 5, .name = "exception", .attributes = attributes, .attributes_count = 1}};
  varve_span_link link = {.trace_state = "a=b", .attributes = attributes, .attributes_count = 1};
  memcpy(link.trace_id, trace_id, 16);
  link.span_id[7] = 9;
  varve_span spans[3];
  memset(spans, 0, sizeof(spans));
  for (int i = 0; i < 3; ++i) {
    memcpy(spans[i].trace_id, trace_id, 16);
    if (i == 2) spans[i].trace_id[0] = 1;
    spans[i].span_id[7] = (uint8_t)(i + 1);
    spans[i].name = i == 0 ? "GET /" : "SELECT";
    spans[i].kind = i == 0 ? VARVE_KIND_SERVER : VARVE_KIND_CLIENT;
    spans[i].start_ns = START + i;
    spans[i].end_ns = START + 10 * (i + 1) * (NS / 1000);
  }
  spans[0].status = VARVE_STATUS_ERROR;
  spans[0].status_message = "it broke";
  spans[0].attributes = attributes;
  spans[0].attributes_count = 7;
  spans[0].events = events;
  spans[0].events_count = 1;
  spans[0].links = &link;
  spans[0].links_count = 1;
  spans[1].parent_id[7] = 1;
  OK(varve_span_batch_add_spans(batch, resource, spans, sizeof(spans[0]), 3, &error));
  varve_append_counts counts = {0, 7};
  OK(varve_append_spans(db, batch, NULL, &counts, &error));
  EXPECT(counts.rows == 3 && counts.rejected == 0);

  /* A span without an id: alone it fails, with `partial` it is counted. */
  varve_span_batch_clear(batch);
  OK(varve_span_batch_add_resource(batch, shop, 2, NULL, NULL, &resource, &error));
  varve_span nameless[2] = {spans[1], spans[2]};
  memset(nameless[1].span_id, 0, 8);
  OK(varve_span_batch_add_spans(batch, resource, nameless, sizeof(nameless[0]), 2, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "id", varve_append_spans(db, batch, NULL, NULL, &error));
  varve_write_options partial = VARVE_WRITE_OPTIONS_INIT;
  partial.partial = 1;
  OK(varve_append_spans(db, batch, &partial, &counts, &error));
  EXPECT(counts.rows == 1 && counts.rejected == 1);

  varve_span bad = spans[0];
  bad.kind = 77;
  FAILS(VARVE_INVALID_ARGUMENT, "span 0: there is no kind 77",
        varve_span_batch_add_spans(batch, resource, &bad, sizeof(bad), 1, &error));
  bad = spans[0];
  bad.status = -1;
  FAILS(VARVE_INVALID_ARGUMENT, "span 0: there is no status",
        varve_span_batch_add_spans(batch, resource, &bad, sizeof(bad), 1, &error));
  varve_attribute wrong = {.key = "k", .type = 99};
  bad = spans[0];
  bad.attributes = &wrong;
  bad.attributes_count = 1;
  FAILS(VARVE_INVALID_ARGUMENT, "span 0: attribute 0: there is no type 99",
        varve_span_batch_add_spans(batch, resource, &bad, sizeof(bad), 1, &error));
  wrong.type = VARVE_ARRAY;
  wrong.items = &wrong; /* contains itself */
  wrong.items_count = 1;
  FAILS(VARVE_INVALID_ARGUMENT, "span 0: attribute 0: nested too deep",
        varve_span_batch_add_spans(batch, resource, &bad, sizeof(bad), 1, &error));
  wrong.items = NULL;
  wrong.items_count = SIZE_MAX;
  FAILS(VARVE_INVALID_ARGUMENT, "items is NULL",
        varve_span_batch_add_spans(batch, resource, &bad, sizeof(bad), 1, &error));
  bad = spans[0];
  bad.links_count = SIZE_MAX;
  FAILS(VARVE_INVALID_ARGUMENT, "more than a batch holds",
        varve_span_batch_add_spans(batch, resource, &bad, sizeof(bad), 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "span_size is 3",
        varve_span_batch_add_spans(batch, resource, spans, 3, 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "resource 4 is not in this batch of 1",
        varve_span_batch_add_spans(batch, 4, spans, sizeof(spans[0]), 1, &error));
  varve_span_batch_free(batch);
}

static void query_traces(varve_database* db) {
  varve_result* result = NULL;
  varve_query_options options = VARVE_QUERY_OPTIONS_INIT;
  options.limit = 1;
  OK(varve_traceql(db, "{ duration > 1ms }", START, START + NS, 0, &options, &result, &error));
  EXPECT(varve_result_kind(result) == VARVE_TRACES && varve_result_rows(result) == 1);
  EXPECT(strstr(varve_result_analysis(result), "matched") != NULL);
  char cursor[256] = "";
  EXPECT(varve_result_next(result) != NULL);
  if (varve_result_next(result) != NULL) {
    snprintf(cursor, sizeof(cursor), "%s", varve_result_next(result));
  }
  varve_result_free(result);
  options.cursor = cursor;
  OK(varve_traceql(db, "{ duration > 1ms }", START, START + NS, 0, &options, &result, &error));
  struct ArrowArrayStream stream;
  struct ArrowArray array;
  OK(varve_result_arrow_stream(result, &stream, &error));
  varve_result_free(result);
  EXPECT(stream.get_next(&stream, &array) == 0 && array.length == 1 && array.n_children == 8);
  TEXT_IS(array.children[0], 0, "4bf92f3577b34da6a3ce929d0e0e4736");
  TEXT_IS(array.children[1], 0, "shop");
  TEXT_IS(array.children[2], 0, "GET /");
  EXPECT(((const uint64_t*)array.children[5]->buffers[1])[0] == 2);
  array.release(&array);
  EXPECT(drain(&stream) == 0);

  OK(varve_traceql(db, "{ span.list = 5 || span.http.status_code = 500 }", START, START + NS, 0,
                   NULL, &result, &error));
  EXPECT(varve_result_rows(result) == 1);
  varve_result_free(result);
  OK(varve_traceql(db, "{ } | count_over_time() by (name)", START - NS, START + NS, 0, NULL,
                   &result, &error));
  EXPECT(varve_result_kind(result) == VARVE_VECTOR && varve_result_series_count(result) == 2);
  varve_result_free(result);
  OK(varve_traceql(db, "{ } | rate()", START - NS, START + NS, NS, NULL, &result, &error));
  EXPECT(varve_result_kind(result) == VARVE_MATRIX);
  varve_result_free(result);

  char* plan = NULL;
  OK(varve_traceql_explain(db, "{ name = \"SELECT\" }", &plan, &error));
  EXPECT(plan != NULL && strstr(plan, "SELECT") != NULL);
  varve_string_free(plan);
  varve_error* error = NULL;
  EXPECT(varve_traceql(db, "{ name =\n }", START, START + NS, 0, NULL, &result, &error) ==
         VARVE_INVALID_ARGUMENT);
  EXPECT(varve_error_line(error) == 2 && varve_error_column(error) == 2);
  EXPECT(strstr(varve_error_rendered(error), "^") != NULL);
  varve_error_free(error);
  FAILS(VARVE_INVALID_ARGUMENT, "step",
        varve_traceql(db, "{ } | rate()", START, START + NS, 1, NULL, &result, &error));
  options.cursor = "no cursor";
  FAILS(VARVE_INVALID_ARGUMENT, "cursor",
        varve_traceql(db, "{ }", START, START + NS, 0, &options, &result, &error));

  OK(varve_trace_arrow_stream(db, trace_id, &stream, &error));
  struct ArrowSchema schema;
  EXPECT(stream.get_schema(&stream, &schema) == 0 && schema.n_children == 12);
  schema.release(&schema);
  EXPECT(stream.get_next(&stream, &array) == 0 && array.length == 2);
  TEXT_IS(array.children[1], 1, "0000000000000002");
  TEXT_IS(array.children[2], 1, "0000000000000001");
  EXPECT(array.children[2]->null_count == 1);
  TEXT_IS(array.children[3], 0, "shop");
  TEXT_IS(array.children[5], 0, "server");
  TEXT_IS(array.children[6], 0, "error");
  TEXT_IS(array.children[7], 0, "it broke");
  EXPECT(((const int64_t*)array.children[9]->buffers[1])[0] == NS / 100);
  /* Attributes, as printed. */
  const struct ArrowArray* pairs = array.children[10]->children[0];
  EXPECT(((const int32_t*)array.children[10]->buffers[1])[1] == 7);
  TEXT_IS(pairs->children[0], 4, "raw");
  TEXT_IS(pairs->children[1], 4, "AAEC");
  TEXT_IS(pairs->children[1], 5, "[5,\"five\"]");
  TEXT_IS(pairs->children[1], 6, "{\"deep\":\"yes\",\"nothing\":null}");
  array.release(&array);
  EXPECT(drain(&stream) == 0);
  uint8_t other[16] = {1, 2, 3};
  OK(varve_trace_arrow_stream(db, other, &stream, &error));
  EXPECT(drain(&stream) == 0);
  FAILS(VARVE_INVALID_ARGUMENT, "trace_id is NULL",
        varve_trace_arrow_stream(db, NULL, &stream, &error));

  OK(varve_spans_arrow_stream(db, "shop", START + 1, START + NS, &stream, &error));
  EXPECT(drain(&stream) == 2);
  OK(varve_spans_arrow_stream(db, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  EXPECT(drain(&stream) == 3);
  varve_list* list = NULL;
  OK(varve_services(db, &list, &error));
  EXPECT(varve_list_count(list) == 1 && strcmp(varve_list_at(list, 0, NULL), "shop") == 0);
  varve_list_free(list);
}

/* What one database streams, another takes. */
static void copy_over_arrow(varve_database* from, const char* path) {
  varve_database* to = NULL;
  OK(varve_open(path, NULL, &to, &error));
  struct ArrowArrayStream stream;
  varve_append_counts counts;
  const varve_label gauge[] = {{"__name__", "load", 0, 0}, {"host", "a", 0, 0}};
  varve_batch* samples = varve_batch_new();
  uint32_t series = 0;
  const int64_t times_ms[] = {START / 1000000, START / 1000000 + 1};
  const double values[] = {0.5, -0.0};
  OK(varve_batch_add_series(samples, gauge, 2, &series, &error));
  OK(varve_batch_add_samples(samples, series, times_ms, values, 2, &error));
  OK(varve_append(from, samples, NULL, NULL, &error));
  varve_batch_free(samples);
  OK(varve_samples_arrow_stream(from, "load", INT64_MIN, INT64_MAX, &stream, &error));
  OK(varve_append_samples_arrow(to, &stream, NULL, &counts, &error));
  EXPECT(counts.rows == 2 && stream.release == NULL);
  OK(varve_samples_arrow_stream(to, "load{host=\"a\"}", INT64_MIN, INT64_MAX, &stream, &error));
  EXPECT(drain(&stream) == 2);
  OK(varve_log_entries_arrow_stream(from, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "no column \"metric\"",
        varve_append_samples_arrow(to, &stream, NULL, &counts, &error));

  OK(varve_log_entries_arrow_stream(from, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  OK(varve_append_logs_arrow(to, &stream, NULL, &counts, &error));
  EXPECT(counts.rows == 5 && stream.release == NULL);
  OK(varve_log_entries_arrow_stream(to, "{dc=\"north\"}", INT64_MIN, INT64_MAX, &stream, &error));
  EXPECT(drain(&stream) == 4);
  varve_result* result = NULL;
  OK(varve_logql_range(to, "{app=\"bank\"} | user = \"ann\"", START, START + NS, 0, NULL, &result,
                       &error));
  EXPECT(varve_result_rows(result) == 1);
  varve_result_free(result);

  OK(varve_spans_arrow_stream(from, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  OK(varve_append_spans_arrow(to, &stream, NULL, &counts, &error));
  EXPECT(counts.rows == 3);
  OK(varve_traceql(to, "{ span.http.method = \"GET\" && kind = server && status = error }", START,
                   START + NS, 0, NULL, &result, &error));
  EXPECT(varve_result_rows(result) == 1);
  varve_result_free(result);

  /* The wrong table, a spent stream, no stream. */
  OK(varve_spans_arrow_stream(from, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "no column \"time\"",
        varve_append_logs_arrow(to, &stream, NULL, &counts, &error));
  EXPECT(stream.release == NULL);
  FAILS(VARVE_INVALID_ARGUMENT, "released already",
        varve_append_logs_arrow(to, &stream, NULL, &counts, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "stream is NULL",
        varve_append_spans_arrow(to, NULL, NULL, &counts, &error));
  OK(varve_log_entries_arrow_stream(from, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "database is NULL",
        varve_append_logs_arrow(NULL, &stream, NULL, &counts, &error));
  EXPECT(stream.release == NULL);
  OK(varve_close(to, &error));
}

int main(void) {
  char root[] = "/tmp/varve_c_XXXXXX";
  if (mkdtemp(root) == NULL) return 2;
  char path[64];
  char copy[64];
  snprintf(path, sizeof(path), "%s/data", root);
  snprintf(copy, sizeof(copy), "%s/copy", root);
  varve_database* db = NULL;
  OK(varve_open(path, NULL, &db, &error));
  if (db == NULL) return 1;
  append_logs(db);
  append_spans(db);
  query_logs(db);
  query_traces(db);
  OK(varve_flush(db, &error));
  query_logs(db);
  query_traces(db);
  copy_over_arrow(db, copy);

  FAILS(VARVE_INVALID_ARGUMENT, "only a selector and line filters",
        varve_delete_logs(db, "{app=\"shop\"} | json", START, START + NS, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "query is NULL", varve_delete_logs(db, NULL, 0, 1, &error));
  OK(varve_delete_logs(db, "{app=\"shop\"} |= \"late\"", INT64_MIN, INT64_MAX, &error));
  struct ArrowArrayStream stream;
  OK(varve_log_entries_arrow_stream(db, "{app=\"shop\"}", INT64_MIN, INT64_MAX, &stream, &error));
  EXPECT(drain(&stream) == 3);
  varve_log_batch_free(NULL);
  varve_log_batch_clear(NULL);
  varve_span_batch_free(NULL);
  varve_span_batch_clear(NULL);
  EXPECT(varve_result_next(NULL) == NULL);
  OK(varve_close(db, &error));

  char command[96];
  snprintf(command, sizeof(command), "rm -rf %s", root);
  if (system(command) != 0) return 2;
  if (failures == 0) puts("ok");
  return failures == 0 ? 0 : 1;
}
