/* Varve from C: one directory holds metrics, logs and traces; one library takes them in and answers
 * PromQL, LogQL and TraceQL.
 *
 * Rules that hold for every function:
 *  - Handles are opaque. Whoever gets one frees it, with the function named after its type; freeing
 *    NULL does nothing. A database may be used from any number of threads; every other handle by
 *    one thread at a time, except that a varve_cancellation may be cancelled from anywhere.
 *  - Functions that can fail return a varve_code, VARVE_OK (0) on success. `error` may be NULL;
 *    else it receives a varve_error on failure and is left alone on success. Out parameters are
 *    written on success only.
 *  - Texts that go in are copied. Texts that come out belong to the handle they came from and live
 *    as long as it does.
 *  - Texts are pointer and size. A size of 0 means that the text ends with NUL, so {"job", "api"}
 *    works; where any bytes go (log lines, VARVE_BYTES), the size is always exact. A NULL text of
 *    size 0 is empty, where the thing may be. Texts over 64 MiB are refused unread.
 *  - Times of metrics are Unix milliseconds, those of logs and spans Unix nanoseconds.
 *  - Structs that grow with the library begin with their size: fill them with the INIT macro.
 *  - Nothing is printed, no signal handler is set, no C++ exception gets out.
 */
#ifndef VARVE_H_
#define VARVE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VARVE_API __attribute__((visibility("default")))

/* --- Arrow C data interface (https://arrow.apache.org/docs/format/CDataInterface.html) -------- */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};
#endif /* ARROW_C_DATA_INTERFACE */

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
  int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
  const char* (*get_last_error)(struct ArrowArrayStream*);
  void (*release)(struct ArrowArrayStream*);
  void* private_data;
};
#endif /* ARROW_C_STREAM_INTERFACE */

/* --- Errors ---------------------------------------------------------------------------------- */

typedef enum varve_code {
  VARVE_OK = 0,
  VARVE_INVALID_ARGUMENT = 1,    /* bad query, labels or argument */
  VARVE_OUT_OF_RANGE = 2,        /* a time outside the window in which samples are accepted */
  VARVE_ALREADY_EXISTS = 3,      /* another value is stored at this time already */
  VARVE_NOT_FOUND = 4,           /* no such database or file */
  VARVE_RESOURCE_EXHAUSTED = 5,  /* a limit, a budget, memory, or a full disk */
  VARVE_FAILED_PRECONDITION = 6, /* closed, read-only, held by another process; or a well-formed
                                    query that failed while running */
  VARVE_CANCELLED = 7,
  VARVE_DEADLINE_EXCEEDED = 8,
  VARVE_DATA_LOSS = 9,    /* corrupt bytes on disk */
  VARVE_UNAVAILABLE = 10, /* an I/O error */
  VARVE_UNIMPLEMENTED = 11,
  VARVE_INTERNAL = 12 /* our bug */
} varve_code;

typedef struct varve_error varve_error;

VARVE_API varve_code varve_error_code(const varve_error* error);
VARVE_API const char* varve_error_message(const varve_error* error);
/* Where in the query text the mistake is, counted from 1; 0 if the error is not about a text. */
VARVE_API uint32_t varve_error_line(const varve_error* error);
VARVE_API uint32_t varve_error_column(const varve_error* error);
/* Shows the line of the query with a caret under the place; the message alone without a place. */
VARVE_API const char* varve_error_rendered(const varve_error* error);
/* Which file is corrupt, and from which byte; NULL and 0 if the error is not about a file. */
VARVE_API const char* varve_error_file(const varve_error* error);
VARVE_API uint64_t varve_error_offset(const varve_error* error);
VARVE_API void varve_error_free(varve_error* error);

/* Names a code in lower case: "invalid_argument". */
VARVE_API const char* varve_code_name(int code);
/* The version of the library, "0.1.0". */
VARVE_API const char* varve_version(void);

/* --- Opening and closing ---------------------------------------------------------------------- */

typedef struct varve_database varve_database;

typedef enum varve_durability {
  VARVE_DURABLE = 0,      /* what varve_append acknowledged survives power loss */
  VARVE_PROCESS_CRASH = 1 /* survives kill -9; power loss costs at most a second */
} varve_durability;

