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

/* *row = the first i with a[i] * b[i] != c[i] (Montgomery form), or n if all are equal. */
int ZK_NAME(zk_r1cs_first_unequal)(uint64_t *row, const uint64_t *a, const uint64_t *b,
                                   const uint64_t *c, uint64_t n) {
  const fr_t *x = (const fr_t *)a, *y = (const fr_t *)b, *z = (const fr_t *)c;
  uint64_t i = 0;
  for (; i < n; i++) {
    fr_t product;
    fr_mul(&product, &x[i], &y[i]);
    if (!fr_equal(&product, &z[i])) break;
  }
  *row = i;
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

/* Standard form to Montgomery form; ZK_ERR_RANGE and *bad for the first value at or above r. */
int ZK_NAME(zk_fr_to_mont)(uint64_t *out, const uint64_t *values, uint64_t n, uint64_t *bad) {
  fr_t *r = (fr_t *)out;
  for (uint64_t i = 0; i < n; i++) {
    if (fr_load(&r[i], values + 4 * i) != ZK_OK) {
      *bad = i;
      return ZK_ERR_RANGE;
    }
  }
  return ZK_OK;
}

int ZK_NAME(zk_fr_from_mont)(uint64_t *out, const uint64_t *values, uint64_t n) {
  const fr_t *a = (const fr_t *)values;
  for (uint64_t i = 0; i < n; i++) fr_from_mont(out + 4 * i, &a[i]);
  return ZK_OK;
}
