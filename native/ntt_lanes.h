/* The transforms of ntt.c on eight values at a time (lanes.h): included by ntt.c where the kernel
 * has AVX-512 IFMA.
 *
 * Layers are done PASS_LOG at a time: a tile of up to 2^PASS_LOG vectors is read, goes through all
 * layers of a pass in five limbs of 52 bits, and is written back. In the lowest pass the lanes are
 * eight neighbouring blocks, so that they share their twiddle factors; above it, eight neighbouring
 * elements. Twiddle factors w are held as w * 2^260: a lane product divides by 2^260, so that a
 * value a * 2^256 becomes a w * 2^256.
 *
 * The schedule depends on sizes only, and every reduction is a selection by mask: constant time.
 */
#ifndef ZK_NTT_LANES_H
#define ZK_NTT_LANES_H

#include "lanes.h"

enum { PASS_LOG = 7, PASS_SIZE = 1 << PASS_LOG, LANES_FROM_LOG = PASS_LOG + 3 };

#define FR_NEG_INV52 (FR_NEG_INV & LIMB52_MASK)

/* r and small multiples of it in limbs of 52 bits. */
static const uint64_t FR_TIMES_1[LIMBS52] = {0x1f593f0000001ULL, 0x4879b9709143eULL,
                                             0x181585d2833e8ULL, 0xa029b85045b68ULL,
                                             0x30644e72e131ULL};
static const uint64_t FR_TIMES_2[LIMBS52] = {0x3eb27e0000002ULL, 0x90f372e12287cULL,
                                             0x302b0ba5067d0ULL, 0x405370a08b6d0ULL,
                                             0x60c89ce5c263ULL};
static const uint64_t FR_TIMES_4[LIMBS52] = {0x7d64fc0000004ULL, 0x21e6e5c2450f8ULL,
                                             0x6056174a0cfa1ULL, 0x80a6e14116da0ULL,
                                             0xc19139cb84c6ULL};
static const uint64_t FR_TIMES_8[LIMBS52] = {0xfac9f80000008ULL, 0x43cdcb848a1f0ULL,
                                             0xc0ac2e9419f42ULL, 0x014dc2822db40ULL,
                                             0x183227397098dULL};

/* Eight elements of Fr, as fq8_t are of Fq. */
typedef fq8_t fr8_t;

struct ntt_lanes {
  /* Of the lowest pass, the same in each lane; those of the inverse are -omega^-j. */
  fr8_t forward[PASS_SIZE], inverse[PASS_SIZE];
  fr8_t minus_one; /* in lane 0 */
  fr8_t all[];     /* vector v holds the twiddle factors 8 v to 8 v + 7, see ntt_plan_t */
};

/* a b / 2^260, below (a b / 84.6 + 1) r */
ZK_INLINE void fr8_mul(fr8_t *r, const fr8_t *a, const fr8_t *b) {
  columns_t t;
  columns_mul(&t, a, b);
  columns_divide(r, &t, FR_TIMES_1, FR_NEG_INV52);
  fq8_carry(r);
}

/* Reduce a value below 16 r. */
ZK_INLINE void fr8_canonical(fr8_t *r) {
  fq8_reduce_once(r, FR_TIMES_8);
  fq8_reduce_once(r, FR_TIMES_4);
  fq8_reduce_once(r, FR_TIMES_2);
  fq8_reduce_once(r, FR_TIMES_1);
}

/* The rows of eight elements, `stride` apart, for fq8_load to put element i in lane i. */
ZK_INLINE void fr8_rows(const char *rows[LANES], const fr_t *first, size_t stride) {
  static const unsigned element[LANES] = {0, 1, 4, 5, 2, 3, 6, 7};
  for (int i = 0; i < LANES; i++) rows[i] = (const char *)(first + stride * element[i]);
}

ZK_INLINE void fr8_load(fr8_t *r, const fr_t *first, size_t stride) {
  const char *rows[LANES];
  fr8_rows(rows, first, stride);
  fq8_load(r, rows, 0);
}

ZK_INLINE void fr8_store(fr_t *first, size_t stride, const fr8_t *a) {
  const char *rows[LANES];
  fr8_rows(rows, first, stride);
  fq8_store((char *const *)rows, 0, a);
}

/* --- twiddle factors --- */

