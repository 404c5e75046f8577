/* Eight elements of Fq, or of Fq2, side by side in AVX-512 vectors: five limbs of 52 bits, one
 * element a lane, multiplied by vpmadd52 (AVX-512 IFMA).
 *
 * Montgomery products here divide by 2^260, while memory holds the scalar code's form a * 2^256:
 * see batch_lanes_template.h for why that costs nothing. Values between operations may exceed p;
 * each function states its bounds. Constant time.
 */
#ifndef ZK_LANES_H
#define ZK_LANES_H

#include <immintrin.h>

#include "tower.h"

enum { LANES = 8, LIMBS52 = 5 };

typedef struct {
  __m512i l[LIMBS52]; /* 52 bits each, but for the signed highest */
} fq8_t;

typedef struct {
  fq8_t c0, c1;
} fq2x8_t;

#define LIMB52_MASK 0xfffffffffffffULL
#define FQ_NEG_INV52 (FQ_NEG_INV & LIMB52_MASK)

/* q and small multiples of it in limbs of 52 bits. */
static const uint64_t FQ_TIMES_1[LIMBS52] = {0x8c16d87cfd47ULL, 0x916871ca8d3c2ULL,
                                             0x181585d97816aULL, 0xa029b85045b68ULL,
                                             0x30644e72e131ULL};
static const uint64_t FQ_TIMES_2[LIMBS52] = {0x1182db0f9fa8eULL, 0x22d0e3951a784ULL,
                                             0x302b0bb2f02d5ULL, 0x405370a08b6d0ULL,
                                             0x60c89ce5c263ULL};
static const uint64_t FQ_TIMES_4[LIMBS52] = {0x2305b61f3f51cULL, 0x45a1c72a34f08ULL,
                                             0x60561765e05aaULL, 0x80a6e14116da0ULL,
                                             0xc19139cb84c6ULL};

ZK_INLINE __m512i lanes_set(uint64_t v) { return _mm512_set1_epi64((long long)v); }

ZK_INLINE __m512i lanes_low(__m512i acc, __m512i a, __m512i b) {
  return _mm512_madd52lo_epu64(acc, a, b);
}

ZK_INLINE __m512i lanes_high(__m512i acc, __m512i a, __m512i b) {
  return _mm512_madd52hi_epu64(acc, a, b);
}

/* Some value that is not 0. */
ZK_INLINE fq8_t fq8_start(void) {
  fq8_t r;
  for (int i = 0; i < LIMBS52; i++) r.l[i] = lanes_set(i == 0);
  return r;
}

/* Carry signed limbs upwards until all but the highest are in [0, 2^52). */
ZK_INLINE void fq8_carry(fq8_t *r) {
  for (int i = 0; i + 1 < LIMBS52; i++) {
    r->l[i + 1] = _mm512_add_epi64(r->l[i + 1], _mm512_srai_epi64(r->l[i], 52));
    r->l[i] = _mm512_and_si512(r->l[i], lanes_set(LIMB52_MASK));
  }
}

/* r = a - b + k q, for a - b > -k q. */
ZK_INLINE void fq8_sub(fq8_t *r, const fq8_t *a, const fq8_t *b, const uint64_t k_q[LIMBS52]) {
  for (int i = 0; i < LIMBS52; i++) {
    r->l[i] = _mm512_add_epi64(_mm512_sub_epi64(a->l[i], b->l[i]), lanes_set(k_q[i]));
  }
  fq8_carry(r);
}

/* r = a - b - c + k q, for a - b - c > -k q. */
ZK_INLINE void fq8_sub2(fq8_t *r, const fq8_t *a, const fq8_t *b, const fq8_t *c,
                        const uint64_t k_q[LIMBS52]) {
  for (int i = 0; i < LIMBS52; i++) {
    const __m512i both = _mm512_add_epi64(b->l[i], c->l[i]);
    r->l[i] = _mm512_add_epi64(_mm512_sub_epi64(a->l[i], both), lanes_set(k_q[i]));
  }
  fq8_carry(r);
}

/* r = r - k q where that is not negative. */
ZK_INLINE void fq8_reduce_once(fq8_t *r, const uint64_t k_q[LIMBS52]) {
  fq8_t t;
  for (int i = 0; i < LIMBS52; i++) t.l[i] = _mm512_sub_epi64(r->l[i], lanes_set(k_q[i]));
  fq8_carry(&t);
  const __mmask8 negative = _mm512_movepi64_mask(t.l[LIMBS52 - 1]);
  for (int i = 0; i < LIMBS52; i++) r->l[i] = _mm512_mask_mov_epi64(t.l[i], negative, r->l[i]);
}

