/* Radix-2 transforms (Cooley and Tukey, 1965): decimation in frequency on the way to coefficients,
 * in time on the way back, so that no pass for reordering is needed between the two. Layers wider
 * than a block of the cache run over the whole array; the narrow ones run block by block.
 *
 * The schedule depends on sizes only: constant time in the data.
 */
#include "ntt.h"

#include <stdlib.h>
#include <string.h>

#include "threads.h"

#ifdef ZK_KERNEL_IFMA
#include "ntt_lanes.h"
#endif

enum { BLOCK_LOG = 12, GRAIN = 2048 };

fr_t ntt_root(unsigned log_n) {
  /* (r - 1) / 2^28 */
  static const uint64_t exponent[4] = {0x9b9709143e1f593fULL, 0x181585d2833e8487ULL,
                                       0x131a029b85045b68ULL, 0x000000030644e72eULL};
  fr_t root;
  fr_from_u64(&root, 5);
  fr_pow(&root, &root, exponent, 4);
  for (unsigned k = log_n; k < NTT_MAX_LOG; k++) fr_sqr(&root, &root);
  return root;
}

typedef struct {
  fr_t *out;
  fr_t step;
} powers_job_t;

static void powers_range(void *context, size_t begin, size_t end) {
  const powers_job_t *job = context;
  for (size_t j = begin; j < end; j++) fr_mul(&job->out[j], &job->out[j], &job->step);
}

void ntt_powers(fr_t *out, const fr_t *first, const fr_t *base, unsigned log_n) {
  powers_job_t job = {out, *base};
  out[0] = *first;
  for (unsigned k = 0; k < log_n; k++) {
    const size_t half = (size_t)1 << k;
    job.out = out + half;
    memcpy(job.out, out, half * sizeof *out);
    zk_parallel_for(half, GRAIN, powers_range, &job);
    fr_sqr(&job.step, &job.step);
  }
}

int ntt_plan_init(ntt_plan_t *plan, unsigned log_n) {
  plan->log_n = log_n;
  plan->twiddles = NULL;
  plan->lanes = NULL;
  if (log_n > NTT_MAX_LOG) return ZK_ERR_ARGUMENT;
  plan->twiddles = malloc(sizeof(fr_t) << log_n);
  if (plan->twiddles == NULL) return ZK_ERR_MEMORY;
  plan->twiddles[0] = fr_zero();
  if (log_n == 0) return ZK_OK;
  const size_t half = (size_t)1 << (log_n - 1);
  const fr_t one = fr_one(), root = ntt_root(log_n);
  ntt_powers(plan->twiddles + half, &one, &root, log_n - 1);
  for (size_t i = half - 1; i > 0; i--) plan->twiddles[i] = plan->twiddles[2 * i];
#ifdef ZK_KERNEL_IFMA
  const int status = lanes_init(plan);
  if (status != ZK_OK) ntt_plan_free(plan);
  return status;
#else
  return ZK_OK;
#endif
}

void ntt_plan_free(ntt_plan_t *plan) {
  free(plan->twiddles);
  free(plan->lanes);
  plan->twiddles = NULL;
  plan->lanes = NULL;
}

typedef struct {
  const ntt_plan_t *plan;
  fr_t *data;
  unsigned layer;
} ntt_job_t;

/* Butterflies [begin, end) of the layer of half-width 2^k, of the array's n/2. */
static void forward_layer(const ntt_plan_t *plan, fr_t *data, unsigned k, size_t begin,
                          size_t end) {
  const size_t half = (size_t)1 << k;
  const fr_t *w = plan->twiddles + half;
  for (size_t i = begin; i < end; i++) {
    const size_t j = i & (half - 1);
    fr_t *low = &data[((i >> k) << (k + 1)) + j], *high = low + half, product;
    fr_mul(&product, high, &w[j]);
    fr_sub(high, low, &product);
    fr_add(low, low, &product);
  }
}

static void inverse_layer(const ntt_plan_t *plan, fr_t *data, unsigned k, size_t begin,
                          size_t end) {
  const size_t half = (size_t)1 << k;
  const fr_t *w = plan->twiddles + half;
  for (size_t i = begin; i < end; i++) {
    const size_t j = i & (half - 1);
    fr_t *low = &data[((i >> k) << (k + 1)) + j], *high = low + half, difference;
    /* omega^-j = -omega^(half - j), and 1 for j = 0. */
    if (j == 0) {
      fr_sub(&difference, low, high);
    } else {
      fr_sub(&difference, high, low);
      fr_mul(&difference, &difference, &w[half - j]);
    }
    fr_add(low, low, high);
    *high = difference;
  }
}