/* r = 16 r, from a canonical value to a canonical one */
static void fr8_times_16(fr8_t *r) {
  for (int i = 0; i < LIMBS52; i++) r->l[i] = _mm512_slli_epi64(r->l[i], 4);
  fq8_carry(r);
  fr8_canonical(r);
}

static void fr8_broadcast(fr8_t *r, const fr_t *value) {
  fr_t all[LANES];
  for (int i = 0; i < LANES; i++) all[i] = *value;
  fr8_load(r, all, 1);
  fr8_times_16(r);
}

typedef struct {
  struct ntt_lanes *lanes;
  const fr_t *twiddles;
} twiddle_job_t;

static void twiddle_range(void *context, size_t begin, size_t end) {
  const twiddle_job_t *job = context;
  for (size_t v = begin; v < end; v++) {
    fr8_load(&job->lanes->all[v], job->twiddles + LANES * v, 1);
    fr8_times_16(&job->lanes->all[v]);
  }
}

/* Fill plan->lanes where the transform is large enough for them. */
static int lanes_init(ntt_plan_t *plan) {
  plan->lanes = NULL;
  if (plan->log_n < LANES_FROM_LOG) return ZK_OK;
  const size_t vectors = ((size_t)1 << plan->log_n) / LANES;
  void *memory;
  if (posix_memalign(&memory, 64, sizeof(struct ntt_lanes) + vectors * sizeof(fr8_t)) != 0)
    return ZK_ERR_MEMORY;
  struct ntt_lanes *lanes = plan->lanes = memory;
  twiddle_job_t job = {lanes, plan->twiddles};
  zk_parallel_for(vectors, 256, twiddle_range, &job);
  fr_t minus[LANES] = {{{0}}};
  const fr_t one = fr_one();
  fr_neg(&minus[0], &one);
  fr8_load(&lanes->minus_one, minus, 1);
  fr8_times_16(&lanes->minus_one);
  for (unsigned k = 0; k < PASS_LOG; k++) {
    const size_t half = (size_t)1 << k;
    for (size_t j = 0; j < half; j++) {
      fr8_broadcast(&lanes->forward[half + j], &plan->twiddles[half + j]);
      fr8_broadcast(&lanes->inverse[half + j], j ? &plan->twiddles[2 * half - j] : &minus[0]);
    }
  }
  return ZK_OK;
}

/* --- butterflies --- */

/* (low, high) = (low + w high, low - w high): values below a r become less than (a + 2) r. */
ZK_INLINE void forward_butterfly(fr8_t *low, fr8_t *high, const fr8_t *w) {
  fr8_t product;
  fr8_mul(&product, high, w);
  fq8_sub(high, low, &product, FR_TIMES_2);
  fq8_sum(low, low, &product);
}

/* (low, high) = (low + high, w (high - low)): values below 2 r stay so. */
ZK_INLINE void inverse_butterfly(fr8_t *low, fr8_t *high, const fr8_t *w) {
  fr8_t difference;
  fq8_sub(&difference, high, low, FR_TIMES_2);
  fq8_sum(low, low, high);
  fq8_reduce_once(low, FR_TIMES_2);
  fr8_mul(high, &difference, w);
}

/* Layers [low, high) of a transform of 2^log_n values. */
typedef struct {
  const ntt_plan_t *plan;
  fr_t *data;
  unsigned low, high;
} pass_t;

/* Where tile number `tile` of a pass begins; its vectors are `step` elements apart. */
static fr_t *tile_of(const pass_t *pass, size_t tile, size_t *step, size_t *column) {
  if (pass->low == 0) {
    *step = 1;
    *column = 0;
    return pass->data + (tile << (pass->high + 3));
  }
  const unsigned bits = pass->low - 3;
  *step = (size_t)1 << pass->low;
  *column = (tile & (((size_t)1 << bits) - 1)) * LANES;
  return pass->data + (tile >> bits << pass->high) + *column;
}