/* Ten columns of a product, unreduced: sums of 52-bit halves, signed. */
typedef struct {
  __m512i c[2 * LIMBS52];
} columns_t;

ZK_INLINE void columns_mul(columns_t *t, const fq8_t *a, const fq8_t *b) {
  for (int i = 0; i < 2 * LIMBS52; i++) t->c[i] = _mm512_setzero_si512();
  for (int i = 0; i < LIMBS52; i++) {
    for (int j = 0; j < LIMBS52; j++) {
      t->c[i + j] = lanes_low(t->c[i + j], a->l[i], b->l[j]);
      t->c[i + j + 1] = lanes_high(t->c[i + j + 1], a->l[i], b->l[j]);
    }
  }
}

ZK_INLINE void columns_sqr(columns_t *t, const fq8_t *a) {
  for (int i = 0; i < 2 * LIMBS52; i++) t->c[i] = _mm512_setzero_si512();
  for (int i = 0; i < LIMBS52; i++) {
    for (int j = i + 1; j < LIMBS52; j++) {
      t->c[i + j] = lanes_low(t->c[i + j], a->l[i], a->l[j]);
      t->c[i + j + 1] = lanes_high(t->c[i + j + 1], a->l[i], a->l[j]);
    }
  }
  for (int i = 0; i < 2 * LIMBS52; i++) t->c[i] = _mm512_add_epi64(t->c[i], t->c[i]);
  for (int i = 0; i < LIMBS52; i++) {
    t->c[2 * i] = lanes_low(t->c[2 * i], a->l[i], a->l[i]);
    t->c[2 * i + 1] = lanes_high(t->c[2 * i + 1], a->l[i], a->l[i]);
  }
}

ZK_INLINE void columns_add(columns_t *r, const columns_t *a, const columns_t *b) {
  for (int i = 0; i < 2 * LIMBS52; i++) r->c[i] = _mm512_add_epi64(a->c[i], b->c[i]);
}

ZK_INLINE void columns_sub(columns_t *r, const columns_t *a, const columns_t *b) {
  for (int i = 0; i < 2 * LIMBS52; i++) r->c[i] = _mm512_sub_epi64(a->c[i], b->c[i]);
}

/* Times 16: turns a product divided by 2^260 into one divided by 2^256. Columns stay below 2^62. */
ZK_INLINE void columns_times_16(columns_t *t) {
  for (int i = 0; i < 2 * LIMBS52; i++) t->c[i] = _mm512_slli_epi64(t->c[i], 4);
}

/* r = t / 2^260 mod m, between t / 2^260 and t / 2^260 + m, for the modulus m (q or r, both 2^260 /
 * 84.6) with m * neg_inv = -1 mod 2^52: a product of values below a m and b m becomes less than
 * (a b / 84.6 + 1) m. The limbs are not carried. */
ZK_INLINE void columns_divide(fq8_t *r, columns_t *t, const uint64_t modulus[LIMBS52],
                              uint64_t inverse) {
  const __m512i neg_inv = lanes_set(inverse), mask = lanes_set(LIMB52_MASK);
  for (int i = 0; i < LIMBS52; i++) {
    __m512i *c = t->c + i;
    const __m512i m = lanes_low(_mm512_setzero_si512(), c[0], neg_inv);
    /* c[0] + low(m q) is the next multiple of 2^52. */
    const __m512i up = _mm512_srai_epi64(_mm512_add_epi64(c[0], mask), 52);
    c[1] = _mm512_add_epi64(c[1], up);
    for (int j = 1; j < LIMBS52; j++) {
      c[j] = lanes_high(c[j], m, lanes_set(modulus[j - 1]));
      c[j] = lanes_low(c[j], m, lanes_set(modulus[j]));
    }
    c[LIMBS52] = lanes_high(c[LIMBS52], m, lanes_set(modulus[LIMBS52 - 1]));
  }
  for (int i = 0; i < LIMBS52; i++) r->l[i] = t->c[LIMBS52 + i];
}

