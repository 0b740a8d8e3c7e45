/* Varve from C: one directory holds metrics, one library ingests them and answers PromQL.
 *
 * Rules that hold for every function:
 *  - Handles are opaque. Whoever gets one frees it, with the function named after its type; freeing
 *    NULL does nothing. A database may be used from any number of threads; every other handle by
 *    one thread at a time, except that a varve_cancellation may be cancelled from anywhere.
 *  - Functions that can fail return a varve_code, VARVE_OK (0) on success. `error` may be NULL;
 * else it receives a varve_error on failure and is left alone on success. Out parameters are
 * written on success only.
 *  - Texts that go in are copied. Texts that come out belong to the handle they came from and live
 *    as long as it does.
 *  - Times of metrics are Unix milliseconds.
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
VARVE_API const char* varve_code_name(varve_code code);
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
  int create_if_missing; /* default 1 */
  int read_only;         /* default 0 */
  varve_durability durability;
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

/* A size of 0 means that the text ends with NUL, so {"job", "api"} works. */
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
  uint64_t samples;  /* accepted */
  uint64_t rejected; /* only with `partial` */
} varve_append_counts;

/* Stores the batch, whole or not at all, and returns when it is durable. `options` and `counts` may
 * be NULL. The batch is unchanged. */
VARVE_API varve_code varve_append(varve_database* database, const varve_batch* batch,
                                  const varve_write_options* options, varve_append_counts* counts,
                                  varve_error** error);

/* --- Queries ---------------------------------------------------------------------------------- */

/* Stops a query from another thread, within 200 ms. Keep it until the query has returned. */
typedef struct varve_cancellation varve_cancellation;
VARVE_API varve_cancellation* varve_cancellation_new(void);
VARVE_API void varve_cancellation_cancel(varve_cancellation* cancellation);
VARVE_API void varve_cancellation_free(varve_cancellation* cancellation);

typedef struct varve_query_options {
  size_t struct_size;
  int64_t timeout_ms;               /* default 2 minutes; 0 is none */
  int64_t lookback_ms;              /* default 5 minutes */
  uint64_t samples_max;             /* samples that may be held at once; default 50 million */
  int analyze;                      /* fill varve_result_analysis; default 0 */
  varve_cancellation* cancellation; /* default NULL */
} varve_query_options;
#define VARVE_QUERY_OPTIONS_INIT {sizeof(varve_query_options), 120000, 300000, 50000000, 0, NULL}

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
 * varve_string_free. */
VARVE_API varve_code varve_promql_explain(varve_database* database, const char* query,
                                          int64_t start_ms, int64_t end_ms, int64_t step_ms,
                                          char** plan, varve_error** error);
VARVE_API void varve_string_free(char* text);

typedef enum varve_kind {
  VARVE_SCALAR = 0, /* one series without labels, one row */
  VARVE_STRING = 1, /* varve_result_text */
  VARVE_VECTOR = 2, /* one row a series */
  VARVE_MATRIX = 3
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
/* Starts a stream of record batches: `time` (timestamp, ms, UTC), `value` (float64; null where
 * `histogram` is set), one dictionary-encoded text column a label name, and `histogram` if there is
 * any. Times and values are not copied. The stream outlives the result. */
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
/* Streams the samples of the matching series as they are stored, series by series: `metric`,
 * `labels` (map), `time`, `value`, `histogram`. Memory stays at one batch. */
VARVE_API varve_code varve_samples_arrow_stream(varve_database* database, const char* selector,
                                                int64_t start_ms, int64_t end_ms,
                                                struct ArrowArrayStream* stream,
                                                varve_error** error);

/* --- Care ------------------------------------------------------------------------------------- */

/* Deletes the samples in the closed range of all series that match. */
VARVE_API varve_code varve_delete_series(varve_database* database, const char* selector,
                                         int64_t start_ms, int64_t end_ms, varve_error** error);
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