static void forward_tiles(void *context, size_t begin, size_t end) {
  const pass_t *pass = context;
  const struct ntt_lanes *lanes = pass->plan->lanes;
  const size_t n = (size_t)1 << (pass->high - pass->low), stride = pass->low ? 1 : n;
  fr8_t values[PASS_SIZE];
  for (size_t tile = begin; tile < end; tile++) {
    size_t step, column;
    fr_t *first = tile_of(pass, tile, &step, &column);
    for (size_t u = 0; u < n; u++) fr8_load(&values[u], first + u * step, stride);
    for (unsigned k = pass->low; k < pass->high; k++) {
      const size_t half = (size_t)1 << (k - pass->low);
      for (size_t j = 0; j < half; j++) {
        const fr8_t *w = pass->low ? &lanes->all[(((half + j) << pass->low) + column) / LANES]
                                   : &lanes->forward[half + j];
        for (size_t u = j; u < n; u += 2 * half)
          forward_butterfly(&values[u], &values[u + half], w);
      }
    }
    for (size_t u = 0; u < n; u++) {
      fr8_canonical(&values[u]);
      fr8_store(first + u * step, stride, &values[u]);
    }
  }
}

/* -omega^-j = omega^(half - j) for the eight j of vector `j`, in the layer of `half` vectors. */
ZK_INLINE void inverse_factors(fr8_t *w, const struct ntt_lanes *lanes, size_t half, size_t j) {
  const __m512i reversed = _mm512_setr_epi64(8, 7, 6, 5, 4, 3, 2, 1);
  const fr8_t *before = &lanes->all[2 * half - j - 1];
  const fr8_t *after = j ? before + 1 : &lanes->minus_one;
  for (int i = 0; i < LIMBS52; i++)
    w->l[i] = _mm512_permutex2var_epi64(before->l[i], reversed, after->l[i]);
}

static void inverse_tiles(void *context, size_t begin, size_t end) {
  const pass_t *pass = context;
  const struct ntt_lanes *lanes = pass->plan->lanes;
  const size_t n = (size_t)1 << (pass->high - pass->low), stride = pass->low ? 1 : n;
  fr8_t values[PASS_SIZE], factors;
  for (size_t tile = begin; tile < end; tile++) {
    size_t step, column;
    fr_t *first = tile_of(pass, tile, &step, &column);
    for (size_t u = 0; u < n; u++) fr8_load(&values[u], first + u * step, stride);
    for (unsigned k = pass->high; k-- > pass->low;) {
      const size_t half = (size_t)1 << (k - pass->low);
      for (size_t j = 0; j < half; j++) {
        if (pass->low == 0) {
          factors = lanes->inverse[half + j];
        } else {
          const size_t vectors = (half << pass->low) / LANES;
          inverse_factors(&factors, lanes, vectors, ((j << pass->low) + column) / LANES);
        }
        for (size_t u = j; u < n; u += 2 * half)
          inverse_butterfly(&values[u], &values[u + half], &factors);
      }
    }
    for (size_t u = 0; u < n; u++) {
      fq8_reduce_once(&values[u], FR_TIMES_1);
      fr8_store(first + u * step, stride, &values[u]);
    }
  }
}

static void run_pass(const ntt_plan_t *plan, fr_t *data, unsigned low, unsigned high,
                     zk_range_fn tiles) {
  pass_t pass = {plan, data, low, high};
  zk_parallel_for((((size_t)1 << plan->log_n) / LANES) >> (high - low), 1, tiles, &pass);
}

/* Where pass number i of the layers above the lowest pass ends, of `passes` of about one length. */
static unsigned pass_end(const ntt_plan_t *plan, unsigned passes, unsigned i) {
  return PASS_LOG + (plan->log_n - PASS_LOG) * i / passes;
}

static void lanes_forward(const ntt_plan_t *plan, fr_t *data) {
  const unsigned passes = (plan->log_n - 1) / PASS_LOG;
  run_pass(plan, data, 0, PASS_LOG, forward_tiles);
  for (unsigned i = 0; i < passes; i++)
    run_pass(plan, data, pass_end(plan, passes, i), pass_end(plan, passes, i + 1), forward_tiles);
}

static void lanes_inverse(const ntt_plan_t *plan, fr_t *data) {
  const unsigned passes = (plan->log_n - 1) / PASS_LOG;
  for (unsigned i = passes; i-- > 0;)
    run_pass(plan, data, pass_end(plan, passes, i), pass_end(plan, passes, i + 1), inverse_tiles);
  run_pass(plan, data, 0, PASS_LOG, inverse_tiles);
}

#endif