/* The same for q, carried; plus q if the columns may be negative. */
ZK_INLINE void columns_reduce(fq8_t *r, columns_t *t, int may_be_negative) {
  columns_divide(r, t, FQ_TIMES_1, FQ_NEG_INV52);
  if (may_be_negative) {
    for (int i = 0; i < LIMBS52; i++) {
      r->l[i] = _mm512_add_epi64(r->l[i], lanes_set(FQ_TIMES_1[i]));
    }
  }
  fq8_carry(r);
}

/* --- memory: four limbs of 64 bits an element --- */

/* r's lanes = the elements at rows[i] + offset, in an order of lanes that only fq8_store knows. */
ZK_INLINE void fq8_load(fq8_t *r, const char *const rows[LANES], size_t offset) {
  __m512i z[4], w[4];
  for (int i = 0; i < 4; i++) {
    const __m512i low =
        _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(rows[i] + offset)));
    z[i] = _mm512_inserti64x4(low, _mm256_loadu_si256((const __m256i *)(rows[i + 4] + offset)), 1);
  }
  const __m512i u0 = _mm512_unpacklo_epi64(z[0], z[1]), u1 = _mm512_unpackhi_epi64(z[0], z[1]);
  const __m512i u2 = _mm512_unpacklo_epi64(z[2], z[3]), u3 = _mm512_unpackhi_epi64(z[2], z[3]);
  w[0] = _mm512_shuffle_i64x2(u0, u2, 0x88);
  w[1] = _mm512_shuffle_i64x2(u1, u3, 0x88);
  w[2] = _mm512_shuffle_i64x2(u0, u2, 0xdd);
  w[3] = _mm512_shuffle_i64x2(u1, u3, 0xdd);
  const __m512i mask = lanes_set(LIMB52_MASK);
  r->l[0] = _mm512_and_si512(w[0], mask);
  for (int i = 1; i < 4; i++) {
    const __m512i either = _mm512_or_si512(_mm512_srli_epi64(w[i - 1], (unsigned)(64 - 12 * i)),
                                           _mm512_slli_epi64(w[i], (unsigned)(12 * i)));
    r->l[i] = _mm512_and_si512(either, mask);
  }
  r->l[4] = _mm512_srli_epi64(w[3], 16);
}

/* The inverse of fq8_load, for values below 2^256. */
ZK_INLINE void fq8_store(char *const rows[LANES], size_t offset, const fq8_t *a) {
  __m512i w[4], v[4];
  for (int i = 0; i < 4; i++) {
    w[i] = _mm512_or_si512(_mm512_srli_epi64(a->l[i], (unsigned)(12 * i)),
                           _mm512_slli_epi64(a->l[i + 1], (unsigned)(52 - 12 * i)));
  }
  v[0] = _mm512_unpacklo_epi64(w[0], w[1]);
  v[1] = _mm512_unpackhi_epi64(w[0], w[1]);
  v[2] = _mm512_unpacklo_epi64(w[2], w[3]);
  v[3] = _mm512_unpackhi_epi64(w[2], w[3]);
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (int i = 0; i < 2; i++) {
    const __m512i a04 = _mm512_permutex2var_epi64(v[i], first, v[i + 2]);
    const __m512i a26 = _mm512_permutex2var_epi64(v[i], second, v[i + 2]);
    _mm256_storeu_si256((__m256i *)(rows[i] + offset), _mm512_castsi512_si256(a04));
    _mm256_storeu_si256((__m256i *)(rows[i + 4] + offset), _mm512_extracti64x4_epi64(a04, 1));
    _mm256_storeu_si256((__m256i *)(rows[i + 2] + offset), _mm512_castsi512_si256(a26));
    _mm256_storeu_si256((__m256i *)(rows[i + 6] + offset), _mm512_extracti64x4_epi64(a26, 1));
  }
}

/* --- Fq: the operations of one batched addition --- */

/* a b / 2^260, below (a b / 84.6 + 1) q. */
ZK_INLINE void fq8_mul(fq8_t *r, const fq8_t *a, const fq8_t *b) {
  columns_t t;
  columns_mul(&t, a, b);
  columns_reduce(r, &t, 0);
}

/* a b / 2^256 */
ZK_INLINE void fq8_mul_16(fq8_t *r, const fq8_t *a, const fq8_t *b) {
  columns_t t;
  columns_mul(&t, a, b);
  columns_times_16(&t);
  columns_reduce(r, &t, 0);
}

/* a^2 / 2^256 */
ZK_INLINE void fq8_sqr_16(fq8_t *r, const fq8_t *a) {
  columns_t t;
  columns_sqr(&t, a);
  columns_times_16(&t);
  columns_reduce(r, &t, 0);
}