typedef struct varve_options {
  size_t struct_size;
  int create_if_missing;           /* default 1 */
  int read_only;                   /* default 0 */
  int32_t durability;              /* varve_durability */
  int64_t out_of_order_window_ms;  /* how late a sample may come; default 30 minutes */
  int64_t retention_ms;            /* 0 (default) keeps for ever */
  uint64_t retention_bytes;        /* 0 (default) is unbounded */
  uint64_t query_memory_bytes_max; /* memory of one query; default 4 GiB, 0 is unbounded */
  uint64_t query_points_max;       /* steps of a range query; default 11,000, 0 is unbounded */
  uint32_t query_threads;          /* 0 (default) is one per core */
} varve_options;
#define VARVE_OPTIONS_INIT \
  {sizeof(varve_options), 1, 0, VARVE_DURABLE, 1800000, 0, 0, 4294967296u, 11000, 0}

/* Opens a directory and replays its log. `options` may be NULL. */
VARVE_API varve_code varve_open(const char* path, const varve_options* options,
                                varve_database** database, varve_error** error);
/* Syncs, stops background work and frees the handle, also when it fails. Results, batches and
 * streams that are still held stay valid. */
VARVE_API varve_code varve_close(varve_database* database, varve_error** error);

/* --- Writing ---------------------------------------------------------------------------------- */

typedef struct varve_label {
  const char* name;
  const char* value;
  size_t name_size;
  size_t value_size;
} varve_label;

typedef struct varve_batch varve_batch;

VARVE_API varve_batch* varve_batch_new(void);
VARVE_API void varve_batch_free(varve_batch* batch);
/* Empties the batch and keeps its memory. */
VARVE_API void varve_batch_clear(varve_batch* batch);
/* Adds a series by its labels, in any order; "__name__" is the metric. The number of the series in
 * this batch goes to `series`. */
VARVE_API varve_code varve_batch_add_series(varve_batch* batch, const varve_label* labels,
                                            size_t labels_count, uint32_t* series,
                                            varve_error** error);
VARVE_API varve_code varve_batch_add_samples(varve_batch* batch, uint32_t series,
                                             const int64_t* times_ms, const double* values,
                                             size_t count, varve_error** error);
/* Says what a metric family is: type is "counter", "gauge", "histogram", ... or "unknown". */
VARVE_API varve_code varve_batch_add_metadata(varve_batch* batch, const char* family,
                                              const char* type, const char* help, const char* unit,
                                              varve_error** error);

typedef struct varve_write_options {
  size_t struct_size;
  int partial; /* keep good rows when others are rejected; default 0: all or nothing */
} varve_write_options;
#define VARVE_WRITE_OPTIONS_INIT {sizeof(varve_write_options), 0}

typedef struct varve_append_counts {
  uint64_t rows;     /* accepted */
  uint64_t rejected; /* only with `partial` */
} varve_append_counts;

/* Stores the batch, whole or not at all, and returns when it is durable. `options` and `counts` may
 * be NULL. The batch is unchanged. */
VARVE_API varve_code varve_append(varve_database* database, const varve_batch* batch,
                                  const varve_write_options* options, varve_append_counts* counts,
                                  varve_error** error);

/* Appends an Arrow stream, one row a sample: `metric` (text), `time` (timestamp), and `labels`
 * (map), `value` (number) and `histogram` if there are such columns: what
 * varve_samples_arrow_stream gives. A row with a histogram is that: a struct of `count`, `sum` and
 * `buckets` (`lower`, `upper`, `count`), and of `schema`, `zero_threshold`, `custom_values` and
 * `reset_hint` where those are to be kept, too. Takes the stream over, also when it fails. Over 16
 * MiB it goes in several batches, each whole or not at all. */
VARVE_API varve_code varve_append_samples_arrow(varve_database* database,
                                                struct ArrowArrayStream* stream,
                                                const varve_write_options* options,
                                                varve_append_counts* counts, varve_error** error);

/* --- Writing logs ----------------------------------------------------------------------------- */

