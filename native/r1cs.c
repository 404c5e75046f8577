/* Sparse rows of a constraint system, evaluated over a witness.
 *
 * Matrices are compressed by row: row i holds the entries [indptr[i], indptr[i + 1]) of `wires` and
 * `coefs`, where a coefficient is an index into a table of distinct values. Every index is checked
 * before it is followed. Branches depend on the circuit, which is public, and not on the witness.
 */
#include <stdatomic.h>

#include "field.h"
#include "threads.h"

enum { GRAIN = 1024 };

typedef struct {
  fr_t *out;
  const int64_t *indptr;
  const uint32_t *wires, *coefs;
  const fr_t *table, *witness;
  uint64_t nnz, n_table, n_wires;
  atomic_int status;
} rows_job_t;

static int evaluate_row(const rows_job_t *job, size_t row, fr_t *sum) {
  const fr_t one = fr_one();
  fr_t minus_one;
  fr_neg(&minus_one, &one);
  const int64_t begin = job->indptr[row], end = job->indptr[row + 1];
  if (begin < 0 || end < begin || (uint64_t)end > job->nnz) return ZK_ERR_ARGUMENT;
  *sum = fr_zero();
  for (int64_t k = begin; k < end; k++) {
    if (job->wires[k] >= job->n_wires || job->coefs[k] >= job->n_table) return ZK_ERR_ARGUMENT;
    const fr_t *value = &job->witness[job->wires[k]], *coef = &job->table[job->coefs[k]];
    if (fr_equal(coef, &one)) {
      fr_add(sum, sum, value);
    } else if (fr_equal(coef, &minus_one)) {
      fr_sub(sum, sum, value);
    } else {
      fr_t product;
      fr_mul(&product, coef, value);
      fr_add(sum, sum, &product);
    }
  }
  return ZK_OK;
}

static void evaluate_range(void *context, size_t begin, size_t end) {
  rows_job_t *job = context;
  for (size_t row = begin; row < end; row++) {
    const int status = evaluate_row(job, row, &job->out[row]);
    if (status != ZK_OK) {
      atomic_store(&job->status, status);
      return;
    }
  }
}

/* out[i] = sum over row i of table[coefs[k]] * witness[wires[k]]; Montgomery form throughout. */
int ZK_NAME(zk_r1cs_rows)(uint64_t *out, const int64_t *indptr, uint64_t n_rows,
                          const uint32_t *wires, const uint32_t *coefs, uint64_t nnz,
                          const uint64_t *table, uint64_t n_table, const uint64_t *witness,
                          uint64_t n_wires) {
  rows_job_t job = {(fr_t *)out,           indptr, wires,   coefs,   (const fr_t *)table,
                    (const fr_t *)witness, nnz,    n_table, n_wires, ZK_OK};
  zk_parallel_for(n_rows, GRAIN, evaluate_range, &job);
  return atomic_load(&job.status);
}

/* Lower *first to i, if it is higher. */
static void lower(atomic_size_t *first, size_t i) {
  size_t found = atomic_load(first);
  while (i < found && !atomic_compare_exchange_weak(first, &found, i)) continue;
}

typedef struct {
  const fr_t *a, *b, *c;
  atomic_size_t first;
} unequal_job_t;

static void unequal_range(void *context, size_t begin, size_t end) {
  unequal_job_t *job = context;
  for (size_t i = begin; i < end; i++) {
    fr_t product;
    fr_mul(&product, &job->a[i], &job->b[i]);
    if (fr_equal(&product, &job->c[i])) continue;
    lower(&job->first, i);
    return;
  }
}

/* *row = the first i with a[i] * b[i] != c[i] (Montgomery form), or n if all are equal. */
int ZK_NAME(zk_r1cs_first_unequal)(uint64_t *row, const uint64_t *a, const uint64_t *b,
                                   const uint64_t *c, uint64_t n) {
  unequal_job_t job = {(const fr_t *)a, (const fr_t *)b, (const fr_t *)c, n};
  zk_parallel_for(n, GRAIN, unequal_range, &job);
  *row = atomic_load(&job.first);
  return ZK_OK;
}

/* out[wires[k]] += table[coefs[k]] * values[row of k]: the transposed product, Montgomery form. */
int ZK_NAME(zk_r1cs_columns)(uint64_t *out, uint64_t n_wires, const int64_t *indptr,
                             uint64_t n_rows, const uint32_t *wires, const uint32_t *coefs,
                             uint64_t nnz, const uint64_t *table, uint64_t n_table,
                             const uint64_t *values) {
  fr_t *sums = (fr_t *)out;
  const fr_t *factors = (const fr_t *)table, *rows = (const fr_t *)values;
  for (uint64_t row = 0; row < n_rows; row++) {
    const int64_t begin = indptr[row], end = indptr[row + 1];
    if (begin < 0 || end < begin || (uint64_t)end > nnz) return ZK_ERR_ARGUMENT;
    for (int64_t k = begin; k < end; k++) {
      if (wires[k] >= n_wires || coefs[k] >= n_table) return ZK_ERR_ARGUMENT;
      fr_t product;
      fr_mul(&product, &factors[coefs[k]], &rows[row]);
      fr_add(&sums[wires[k]], &sums[wires[k]], &product);
    }
  }
  return ZK_OK;
}

typedef struct {
  uint64_t *out;
  const uint64_t *values;
  atomic_size_t first_bad;
} convert_job_t;

static void to_mont_range(void *context, size_t begin, size_t end) {
  convert_job_t *job = context;
  fr_t *out = (fr_t *)job->out;
  for (size_t i = begin; i < end; i++)
    if (fr_load(&out[i], job->values + 4 * i) != ZK_OK) lower(&job->first_bad, i);
}

static void from_mont_range(void *context, size_t begin, size_t end) {
  const convert_job_t *job = context;
  const fr_t *values = (const fr_t *)job->values;
  for (size_t i = begin; i < end; i++) fr_from_mont(job->out + 4 * i, &values[i]);
}

/* Standard form to Montgomery form; ZK_ERR_RANGE and *bad for the first value at or above r. */
int ZK_NAME(zk_fr_to_mont)(uint64_t *out, const uint64_t *values, uint64_t n, uint64_t *bad) {
  convert_job_t job = {out, values, n};
  zk_parallel_for(n, GRAIN, to_mont_range, &job);
  *bad = atomic_load(&job.first_bad);
  return *bad == n ? ZK_OK : ZK_ERR_RANGE;
}

int ZK_NAME(zk_fr_from_mont)(uint64_t *out, const uint64_t *values, uint64_t n) {
  convert_job_t job = {out, values, n};
  zk_parallel_for(n, GRAIN, from_mont_range, &job);
  return ZK_OK;
}
