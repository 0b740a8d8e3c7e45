/* Uses every function of varve.h that is about metrics or everything the way a C program would, and
 * the way it should not. */
#define _DEFAULT_SOURCE /* mkdtemp, usleep */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "expect.h"
#include "varve.h"

#define START 1700000000000
#define SLOW "double_exponential_smoothing(requests_total[10m:50ms], 0.5, 0.5)"

static varve_database* open_with_data(const char* path) {
  varve_database* db = NULL;
  OK(varve_open(path, NULL, &db, &error));
  varve_batch* batch = varve_batch_new();
  for (int s = 0; s < 2; ++s) {
    const varve_label labels[] = {{.name = "job", .value = s == 0 ? "api" : "db"},
                                  {.name = "__name__", .value = "requests_total"},
                                  {.name = "dc", .value = "north-1", .value_size = 5}};
    uint32_t series = 99;
    OK(varve_batch_add_series(batch, labels, 3, &series, &error));
    EXPECT(series == (uint32_t)s);
    int64_t times[60];
    double values[60];
    for (int i = 0; i < 60; ++i) {
      times[i] = START + i * INT64_C(15000);
      values[i] = 30.0 * i * (s + 1);
    }
    OK(varve_batch_add_samples(batch, series, times, values, 60, &error));
  }
  OK(varve_batch_add_metadata(batch, "requests_total", "counter", "Requests.", NULL, &error));
  varve_append_counts counts = {0, 0};
  OK(varve_append(db, batch, NULL, &counts, &error));
  EXPECT(counts.rows == 120);
  EXPECT(counts.rejected == 0);
  varve_batch_free(batch);
  return db;
}

static void test_queries(varve_database* db) {
  varve_result* result = NULL;
  OK(varve_promql(db, "sum by (job) (rate(requests_total[5m]))", START + 885000, NULL, &result,
                  &error));
  EXPECT(varve_result_kind(result) == VARVE_VECTOR);
  EXPECT(varve_result_series_count(result) == 2);
  EXPECT(varve_result_rows(result) == 2);
  varve_series series;
  OK(varve_result_series(result, 1, &series, &error));
  EXPECT(series.labels_count == 1);
  EXPECT(strcmp(series.labels[0].name, "job") == 0 && strcmp(series.labels[0].value, "db") == 0);
  EXPECT(series.labels[0].value_size == 2);
  EXPECT(series.count == 1 && series.times_ms[0] == START + 885000);
  EXPECT(fabs(series.values[0] - 4) < 1e-9);
  FAILS(VARVE_INVALID_ARGUMENT, "series 2 of a result with 2",
        varve_result_series(result, 2, &series, &error));
  EXPECT(varve_result_text(result) == NULL);
  EXPECT(strstr(varve_result_analysis(result), "total") != NULL);
  EXPECT(varve_result_note(result, 1000) == NULL);
  varve_result_free(result);

  varve_query_options options = VARVE_QUERY_OPTIONS_INIT;
  options.analyze = 1;
  OK(varve_promql_range(db, "requests_total", START, START + 885000, 15000, &options, &result,
                        &error));
  EXPECT(varve_result_kind(result) == VARVE_MATRIX && varve_result_rows(result) == 120);
  EXPECT(strstr(varve_result_analysis(result), "samples") != NULL);

  /* The stream must outlive the result. */
  struct ArrowArrayStream stream;
  OK(varve_result_arrow_stream(result, &stream, &error));
  varve_result_free(result);
  struct ArrowSchema schema;
  EXPECT(stream.get_schema(&stream, &schema) == 0);
  EXPECT(strcmp(schema.format, "+s") == 0 && schema.n_children == 5);
  EXPECT(strcmp(schema.children[0]->name, "time") == 0);
  EXPECT(strcmp(schema.children[0]->format, "tsm:UTC") == 0);
  EXPECT(strcmp(schema.children[1]->format, "g") == 0);
  EXPECT(strcmp(schema.children[2]->name, "__name__") == 0 && schema.children[2]->dictionary);
  EXPECT(strcmp(schema.children[4]->name, "job") == 0);
  schema.release(&schema);
  struct ArrowArray array;
  int64_t rows = 0;
  for (;;) {
    EXPECT(stream.get_next(&stream, &array) == 0);
    if (array.release == NULL) break;
    const double* values = array.children[1]->buffers[1];
    EXPECT(values[array.children[1]->offset + 59] == 30.0 * 59);
    const int32_t* jobs = array.children[4]->buffers[1];
    EXPECT(jobs[0] == 0 && jobs[119] == 1);
    rows += array.length;
    array.release(&array);
  }
  EXPECT(rows == 120);
  EXPECT(stream.get_last_error(&stream) == NULL);
  stream.release(&stream);

  OK(varve_promql(db, "\"text\"", START, NULL, &result, &error));
  EXPECT(varve_result_kind(result) == VARVE_STRING);
  EXPECT(strcmp(varve_result_text(result), "text") == 0);
  varve_result_free(result);
  OK(varve_promql(db, "1 + 1", START, NULL, &result, &error));
  OK(varve_result_series(result, 0, &series, &error));
  EXPECT(series.labels_count == 0 && series.values[0] == 2);
  varve_result_free(result);
  OK(varve_promql(db, "rate(node_load1[5m])", START, NULL, &result, &error));
  EXPECT(varve_result_rows(result) == 0);
  varve_result_free(result);

  char* plan = NULL;
  OK(varve_promql_explain(db, "requests_total[5m]", START, START, 0, &plan, &error));
  EXPECT(plan != NULL && strstr(plan, "samples over 300000ms") != NULL);
  varve_string_free(plan);
  OK(varve_promql_explain(db, "sum(requests_total)", START, START + 1000, 1000, &plan, &error));
  EXPECT(plan != NULL && strstr(plan, "requests_total") != NULL);
  varve_string_free(plan);
}

