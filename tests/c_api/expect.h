/* What the programs that test the C API check with. */
#ifndef VARVE_TESTS_C_API_EXPECT_H_
#define VARVE_TESTS_C_API_EXPECT_H_

#include <stdio.h>
#include <string.h>

#include "varve.h"

static int failures = 0;

#define EXPECT(condition)                                                     \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                             \
    }                                                                         \
  } while (0)

static void expect_ok(varve_code code, varve_error* error, int line) {
  if (code == VARVE_OK) return;
  fprintf(stderr, "line %d: %s: %s\n", line, varve_code_name(code), varve_error_message(error));
  varve_error_free(error);
  ++failures;
}
#define OK(call)                      \
  do {                                \
    varve_error* error = NULL;        \
    varve_code code = (call);         \
    expect_ok(code, error, __LINE__); \
  } while (0)

/* The call must fail with `expected`, and its message must contain `text`. */
#define FAILS(expected, text, call)                                                         \
  do {                                                                                      \
    varve_error* error = NULL;                                                              \
    const varve_code code = (call);                                                         \
    if (code != (expected) || error == NULL || varve_error_code(error) != (expected) ||     \
        strstr(varve_error_message(error), (text)) == NULL) {                               \
      fprintf(stderr, "line %d: got %s \"%s\", wanted %s \"%s\"\n", __LINE__,               \
              varve_code_name(code), varve_error_message(error), varve_code_name(expected), \
              (text));                                                                      \
      ++failures;                                                                           \
    }                                                                                       \
    varve_error_free(error);                                                                \
  } while (0)

#endif
