/* Element-wise field arithmetic on vectors in standard form, on all threads where they are long. */
#include <stdatomic.h>

#include "field.h"
#include "threads.h"

enum { OP_MUL = 0, OP_ADD = 1, OP_SUB = 2, OP_INV = 3 };

enum { INVERSIONS = 256 }; /* elements that share one inversion */
enum { BINARY_GRAIN = 1 << 13 };

typedef struct {
  uint64_t *r;
  const uint64_t *a, *b;
  int op;
  atomic_int status;
} binary_job_t;

/* Defines zk_<field>_binary: r[i] = a[i] op b[i]; OP_INV takes a alone and maps 0 to 0. */
#define DEFINE_BINARY(field)                                                                    \
  static int field##_operate(uint64_t *r, const uint64_t *a, const uint64_t *b, int op) {       \
    field##_t x, y;                                                                             \
    if (field##_load(&x, a) || field##_load(&y, b)) return ZK_ERR_RANGE;                        \
    if (op == OP_MUL) field##_mul(&x, &x, &y);                                                  \
    if (op == OP_ADD) field##_add(&x, &x, &y);                                                  \
    if (op == OP_SUB) field##_sub(&x, &x, &y);                                                  \
    field##_from_mont(r, &x);                                                                   \
    return ZK_OK;                                                                               \
  }                                                                                             \
                                                                                                \
  static int field##_invert(uint64_t *r, const uint64_t *a, size_t n) {                         \
    field##_t values[INVERSIONS], scratch[INVERSIONS];                                          \
    for (size_t i = 0; i < n; i++) {                                                            \
      if (field##_load(&values[i], a + 4 * i)) return ZK_ERR_RANGE;                             \
    }                                                                                           \
    field##_batch_inv(values, scratch, n);                                                      \
    for (size_t i = 0; i < n; i++) field##_from_mont(r + 4 * i, &values[i]);                    \
    return ZK_OK;                                                                               \
  }                                                                                             \
                                                                                                \
  static void field##_binary_range(void *context, size_t begin, size_t end) {                   \
    binary_job_t *job = context;                                                                \
    int status = ZK_OK;                                                                         \
    for (size_t i = begin; job->op == OP_INV && i < end && !status; i += INVERSIONS) {          \
      const size_t m = end - i < INVERSIONS ? end - i : INVERSIONS;                             \
      status = field##_invert(job->r + 4 * i, job->a + 4 * i, m);                               \
    }                                                                                           \
    for (size_t i = begin; job->op != OP_INV && i < end && !status; i++) {                      \
      status = field##_operate(job->r + 4 * i, job->a + 4 * i, job->b + 4 * i, job->op);        \
    }                                                                                           \
    if (status) atomic_store(&job->status, status);                                             \
  }                                                                                             \
                                                                                                \
  int ZK_NAME(zk_##field##_binary)(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, \
                                   int op) {                                                    \
    if (op < OP_MUL || op > OP_INV) return ZK_ERR_ARGUMENT;                                     \
    binary_job_t job = {r, a, b, op, ZK_OK};                                                    \
    zk_parallel_for(n, BINARY_GRAIN, field##_binary_range, &job);                               \
    return atomic_load(&job.status);                                                            \
  }

DEFINE_BINARY(fr)
DEFINE_BINARY(fq)

typedef struct {
  uint64_t *r;
  const int64_t *values;
} from_int64_t;

static void from_int64_range(void *context, size_t begin, size_t end) {
  const from_int64_t *job = context;
  for (size_t i = begin; i < end; i++) {
    uint64_t *r = job->r + 4 * i;
    const int64_t v = job->values[i];
    const uint64_t magnitude[4] = {v < 0 ? (uint64_t)0 - (uint64_t)v : (uint64_t)v, 0, 0, 0};
    if (v < 0) {
      limbs_sub(r, FR_MODULUS, magnitude);
    } else {
      for (int k = 0; k < 4; k++) r[k] = magnitude[k];
    }
  }
}

/* r[i] = values[i] mod r, standard form: -v is r - v. */
int ZK_NAME(zk_fr_from_int64)(uint64_t *r, const int64_t *values, size_t n) {
  from_int64_t job = {r, values};
  zk_parallel_for(n, 1 << 16, from_int64_range, &job);
  return ZK_OK;
}