/* Reduce a value below 4 q. */
ZK_INLINE void fq8_canonical(fq8_t *r) {
  fq8_reduce_once(r, FQ_TIMES_2);
  fq8_reduce_once(r, FQ_TIMES_1);
}

/* --- Fq2, by Karatsuba on unreduced columns; the first component may be negative --- */

ZK_INLINE fq2x8_t fq2x8_start(void) { return (fq2x8_t){fq8_start(), fq8_start()}; }

ZK_INLINE void fq8_sum(fq8_t *r, const fq8_t *a, const fq8_t *b) {
  for (int i = 0; i < LIMBS52; i++) r->l[i] = _mm512_add_epi64(a->l[i], b->l[i]);
  fq8_carry(r);
}

ZK_INLINE void fq2x8_mul_shifted(fq2x8_t *r, const fq2x8_t *a, const fq2x8_t *b, int times_16) {
  columns_t low, high, cross, both;
  fq8_t sum_a, sum_b;
  fq8_sum(&sum_a, &a->c0, &a->c1);
  fq8_sum(&sum_b, &b->c0, &b->c1);
  columns_mul(&low, &a->c0, &b->c0);
  columns_mul(&high, &a->c1, &b->c1);
  columns_mul(&cross, &sum_a, &sum_b);
  columns_add(&both, &low, &high);
  columns_sub(&cross, &cross, &both);
  columns_sub(&low, &low, &high);
  if (times_16) {
    columns_times_16(&low);
    columns_times_16(&cross);
  }
  columns_reduce(&r->c0, &low, 1);
  columns_reduce(&r->c1, &cross, 0);
}

ZK_INLINE void fq2x8_mul(fq2x8_t *r, const fq2x8_t *a, const fq2x8_t *b) {
  fq2x8_mul_shifted(r, a, b, 0);
}

ZK_INLINE void fq2x8_mul_16(fq2x8_t *r, const fq2x8_t *a, const fq2x8_t *b) {
  fq2x8_mul_shifted(r, a, b, 1);
}

/* ((a0 + a1)(a0 - a1), 2 a0 a1) / 2^256, for a1 below 2 q */
ZK_INLINE void fq2x8_sqr_16(fq2x8_t *r, const fq2x8_t *a) {
  columns_t t, u;
  fq8_t sum, difference, twice;
  fq8_sum(&sum, &a->c0, &a->c1);
  fq8_sub(&difference, &a->c0, &a->c1, FQ_TIMES_2);
  fq8_sum(&twice, &a->c1, &a->c1);
  columns_mul(&t, &sum, &difference);
  columns_mul(&u, &twice, &a->c0);
  columns_times_16(&t);
  columns_times_16(&u);
  columns_reduce(&r->c0, &t, 0);
  columns_reduce(&r->c1, &u, 0);
}

ZK_INLINE void fq2x8_sub(fq2x8_t *r, const fq2x8_t *a, const fq2x8_t *b,
                         const uint64_t k_q[LIMBS52]) {
  fq8_sub(&r->c0, &a->c0, &b->c0, k_q);
  fq8_sub(&r->c1, &a->c1, &b->c1, k_q);
}

ZK_INLINE void fq2x8_sub2(fq2x8_t *r, const fq2x8_t *a, const fq2x8_t *b, const fq2x8_t *c,
                          const uint64_t k_q[LIMBS52]) {
  fq8_sub2(&r->c0, &a->c0, &b->c0, &c->c0, k_q);
  fq8_sub2(&r->c1, &a->c1, &b->c1, &c->c1, k_q);
}

/* Reduce components below 8 q. */
ZK_INLINE void fq2x8_canonical(fq2x8_t *r) {
  fq8_reduce_once(&r->c0, FQ_TIMES_4);
  fq8_reduce_once(&r->c1, FQ_TIMES_4);
  fq8_canonical(&r->c0);
  fq8_canonical(&r->c1);
}

ZK_INLINE void fq2x8_load(fq2x8_t *r, const char *const rows[LANES], size_t offset) {
  fq8_load(&r->c0, rows, offset);
  fq8_load(&r->c1, rows, offset + 32);
}

ZK_INLINE void fq2x8_store(char *const rows[LANES], size_t offset, const fq2x8_t *a) {
  fq8_store(rows, offset, &a->c0);
  fq8_store(rows, offset + 32, &a->c1);
}

#endif
