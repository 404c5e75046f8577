/* Vectors of affine points in Montgomery form, as .zkey and .ptau files hold them: see
 * points_template.h. Not constant time: the scalars of points_generate (a development key's) and of
 * points_scale (a ceremony contribution's) are secret, and only this process may observe its time.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "curve.h"
#include "ntt.h"
#include "threads.h"

/* Entry 2^k + j is omega_{k+1}^-j in standard form, four limbs, for the layers k < log_n. */
static uint64_t *inverse_twiddles(unsigned log_n) {
  ntt_plan_t plan;
  const size_t n = (size_t)1 << log_n;
  if (ntt_plan_init(&plan, log_n) != ZK_OK) return NULL;
  uint64_t *powers = calloc(n, 4 * sizeof *powers);
  for (size_t half = n / 2; powers && half > 0; half /= 2) {
    /* omega^-j = -omega^(half - j), for omega of order 2 half */
    powers[4 * half] = 1;
    for (size_t j = 1; j < half; j++) {
      fr_t inverse;
      fr_neg(&inverse, &plan.twiddles[half + half - j]);
      fr_from_mont(powers + 4 * (half + j), &inverse);
    }
  }
  ntt_plan_free(&plan);
  return powers;
}

/* --- multiples by the endomorphism (Gallant, Lambert and Vanstone, CRYPTO 2001) ---
 * (x, y) -> (beta x, y) is multiplication by lambda, lambda^2 + lambda + 1 = 0 mod r, on G1 and,
 * with the other cube root of unity, on G2. k = low + lambda * high with halves of 127 bits comes
 * from the lattice of (a, b) with a + b lambda = 0 mod r and its basis (A1, -B1), (A2, A1). */

enum { NAF_BITS = 129, NAF_WIDTH = 5, NAF_MULTIPLES = 1 << (NAF_WIDTH - 2) };

typedef struct {
  int8_t low[NAF_BITS], high[NAF_BITS];
} halves_t;

/* r = a * b of na and nb limbs, nb of at most 4. */
static void limbs_product(uint64_t *r, const uint64_t *a, int na, const uint64_t *b, int nb) {
  for (int i = 0; i < na + nb; i++) r[i] = 0;
  for (int i = 0; i < na; i++) {
    unsigned __int128 carry = 0;
    for (int j = 0; j < nb; j++) {
      carry += (unsigned __int128)a[i] * b[j] + r[i + j];
      r[i + j] = (uint64_t)carry;
      carry >>= 64;
    }
    r[i + nb] = (uint64_t)carry;
  }
}

/* Signed odd digits below 2^(NAF_WIDTH - 1), at most one in NAF_WIDTH positions; `negative` flips
 * them all. k is below 2^128 - 2^NAF_WIDTH. */
static void naf_digits(int8_t digits[NAF_BITS], unsigned __int128 k, int negative) {
  for (int i = 0; i < NAF_BITS; i++, k >>= 1) {
    int digit = 0;
    if (k & 1) {
      digit = (int)(k & ((1 << NAF_WIDTH) - 1));
      if (digit >= 1 << (NAF_WIDTH - 1)) digit -= 1 << NAF_WIDTH;
      k -= (unsigned __int128)(__int128)digit;
    }
    digits[i] = (int8_t)(negative ? -digit : digit);
  }
}

/* k = low + lambda * high for k < r. */
static void split_scalar(halves_t *r, const uint64_t k[4]) {
  static const uint64_t a1[1] = {0x89d3256894d213e3ULL};
  static const uint64_t a2[2] = {0x0be4e1541221250bULL, 0x6f4d8248eeb859fdULL};
  static const uint64_t b1[2] = {0x8211bbeb7d4f1128ULL, 0x6f4d8248eeb859fcULL};
  static const uint64_t g1[2] = {0xd91d232ec7e0b3d7ULL, 0x2ULL}; /* floor(2^256 A1 / r) */
  static const uint64_t g2[3] = {0x7a7bd9d4391eb18dULL, 0x4ccef014a773d2cfULL, 0x2ULL}; /* B1 */
  uint64_t t[7], c1[2], c2[3], u[5], v[5];
  limbs_product(t, k, 4, g1, 2);
  memcpy(c1, t + 4, sizeof c1);
  limbs_product(t, k, 4, g2, 3);
  memcpy(c2, t + 4, sizeof c2);
  /* low = k - c1 A1 - c2 A2 and high = c1 B1 - c2 A1, exact in their lowest 128 bits */
  limbs_product(u, c1, 2, a1, 1);
  limbs_product(v, c2, 3, a2, 2);
#define LOW128(x) ((unsigned __int128)(x)[1] << 64 | (x)[0])
  const unsigned __int128 low = LOW128(k) - LOW128(u) - LOW128(v);
  limbs_product(u, c1, 2, b1, 2);
  limbs_product(v, c2, 3, a1, 1);
  const __int128 high = (__int128)(LOW128(u) - LOW128(v));
#undef LOW128
  naf_digits(r->low, low, 0);
  naf_digits(r->high, high < 0 ? -(unsigned __int128)high : (unsigned __int128)high, high < 0);
}

static void g1_endomorphism(g1_t *r, const g1_t *a) {
  static const fq_t beta = {
      {0x71930c11d782e155ULL, 0xa6bb947cffbe3323ULL, 0xaa303344d4741444ULL, 0x2c3b3f0d26594943ULL}};
  *r = *a;
  fq_mul(&r->x, &a->x, &beta);
}

static void g2_endomorphism(g2_t *r, const g2_t *a) {
  static const fq_t beta = {
      {0x3350c88e13e80b9cULL, 0x7dce557cdb5e56b9ULL, 0x6001b4b8b615564aULL, 0x2682e617020217e0ULL}};
  *r = *a;
  fq2_mul_fq(&r->x, &a->x, &beta);
}

#define G(name) g1_##name
#define P(name) ZK_NAME(zk_g1_##name)
#define LIMBS 8
#include "points_template.h"
#undef G
#undef P
#undef LIMBS

#define G(name) g2_##name
#define P(name) ZK_NAME(zk_g2_##name)
#define LIMBS 16
#include "points_template.h"
#undef G
#undef P
#undef LIMBS
