/* The field side of key generation: Lagrange polynomials at the secret point, and the scalars of
 * the L points. Its inputs are toxic waste: intermediate copies are wiped, and only divisions by
 * public sizes branch.
 */
#include <stdlib.h>
#include <string.h>

#include "field.h"
#include "ntt.h"
#include "threads.h"

enum { CHUNK = 1024 };

/* Clear memory in a way the compiler may not remove. */
static void wipe(void *memory, size_t size) {
  volatile unsigned char *bytes = memory;
  while (size-- > 0) *bytes++ = 0;
}

typedef struct {
  fr_t *out;
  fr_t tau, factor, root;
} lagrange_job_t;

static void lagrange_range(void *context, size_t begin, size_t end) {
  const lagrange_job_t *job = context;
  fr_t numerators[CHUNK], denominators[CHUNK], scratch[CHUNK];
  for (size_t start = begin; start < end; start += CHUNK) {
    const size_t n = end - start < CHUNK ? end - start : CHUNK;
    const uint64_t exponent = start;
    fr_t power;
    fr_pow(&power, &job->root, &exponent, 1);
    for (size_t i = 0; i < n; i++) {
      fr_sub(&denominators[i], &job->tau, &power);
      fr_mul(&numerators[i], &job->factor, &power);
      fr_mul(&power, &power, &job->root);
    }
    fr_batch_inv(denominators, scratch, n);
    for (size_t i = 0; i < n; i++) fr_mul(&job->out[start + i], &numerators[i], &denominators[i]);
  }
  wipe(numerators, sizeof numerators);
  wipe(denominators, sizeof denominators);
  wipe(scratch, sizeof scratch);
}

/* out[i] = L_i(tau) = (tau^n - 1) / n * omega^i / (tau - omega^i) for n = 2^log_n: Montgomery form.
 * ZK_ERR_ARGUMENT if tau (standard form) lies in the domain. */
int ZK_NAME(zk_lagrange_at)(uint64_t *out, const uint64_t *tau, uint32_t log_n) {
  if (log_n > NTT_MAX_LOG) return ZK_ERR_ARGUMENT;
  const size_t n = (size_t)1 << log_n;
  const fr_t one = fr_one();
  lagrange_job_t job = {.out = (fr_t *)out, .root = ntt_root(log_n)};
  if (fr_load(&job.tau, tau) != ZK_OK) return ZK_ERR_RANGE;
  fr_t vanishing = job.tau, inverse;
  for (unsigned k = 0; k < log_n; k++) fr_sqr(&vanishing, &vanishing);
  fr_sub(&vanishing, &vanishing, &one);
  const int in_domain = fr_is_zero(&vanishing);
  fr_from_u64(&inverse, n);
  fr_inv(&inverse, &inverse);
  fr_mul(&job.factor, &vanishing, &inverse);
  if (!in_domain) zk_parallel_for(n, CHUNK, lagrange_range, &job);
  wipe(&job, sizeof job);
  wipe(&vanishing, sizeof vanishing);
  return in_domain ? ZK_ERR_ARGUMENT : ZK_OK;
}

/* out[i] = (beta a[i] + alpha b[i] + c[i]) * factor, standard form; a, b, c in Montgomery form and
 * alpha, beta, factor in standard form. */
int ZK_NAME(zk_setup_combine)(uint64_t *out, const uint64_t *a, const uint64_t *b,
                              const uint64_t *c, uint64_t n, const uint64_t *alpha,
                              const uint64_t *beta, const uint64_t *factor) {
  fr_t x, y, z, sum, term;
  if (fr_load(&x, alpha) || fr_load(&y, beta) || fr_load(&z, factor)) return ZK_ERR_RANGE;
  const fr_t *u = (const fr_t *)a, *v = (const fr_t *)b, *w = (const fr_t *)c;
  for (uint64_t i = 0; i < n; i++) {
    fr_mul(&sum, &y, &u[i]);
    fr_mul(&term, &x, &v[i]);
    fr_add(&sum, &sum, &term);
    fr_add(&sum, &sum, &w[i]);
    fr_mul(&sum, &sum, &z);
    fr_from_mont(out + 4 * i, &sum);
  }
  wipe(&x, sizeof x);
  wipe(&y, sizeof y);
  wipe(&z, sizeof z);
  return ZK_OK;
}

/* out[i] = first * base^i for i < n, all in standard form. */
int ZK_NAME(zk_fr_powers)(uint64_t *out, const uint64_t *first, const uint64_t *base, uint64_t n) {
  fr_t power, step;
  if (fr_load(&power, first) || fr_load(&step, base)) return ZK_ERR_RANGE;
  for (uint64_t i = 0; i < n; i++) {
    fr_from_mont(out + 4 * i, &power);
    fr_mul(&power, &power, &step);
  }
  wipe(&power, sizeof power);
  wipe(&step, sizeof step);
  return ZK_OK;
}

/* Clear n limbs. */
int ZK_NAME(zk_wipe)(uint64_t *values, uint64_t n) {
  wipe(values, n * sizeof *values);
  return ZK_OK;
}