static void test_errors(varve_database* db) {
  varve_result* result = NULL;
  varve_error* error = NULL;
  EXPECT(varve_promql(db, "sum(\n  rate(x[5m)", START, NULL, &result, &error) ==
         VARVE_INVALID_ARGUMENT);
  EXPECT(varve_error_line(error) == 2 && varve_error_column(error) > 1);
  EXPECT(strstr(varve_error_rendered(error), "^") != NULL);
  EXPECT(varve_error_file(error) == NULL && varve_error_offset(error) == 0);
  varve_error_free(error);
  EXPECT(varve_promql(db, "rate(", START, NULL, &result, NULL) == VARVE_INVALID_ARGUMENT);

  FAILS(VARVE_INVALID_ARGUMENT, "database is NULL",
        varve_promql(NULL, "up", 0, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "query is NULL", varve_promql(db, NULL, 0, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "result is NULL", varve_promql(db, "up", 0, NULL, NULL, &error));
  varve_query_options unset;
  memset(&unset, 0, sizeof(unset));
  FAILS(VARVE_INVALID_ARGUMENT, "struct_size", varve_promql(db, "up", 0, &unset, &result, &error));
  varve_query_options negative = VARVE_QUERY_OPTIONS_INIT;
  negative.timeout_ms = -1;
  FAILS(VARVE_INVALID_ARGUMENT, "negative", varve_promql(db, "up", 0, &negative, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "end",
        varve_promql_range(db, "up", 5, 4, 1, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "step",
        varve_promql_range(db, "up", 0, 4, 0, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "11,000",
        varve_promql_range(db, "up", 0, START, 1, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "9223372036854775807 ms is not between the years 1 and 9999",
        varve_promql_range(db, "up", 0, INT64_MAX, 1, NULL, &result, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "between the years",
        varve_promql(db, "up", INT64_MIN, NULL, &result, &error));
  varve_query_options few = VARVE_QUERY_OPTIONS_INIT;
  few.samples_max = 3;
  FAILS(VARVE_RESOURCE_EXHAUSTED, "samples",
        varve_promql(db, "requests_total[1h]", START + 885000, &few, &result, &error));

  uint32_t series;
  varve_batch* batch = varve_batch_new();
  const varve_label twice[] = {{.name = "a", .value = "1"}, {.name = "a", .value = "2"}};
  FAILS(VARVE_INVALID_ARGUMENT, "a", varve_batch_add_series(batch, twice, 2, &series, &error));
  const varve_label null_value[] = {{.name = "a", .value = NULL}};
  FAILS(VARVE_INVALID_ARGUMENT, "value is NULL",
        varve_batch_add_series(batch, null_value, 1, &series, &error));
  const int64_t time = START;
  const double value = 1;
  FAILS(VARVE_INVALID_ARGUMENT, "series 7 is not in this batch of 0",
        varve_batch_add_samples(batch, 7, &time, &value, 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "times_ms is NULL",
        varve_batch_add_samples(batch, 7, NULL, &value, 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "not a metric type",
        varve_batch_add_metadata(batch, "x", "countre", NULL, NULL, &error));

  /* Another value at a stored time; alone it fails, with `partial` it is counted. */
  const varve_label labels[] = {{.name = "__name__", .value = "requests_total"},
                                {.name = "dc", .value = "north"},
                                {.name = "job", .value = "api"}};
  OK(varve_batch_add_series(batch, labels, 3, &series, &error));
  const int64_t newest = START + 59 * 15000;
  OK(varve_batch_add_samples(batch, series, &newest, &value, 1, &error));
  FAILS(VARVE_ALREADY_EXISTS, "requests_total", varve_append(db, batch, NULL, NULL, &error));
  varve_write_options partial = VARVE_WRITE_OPTIONS_INIT;
  partial.partial = 1;
  varve_append_counts counts;
  OK(varve_append(db, batch, &partial, &counts, &error));
  EXPECT(counts.rows == 0 && counts.rejected == 1);
  varve_batch_clear(batch);
  OK(varve_append(db, batch, NULL, &counts, &error));
  varve_batch_free(batch);

  varve_database* other = NULL;
  varve_options options = VARVE_OPTIONS_INIT;
  options.create_if_missing = 0;
  FAILS(VARVE_NOT_FOUND, "nowhere", varve_open("/nowhere/at/all", &options, &other, &error));
  FAILS(VARVE_INVALID_ARGUMENT, "path is NULL", varve_open(NULL, NULL, &other, &error));
  options.create_if_missing = 1;
  options.durability = 7;
  FAILS(VARVE_INVALID_ARGUMENT, "no durability 7",
        varve_open("/tmp/never", &options, &other, &error));
  EXPECT(other == NULL);

  /* NULL is harmless where a handle only is read or freed. */
  varve_error_free(NULL);
  varve_batch_free(NULL);
  varve_batch_clear(NULL);
  varve_result_free(NULL);
  varve_list_free(NULL);
  varve_cancellation_free(NULL);
  varve_string_free(NULL);
  EXPECT(varve_close(NULL, NULL) == VARVE_OK);
  EXPECT(varve_error_code(NULL) == VARVE_OK && varve_result_rows(NULL) == 0);
  EXPECT(varve_list_at(NULL, 0, NULL) == NULL && varve_list_count(NULL) == 0);
  EXPECT(strcmp(varve_code_name(77), "unknown") == 0);
}

static void test_lists(varve_database* db) {
  varve_list* list = NULL;
  OK(varve_label_names(db, NULL, INT64_MIN, INT64_MAX, &list, &error));
  EXPECT(varve_list_count(list) == 3);
  EXPECT(strcmp(varve_list_at(list, 2, NULL), "job") == 0);
  EXPECT(varve_list_at(list, 3, NULL) == NULL);
  varve_list_free(list);
  size_t size = 0;
  OK(varve_label_values(db, "job", "requests_total{job!=\"api\"}", START, START + 1000000, &list,
                        &error));
  EXPECT(varve_list_count(list) == 1 && strcmp(varve_list_at(list, 0, &size), "db") == 0);
  EXPECT(size == 2);
  varve_list_free(list);
  OK(varve_series_list(db, "{job=\"api\"}", START, START + 1000000, &list, &error));
  EXPECT(strcmp(varve_list_at(list, 0, NULL), "requests_total{dc=\"north\", job=\"api\"}") == 0);
  varve_list_free(list);
  FAILS(VARVE_INVALID_ARGUMENT, "parse error",
        varve_series_list(db, "{job=", START, START + 1000, &list, &error));

  struct ArrowArrayStream stream;
  OK(varve_samples_arrow_stream(db, "requests_total", START, START + 15000, &stream, &error));
  struct ArrowArray array;
  EXPECT(stream.get_next(&stream, &array) == 0);
  EXPECT(array.length == 4 && array.n_children == 5);
  const int64_t* times = array.children[2]->buffers[1];
  EXPECT(times[0] == START && times[1] == START + 15000 && times[2] == START);
  array.release(&array);
  EXPECT(stream.get_next(&stream, &array) == 0 && array.release == NULL);
  stream.release(&stream);

  OK(varve_verify(db, &list, &error));
  EXPECT(varve_list_count(list) == 0);
  varve_list_free(list);
}

struct slow_query {
  varve_database* db;
  varve_cancellation* cancellation;
  varve_code code;
};

static void* run_slow_query(void* argument) {
  struct slow_query* query = argument;
  varve_query_options options = VARVE_QUERY_OPTIONS_INIT;
  options.cancellation = query->cancellation;
  options.samples_max = UINT64_MAX / 2;
  varve_result* result = NULL;
  query->code =
      varve_promql_range(query->db, SLOW, START, START + 885000, 100, &options, &result, NULL);
  varve_result_free(result);
  return NULL;
}

static void test_cancellation(varve_database* db) {
  struct slow_query query = {db, varve_cancellation_new(), VARVE_OK};
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, run_slow_query, &query) == 0);
  usleep(50000);
  varve_cancellation_cancel(query.cancellation);
  pthread_join(thread, NULL);
  EXPECT(query.code == VARVE_CANCELLED);
  varve_cancellation_free(query.cancellation);

  varve_query_options hasty = VARVE_QUERY_OPTIONS_INIT;
  hasty.timeout_ms = 20;
  hasty.samples_max = UINT64_MAX / 2;
  varve_result* result = NULL;
  FAILS(VARVE_DEADLINE_EXCEEDED, "",
        varve_promql_range(db, SLOW, START, START + 885000, 100, &hasty, &result, &error));
}

int main(void) {
  char root[] = "/tmp/varve_c_XXXXXX";
  if (mkdtemp(root) == NULL) return 2;
  char path[64];
  char copy[64];
  snprintf(path, sizeof(path), "%s/data", root);
  snprintf(copy, sizeof(copy), "%s/copy", root);
  EXPECT(strcmp(varve_version(), "") != 0);

  varve_database* db = open_with_data(path);
  if (db == NULL) return 1;
  test_queries(db);
  test_errors(db);
  test_lists(db);
  test_cancellation(db);
  OK(varve_sync(db, &error));
  OK(varve_flush(db, &error));
  test_lists(db);
  OK(varve_backup(db, copy, &error));
  OK(varve_delete_series(db, "{job=\"api\"}", INT64_MIN, INT64_MAX, &error));
  OK(varve_compact(db, &error));
  varve_result* result = NULL;
  OK(varve_promql(db, "count(requests_total)", START + 885000, NULL, &result, &error));
  varve_series series;
  OK(varve_result_series(result, 0, &series, &error));
  EXPECT(series.values[0] == 1);
  varve_result_free(result);

  /* A stream that outlives its database ends with an error. */
  struct ArrowArrayStream stream;
  OK(varve_samples_arrow_stream(db, NULL, INT64_MIN, INT64_MAX, &stream, &error));
  varve_database* second = NULL;
  FAILS(VARVE_FAILED_PRECONDITION, "", varve_open(path, NULL, &second, &error));
  OK(varve_close(db, &error));
  struct ArrowArray array;
  EXPECT(stream.get_next(&stream, &array) != 0);
  EXPECT(strstr(stream.get_last_error(&stream), "closed") != NULL);
  stream.release(&stream);

  varve_options options = VARVE_OPTIONS_INIT;
  options.read_only = 1;
  OK(varve_open(copy, &options, &db, &error));
  test_lists(db);
  OK(varve_close(db, &error));

  char command[96];
  snprintf(command, sizeof(command), "rm -rf %s", root);
  if (system(command) != 0) return 2;
  if (failures == 0) puts("ok");
  return failures == 0 ? 0 : 1;
}