typedef struct varve_log_entry {
  int64_t time_ns;
  const char* line; /* any bytes */
  size_t line_size;
  const varve_label* metadata; /* structured metadata: labels of this entry, in any order */
  size_t metadata_count;
} varve_log_entry;

typedef struct varve_log_batch varve_log_batch;
VARVE_API varve_log_batch* varve_log_batch_new(void);
VARVE_API void varve_log_batch_free(varve_log_batch* batch);
VARVE_API void varve_log_batch_clear(varve_log_batch* batch);
/* Adds a stream by its labels; its number in this batch goes to `stream`. */
VARVE_API varve_code varve_log_batch_add_stream(varve_log_batch* batch, const varve_label* labels,
                                                size_t labels_count, uint32_t* stream,
                                                varve_error** error);
/* Adds entries of one stream, in any order, all or (on an error) none. `entry_size` is
 * sizeof(varve_log_entry): the struct may grow. */
VARVE_API varve_code varve_log_batch_add_entries(varve_log_batch* batch, uint32_t stream,
                                                 const varve_log_entry* entries, size_t entry_size,
                                                 size_t count, varve_error** error);
/* Like varve_append. */
VARVE_API varve_code varve_append_logs(varve_database* database, const varve_log_batch* batch,
                                       const varve_write_options* options,
                                       varve_append_counts* counts, varve_error** error);
/* Appends an Arrow stream, one row an entry: `time` (timestamp), `line` (text or bytes), `labels`
 * (map), and `metadata` (map) if there is such a column: what varve_log_entries_arrow_stream
 * gives. Takes the stream over, also when it fails. Over 16 MiB it goes in several batches, each
 * whole or not at all. */
VARVE_API varve_code varve_append_logs_arrow(varve_database* database,
                                             struct ArrowArrayStream* stream,
                                             const varve_write_options* options,
                                             varve_append_counts* counts, varve_error** error);

/* --- Writing spans ---------------------------------------------------------------------------- */

typedef enum varve_value_type {
  VARVE_EMPTY = 0,
  VARVE_TEXT = 1,   /* text */
  VARVE_BOOL = 2,   /* integer: not 0 */
  VARVE_INT = 3,    /* integer */
  VARVE_DOUBLE = 4, /* number */
  VARVE_BYTES = 5,  /* text, size exact */
  VARVE_ARRAY = 6,  /* items; their keys are not looked at */
  VARVE_MAP = 7     /* items */
} varve_value_type;

/* One attribute. A repeated key keeps its last value. Arrays and maps nest at most 32 deep. */
typedef struct varve_attribute {
  const char* key;
  size_t key_size;
  int32_t type; /* varve_value_type */
  int64_t integer;
  double number;
  const char* text;
  size_t text_size;
  const struct varve_attribute* items;
  size_t items_count;
} varve_attribute;

typedef struct varve_span_event {
  int64_t time_ns;
  const char* name;
  size_t name_size;
  const varve_attribute* attributes;
  size_t attributes_count;
  uint32_t dropped_attributes;
} varve_span_event;

typedef struct varve_span_link {
  uint8_t trace_id[16];
  uint8_t span_id[8];
  const char* trace_state;
  size_t trace_state_size;
  const varve_attribute* attributes;
  size_t attributes_count;
  uint32_t dropped_attributes;
  uint32_t flags;
} varve_span_link;

typedef enum varve_span_kind {
  VARVE_KIND_UNSPECIFIED = 0,
  VARVE_KIND_INTERNAL = 1,
  VARVE_KIND_SERVER = 2,
  VARVE_KIND_CLIENT = 3,
  VARVE_KIND_PRODUCER = 4,
  VARVE_KIND_CONSUMER = 5
} varve_span_kind;

typedef enum varve_span_status {
  VARVE_STATUS_UNSET = 0,
  VARVE_STATUS_OK = 1,
  VARVE_STATUS_ERROR = 2
} varve_span_status;