static void forward_range(void *context, size_t begin, size_t end) {
  const ntt_job_t *job = context;
  forward_layer(job->plan, job->data, job->layer, begin, end);
}

static void inverse_range(void *context, size_t begin, size_t end) {
  const ntt_job_t *job = context;
  inverse_layer(job->plan, job->data, job->layer, begin, end);
}

static void forward_block(void *context, size_t block) {
  const ntt_job_t *job = context;
  fr_t *data = job->data + (block << job->layer);
  const size_t butterflies = ((size_t)1 << job->layer) / 2;
  for (unsigned k = 0; k < job->layer; k++) forward_layer(job->plan, data, k, 0, butterflies);
}

static void inverse_block(void *context, size_t block) {
  const ntt_job_t *job = context;
  fr_t *data = job->data + (block << job->layer);
  const size_t butterflies = ((size_t)1 << job->layer) / 2;
  for (unsigned k = job->layer; k-- > 0;) inverse_layer(job->plan, data, k, 0, butterflies);
}

void ntt_forward(const ntt_plan_t *plan, fr_t *data) {
#ifdef ZK_KERNEL_IFMA
  if (plan->lanes != NULL) {
    lanes_forward(plan, data);
    return;
  }
#endif
  const unsigned narrow = plan->log_n < BLOCK_LOG ? plan->log_n : BLOCK_LOG;
  ntt_job_t job = {plan, data, narrow};
  zk_parallel_tasks((size_t)1 << (plan->log_n - narrow), forward_block, &job);
  for (job.layer = narrow; job.layer < plan->log_n; job.layer++)
    zk_parallel_for((size_t)1 << (plan->log_n - 1), GRAIN, forward_range, &job);
}

void ntt_inverse(const ntt_plan_t *plan, fr_t *data) {
#ifdef ZK_KERNEL_IFMA
  if (plan->lanes != NULL) {
    lanes_inverse(plan, data);
    return;
  }
#endif
  const unsigned narrow = plan->log_n < BLOCK_LOG ? plan->log_n : BLOCK_LOG;
  ntt_job_t job = {plan, data, narrow};
  for (job.layer = plan->log_n; job.layer-- > narrow;)
    zk_parallel_for((size_t)1 << (plan->log_n - 1), GRAIN, inverse_range, &job);
  job.layer = narrow;
  zk_parallel_tasks((size_t)1 << (plan->log_n - narrow), inverse_block, &job);
}

static void swap_bit_reversed(fr_t *data, unsigned log_n) {
  const size_t n = (size_t)1 << log_n;
  for (size_t i = 0; i < n; i++) {
    const size_t j = ntt_bit_reverse(i, log_n);
    if (i < j) {
      const fr_t t = data[i];
      data[i] = data[j];
      data[j] = t;
    }
  }
}

/* Transform of standard-form values in natural order; `coset` shifts the domain by omega_{2n}. */
int ZK_NAME(zk_fr_ntt)(uint64_t *values, uint32_t log_n, int inverse, int coset) {
  fr_t *data = (fr_t *)values;
  const size_t n = (size_t)1 << (log_n & 31);
  ntt_plan_t plan;
  if (log_n > NTT_MAX_LOG || (coset && log_n == NTT_MAX_LOG)) return ZK_ERR_ARGUMENT;
  for (size_t i = 0; i < n; i++)
    if (!fr_is_canonical(data[i].l)) return ZK_ERR_RANGE;
  const int status = ntt_plan_init(&plan, log_n);
  if (status != ZK_OK) return status;
  for (size_t i = 0; i < n; i++) fr_to_mont(&data[i], data[i].l);
  fr_t shift = fr_one(), step = fr_one();
  if (coset) step = ntt_root(log_n + 1);
  if (inverse) {
    fr_from_u64(&shift, n);
    fr_inv(&shift, &shift);
    fr_inv(&step, &step);
    ntt_inverse(&plan, data);
    swap_bit_reversed(data, log_n);
  }
  for (size_t i = 0; i < n; i++) {
    fr_mul(&data[i], &data[i], &shift);
    fr_mul(&shift, &shift, &step);
  }
  if (!inverse) {
    swap_bit_reversed(data, log_n);
    ntt_forward(&plan, data);
  }
  for (size_t i = 0; i < n; i++) fr_from_mont(data[i].l, &data[i]);
  ntt_plan_free(&plan);
  return ZK_OK;
}
