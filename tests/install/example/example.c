#include <stdio.h>
#include <varve.h>

static int fail(varve_error* error) {
  fprintf(stderr, "%s\n", varve_error_rendered(error));
  varve_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  varve_error* error = NULL;
  varve_database* db = NULL;
  if (varve_open(argc > 1 ? argv[1] : "obs", NULL, &db, &error) != VARVE_OK) return fail(error);

  const varve_label labels[] = {{.name = "__name__", .value = "requests_total"},
                                {.name = "job", .value = "api"}};
  varve_batch* batch = varve_batch_new();
  uint32_t series;
  if (varve_batch_add_series(batch, labels, 2, &series, &error) != VARVE_OK) return fail(error);
  for (int i = 0; i <= 60; ++i) {
    const int64_t time_ms = 1700000000000 + i * 15000;
    const double value = 30.0 * i;
    varve_batch_add_samples(batch, series, &time_ms, &value, 1, NULL);
  }
  if (varve_append(db, batch, NULL, NULL, &error) != VARVE_OK) return fail(error);
  varve_batch_free(batch);

  varve_result* result = NULL;
  if (varve_promql(db, "sum by (job) (rate(requests_total[5m]))", 1700000900000, NULL, &result,
                   &error) != VARVE_OK) {
    return fail(error);
  }
  for (size_t i = 0; i < varve_result_series_count(result); ++i) {
    varve_series row;
    varve_result_series(result, i, &row, NULL);
    printf("{%s=\"%s\"} %g\n", row.labels[0].name, row.labels[0].value, row.values[0]);
  }
  varve_result_free(result);
  return varve_close(db, NULL) == VARVE_OK ? 0 : 1;
}