/* A span as OTLP has it. Ids of zeros are none: a root has no parent. */
typedef struct varve_span {
  uint8_t trace_id[16];
  uint8_t span_id[8];
  uint8_t parent_id[8];
  const char* name;
  size_t name_size;
  int32_t kind;   /* varve_span_kind */
  int32_t status; /* varve_span_status */
  const char* status_message;
  size_t status_message_size;
  const char* trace_state;
  size_t trace_state_size;
  int64_t start_ns;
  int64_t end_ns;
  const varve_attribute* attributes;
  size_t attributes_count;
  const varve_span_event* events;
  size_t events_count;
  const varve_span_link* links;
  size_t links_count;
  uint32_t flags;
  uint32_t dropped_attributes;
  uint32_t dropped_events;
  uint32_t dropped_links;
} varve_span;

typedef struct varve_span_batch varve_span_batch;
VARVE_API varve_span_batch* varve_span_batch_new(void);
VARVE_API void varve_span_batch_free(varve_span_batch* batch);
VARVE_API void varve_span_batch_clear(varve_span_batch* batch);
/* Adds what made spans: a resource by its attributes ("service.name" is the service) and the name
 * and version of an instrumentation scope (NULL: none). Its number goes to `resource`. */
VARVE_API varve_code varve_span_batch_add_resource(varve_span_batch* batch,
                                                   const varve_attribute* attributes,
                                                   size_t attributes_count, const char* scope_name,
                                                   const char* scope_version, uint32_t* resource,
                                                   varve_error** error);
/* Adds spans of one resource, all or (on an error) none. `span_size` is sizeof(varve_span): the
 * struct may grow; those inside it do not. */
VARVE_API varve_code varve_span_batch_add_spans(varve_span_batch* batch, uint32_t resource,
                                                const varve_span* spans, size_t span_size,
                                                size_t count, varve_error** error);
/* Like varve_append. */
VARVE_API varve_code varve_append_spans(varve_database* database, const varve_span_batch* batch,
                                        const varve_write_options* options,
                                        varve_append_counts* counts, varve_error** error);
/* Appends an Arrow stream, one row a span: `trace_id` and `span_id` (hex), `name`, `start`
 * (timestamp), `duration_ns` or `end`, and if they are there `parent_id`, `service`, `kind`,
 * `status`, `status_message`, `attributes` and `resource` (maps): what varve_spans_arrow_stream
 * gives. Else like varve_append_logs_arrow. */
VARVE_API varve_code varve_append_spans_arrow(varve_database* database,
                                              struct ArrowArrayStream* stream,
                                              const varve_write_options* options,
                                              varve_append_counts* counts, varve_error** error);

/* --- Queries ---------------------------------------------------------------------------------- */

/* Stops a query from another thread, within 200 ms. Keep it until the query has returned. */
typedef struct varve_cancellation varve_cancellation;
VARVE_API varve_cancellation* varve_cancellation_new(void);
VARVE_API void varve_cancellation_cancel(varve_cancellation* cancellation);
VARVE_API void varve_cancellation_free(varve_cancellation* cancellation);

typedef struct varve_query_options {
  size_t struct_size;
  int64_t timeout_ms;               /* default 2 minutes; 0 is none */
  int64_t lookback_ms;              /* of PromQL; default 5 minutes */
  uint64_t samples_max;             /* of PromQL: samples held at once; default 50 million */
  int analyze;                      /* fill varve_result_analysis; default 0 */
  varve_cancellation* cancellation; /* default NULL */
  uint32_t limit;                   /* log entries or traces; 0 (default) is 100 or 20 */
  int forward;                      /* log entries oldest first; default 0 */
  uint32_t spans_per_trace;         /* matched spans listed; 0 (default) is 3 */
  const char* cursor;               /* varve_result_next of the page before; default NULL */
} varve_query_options;
#define VARVE_QUERY_OPTIONS_INIT \
  {sizeof(varve_query_options), 120000, 300000, 50000000, 0, NULL, 0, 0, 0, NULL}

typedef struct varve_result varve_result;

/* Evaluates PromQL at one time, or at start, start + step, ... up to and including end. `options`
 * may be NULL. */
VARVE_API varve_code varve_promql(varve_database* database, const char* query, int64_t time_ms,
                                  const varve_query_options* options, varve_result** result,
                                  varve_error** error);
VARVE_API varve_code varve_promql_range(varve_database* database, const char* query,
                                        int64_t start_ms, int64_t end_ms, int64_t step_ms,
                                        const varve_query_options* options, varve_result** result,
                                        varve_error** error);
