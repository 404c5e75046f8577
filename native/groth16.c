/* Groth16 (Groth, 2016): the prover's quotient and the assembly of a proof.
 *
 * The quotient's schedule depends on sizes only. The assembly multiplies by the secret blinding
 * factors with the group's variable-time product: nobody else may time this process.
 */
#include <stdlib.h>
#include <string.h>

#include "curve.h"
#include "ntt.h"
#include "threads.h"

enum { GRAIN = 4096 };

typedef struct {
  fr_t *a, *b, *c;
  const fr_t *shift;
} quotient_job_t;

static void shift_range(void *context, size_t begin, size_t end) {
  const quotient_job_t *job = context;
  for (size_t i = begin; i < end; i++) {
    fr_mul(&job->a[i], &job->a[i], &job->shift[i]);
    fr_mul(&job->b[i], &job->b[i], &job->shift[i]);
    fr_mul(&job->c[i], &job->c[i], &job->shift[i]);
  }
}

static void combine_range(void *context, size_t begin, size_t end) {
  const quotient_job_t *job = context;
  for (size_t i = begin; i < end; i++) {
    fr_mul(&job->a[i], &job->a[i], &job->b[i]);
    fr_sub(&job->a[i], &job->a[i], &job->c[i]);
    fr_from_mont(job->a[i].l, &job->a[i]);
  }
}

typedef struct {
  fr_t *out;
  fr_t step;
} shifts_job_t;

static void shifts_range(void *context, size_t begin, size_t end) {
  const shifts_job_t *job = context;
  for (size_t p = begin; p < end; p++) fr_mul(&job->out[p], &job->out[p], &job->step);
}

/* out[p] = omega_{2n}^i / n, where p is i with its log_n bits reversed. */
static void coset_shifts(fr_t *out, unsigned log_n) {
  fr_from_u64(&out[0], (uint64_t)1 << log_n);
  fr_inv(&out[0], &out[0]);
  for (unsigned k = 0; k < log_n; k++) {
    const size_t half = (size_t)1 << k;
    shifts_job_t job = {out + half, ntt_root(k + 2)}; /* omega_{2n}^(n / 2^(k + 1)) */
    memcpy(job.out, out, half * sizeof *out);
    zk_parallel_for(half, GRAIN, shifts_range, &job);
  }
}

/* From the values of A, B and C on the domain of 2^log_n (Montgomery form, overwritten) to those of
 * A * B - C on its odd coset (standard form, in `a`): the scalars of the .zkey's H points. */
int ZK_NAME(zk_groth16_quotient)(uint64_t *a, uint64_t *b, uint64_t *c, uint32_t log_n) {
  if (log_n >= NTT_MAX_LOG) return ZK_ERR_ARGUMENT;
  const size_t n = (size_t)1 << log_n;
  ntt_plan_t plan;
  const int status = ntt_plan_init(&plan, log_n);
  if (status != ZK_OK) return status;
  fr_t *shift = malloc(n * sizeof(fr_t));
  if (shift == NULL) {
    ntt_plan_free(&plan);
    return ZK_ERR_MEMORY;
  }
  coset_shifts(shift, log_n);
  quotient_job_t job = {(fr_t *)a, (fr_t *)b, (fr_t *)c, shift};
  fr_t *const polynomials[3] = {job.a, job.b, job.c};
  for (int k = 0; k < 3; k++) ntt_inverse(&plan, polynomials[k]);
  zk_parallel_for(n, GRAIN, shift_range, &job);
  for (int k = 0; k < 3; k++) ntt_forward(&plan, polynomials[k]);
  zk_parallel_for(n, GRAIN, combine_range, &job);
  free(shift);
  ntt_plan_free(&plan);
  return ZK_OK;
}

static void add_multiple(g1_t *sum, const g1_t *point, const uint64_t scalar[4]) {
  g1_t product;
  g1_mul(&product, point, scalar);
  g1_add(sum, sum, &product);
}

static void g1_from_bytes(g1_t *r, const void *bytes) {
  g1_affine_t affine;
  memcpy(&affine, bytes, sizeof affine);
  g1_from_affine(r, &affine);
}

static void g2_from_bytes(g2_t *r, const void *bytes) {
  g2_affine_t affine;
  memcpy(&affine, bytes, sizeof affine);
  g2_from_affine(r, &affine);
}

/* Assemble a proof in standard form. `key1` holds alpha, beta, delta in G1, `key2` beta, delta in
 * G2, `sums1` the products over A, B, L and H in G1 and `sum2` that over B in G2 (all affine,
 * Montgomery form); r and s are the blinding factors, standard form. */
int ZK_NAME(zk_groth16_assemble)(uint64_t *proof_a, uint64_t *proof_b, uint64_t *proof_c,
                                 const uint64_t *key1, const uint64_t *key2, const uint64_t *sums1,
                                 const uint64_t *sum2, const uint64_t *r, const uint64_t *s) {
  g1_t alpha, beta, delta, a, b1, c, h;
  g2_t beta2, delta2, b2;
  fr_t x, y;
  if (fr_load(&x, r) != ZK_OK || fr_load(&y, s) != ZK_OK) return ZK_ERR_RANGE;
  g1_from_bytes(&alpha, key1);
  g1_from_bytes(&beta, key1 + 8);
  g1_from_bytes(&delta, key1 + 16);
  g2_from_bytes(&beta2, key2);
  g2_from_bytes(&delta2, key2 + 16);
  g1_from_bytes(&a, sums1);
  g1_from_bytes(&b1, sums1 + 8);
  g1_from_bytes(&c, sums1 + 16);
  g1_from_bytes(&h, sums1 + 24);
  g2_from_bytes(&b2, sum2);

  g1_add(&a, &a, &alpha); /* A = alpha + sum + r delta */
  add_multiple(&a, &delta, r);
  g1_add(&b1, &b1, &beta); /* B = beta + sum + s delta, in both groups */
  add_multiple(&b1, &delta, s);
  g2_add(&b2, &b2, &beta2);
  g2_t blind;
  g2_mul(&blind, &delta2, s);
  g2_add(&b2, &b2, &blind);
  g1_add(&c, &c, &h); /* C = L + H + s A + r B - r s delta */
  add_multiple(&c, &a, s);
  add_multiple(&c, &b1, r);
  uint64_t minus_rs[4];
  fr_mul(&x, &x, &y);
  fr_neg(&x, &x);
  fr_from_mont(minus_rs, &x);
  add_multiple(&c, &delta, minus_rs);

  g1_affine_t affine;
  g1_to_affine(&affine, &a);
  g1_store(proof_a, &affine);
  g1_to_affine(&affine, &c);
  g1_store(proof_c, &affine);
  g2_affine_t affine2;
  g2_to_affine(&affine2, &b2);
  g2_store(proof_b, &affine2);
  return ZK_OK;
}