/* Prints the plan of a range query, one operator a line; nothing runs. Free it with
 * varve_string_free. With a step of 0 and start = end it is the plan of a query at that time. */
VARVE_API varve_code varve_promql_explain(varve_database* database, const char* query,
                                          int64_t start_ms, int64_t end_ms, int64_t step_ms,
                                          char** plan, varve_error** error);
VARVE_API void varve_string_free(char* text);

/* Evaluates a LogQL metric query at one time. */
VARVE_API varve_code varve_logql(varve_database* database, const char* query, int64_t time_ns,
                                 const varve_query_options* options, varve_result** result,
                                 varve_error** error);
/* Evaluates LogQL over a span of time: a log query gives entries in [start, end), a metric query
 * values at start, start + step, ... up to and including end. A step of 0 is a 250th of the range,
 * at least a second. */
VARVE_API varve_code varve_logql_range(varve_database* database, const char* query,
                                       int64_t start_ns, int64_t end_ns, int64_t step_ns,
                                       const varve_query_options* options, varve_result** result,
                                       varve_error** error);
VARVE_API varve_code varve_logql_explain(varve_database* database, const char* query, char** plan,
                                         varve_error** error);
/* Evaluates TraceQL over spans that start in the closed range: a search gives traces, a metrics
 * query values every `step_ns` (whole milliseconds), or with 0 once over the whole range. */
VARVE_API varve_code varve_traceql(varve_database* database, const char* query, int64_t start_ns,
                                   int64_t end_ns, int64_t step_ns,
                                   const varve_query_options* options, varve_result** result,
                                   varve_error** error);
VARVE_API varve_code varve_traceql_explain(varve_database* database, const char* query, char** plan,
                                           varve_error** error);

typedef enum varve_kind {
  VARVE_SCALAR = 0, /* one series without labels, one row */
  VARVE_STRING = 1, /* varve_result_text */
  VARVE_VECTOR = 2, /* one row a series */
  VARVE_MATRIX = 3,
  VARVE_ENTRIES = 4, /* log entries: varve_result_arrow_stream */
  VARVE_TRACES = 5   /* traces: varve_result_arrow_stream */
} varve_kind;

/* One series of a result. A row whose value is a native histogram has NaN here; the Arrow stream
 * has the histogram. */
typedef struct varve_series {
  const varve_label* labels; /* sorted by name; NUL-terminated, and sizes are set */
  size_t labels_count;
  const int64_t* times_ms;
  const double* values;
  size_t count;
} varve_series;

VARVE_API varve_kind varve_result_kind(const varve_result* result);
VARVE_API size_t varve_result_series_count(const varve_result* result);
/* Costs no copy: the pointers belong to the result. Fails for an index that is too large. */
VARVE_API varve_code varve_result_series(const varve_result* result, size_t index,
                                         varve_series* series, varve_error** error);
VARVE_API uint64_t varve_result_rows(const varve_result* result);
/* The value of a string query, else NULL. */
VARVE_API const char* varve_result_text(const varve_result* result);
VARVE_API size_t varve_result_notes_count(const varve_result* result);
/* Warnings first, then infos: "PromQL warning: ...". NULL past the end. */
VARVE_API const char* varve_result_note(const varve_result* result, size_t index);
/* What each operator did, with `analyze`; else totals. */
VARVE_API const char* varve_result_analysis(const varve_result* result);
/* The cursor of the next page of traces; NULL when this was the last. */
VARVE_API const char* varve_result_next(const varve_result* result);
/* Starts a stream of record batches, which outlives the result.
 * Of series: `time` (timestamp, ms, UTC), `value` (float64; null where `histogram` is set), one
 * dictionary-encoded text column a label name, and `histogram` if there is any. Times and values
 * are not copied.
 * Of entries: `time` (timestamp, ns, UTC), `line`, `labels` (map).
 * Of traces: `trace_id` (hex), `root_service`, `root_name`, `start` (timestamp, ns, UTC),
 * `duration_ns`, `spans`, `errors`, `matched`. */
VARVE_API varve_code varve_result_arrow_stream(const varve_result* result,
                                               struct ArrowArrayStream* stream,
                                               varve_error** error);
VARVE_API void varve_result_free(varve_result* result);

/* --- What is stored --------------------------------------------------------------------------- */

typedef struct varve_list varve_list;
VARVE_API size_t varve_list_count(const varve_list* list);
/* NULL past the end. `size` may be NULL. */
VARVE_API const char* varve_list_at(const varve_list* list, size_t index, size_t* size);
VARVE_API void varve_list_free(varve_list* list);

/* List label names, the values of one label, or whole series in Prometheus's notation, of the
 * series that match `selector` (NULL: all) and have samples in the closed range. */
VARVE_API varve_code varve_label_names(varve_database* database, const char* selector,
                                       int64_t start_ms, int64_t end_ms, varve_list** list,
                                       varve_error** error);
VARVE_API varve_code varve_label_values(varve_database* database, const char* name,
                                        const char* selector, int64_t start_ms, int64_t end_ms,
                                        varve_list** list, varve_error** error);
VARVE_API varve_code varve_series_list(varve_database* database, const char* selector,
                                       int64_t start_ms, int64_t end_ms, varve_list** list,
                                       varve_error** error);
/* Lists the services that made spans. */
VARVE_API varve_code varve_services(varve_database* database, varve_list** list,
                                    varve_error** error);
/* Streams the samples of the matching series as they are stored, series by series: `metric`,
 * `labels` (map), `time`, `value`, `histogram`. Memory stays at one batch. */
VARVE_API varve_code varve_samples_arrow_stream(varve_database* database, const char* selector,
                                                int64_t start_ms, int64_t end_ms,
                                                struct ArrowArrayStream* stream,
                                                varve_error** error);

/* Streams log entries as they are stored, stream by stream, times in the closed range: `time`,
 * `line`, `labels` and `metadata` (maps). `selector` is {app="shop"}; NULL selects everything. */
VARVE_API varve_code varve_log_entries_arrow_stream(varve_database* database, const char* selector,
                                                    int64_t start_ns, int64_t end_ns,
                                                    struct ArrowArrayStream* stream,
                                                    varve_error** error);
/* Streams whole spans that start in the closed range, of the traces in which `service` (NULL: any)
 * took part: `trace_id`, `span_id` and `parent_id` (hex), `service`, `name`, `kind`, `status`,
 * `status_message`, `start`, `duration_ns`, `attributes` and `resource` (maps of printed values).
 */
VARVE_API varve_code varve_spans_arrow_stream(varve_database* database, const char* service,
                                              int64_t start_ns, int64_t end_ns,
                                              struct ArrowArrayStream* stream, varve_error** error);
/* Streams all spans of one trace by start time, with the same columns; no rows if there is no such
 * trace. */
VARVE_API varve_code varve_trace_arrow_stream(varve_database* database, const uint8_t trace_id[16],
                                              struct ArrowArrayStream* stream, varve_error** error);

/* --- Care ------------------------------------------------------------------------------------- */

/* Deletes the samples in the closed range of all series that match. */
VARVE_API varve_code varve_delete_series(varve_database* database, const char* selector,
                                         int64_t start_ms, int64_t end_ms, varve_error** error);
/* Deletes the log entries in the closed range that a LogQL selector finds; line filters may follow
 * it: {app="shop"} |= "password". */
VARVE_API varve_code varve_delete_logs(varve_database* database, const char* query,
                                       int64_t start_ns, int64_t end_ns, varve_error** error);
/* Makes everything appended so far durable. */
VARVE_API varve_code varve_sync(varve_database* database, varve_error** error);
/* Seals what is in memory into blocks. */
VARVE_API varve_code varve_flush(varve_database* database, varve_error** error);
/* Flushes, then merges blocks and drops deleted bytes. */
VARVE_API varve_code varve_compact(varve_database* database, varve_error** error);
/* Writes a consistent copy into `path`, which must not exist. */
VARVE_API varve_code varve_backup(varve_database* database, const char* path, varve_error** error);
/* Reads every byte and lists all damage found; an empty list is good. */
VARVE_API varve_code varve_verify(varve_database* database, varve_list** damage,
                                  varve_error** error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VARVE_H_ */
