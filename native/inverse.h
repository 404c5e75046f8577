/* Modular inversion by the binary GCD in blocks of 31 steps (Pornin, "Optimized binary GCD for
 * modular inversion", 2020, algorithm 2): the steps of a block work on 64-bit approximations and
 * are applied to the full values at once. The number of steps is fixed; only the position of the
 * leading limb shows in the running time.
 */
#ifndef ZK_INVERSE_H
#define ZK_INVERSE_H

#include "limbs.h"

enum { GCD_STEPS = 31, GCD_BLOCKS = 17 }; /* 17 * 31 >= 2 * 254 - 1 */

/* A block's effect: (a, b) becomes (f0 a + g0 b, f1 a + g1 b) / 2^31. */
typedef struct {
  int64_t f0, g0, f1, g1;
} gcd_factors_t;

ZK_INLINE gcd_factors_t gcd_block(uint64_t a, uint64_t b) {
  int64_t f0 = 1, g0 = 0, f1 = 0, g1 = 1;
  for (int i = 0; i < GCD_STEPS; i++) {
    const uint64_t odd = (uint64_t)0 - (a & 1);
    const uint64_t swap = odd & ((uint64_t)0 - (uint64_t)(a < b));
    const uint64_t mix = (a ^ b) & swap;
    a ^= mix;
    b ^= mix;
    const int64_t mix_f = (f0 ^ f1) & (int64_t)swap, mix_g = (g0 ^ g1) & (int64_t)swap;
    f0 ^= mix_f;
    f1 ^= mix_f;
    g0 ^= mix_g;
    g1 ^= mix_g;
    a = (a - (b & odd)) >> 1;
    f0 -= f1 & (int64_t)odd;
    g0 -= g1 & (int64_t)odd;
    f1 *= 2;
    g1 *= 2;
  }
  return (gcd_factors_t){f0, g0, f1, g1};
}

/* The 64 bits of a that start at bit 64 * limb - shift, for 0 < limb or shift = 0. */
ZK_INLINE uint64_t gcd_top(const uint64_t a[4], int limb, unsigned shift) {
  if (limb == 0) return a[0];
  return shift ? a[limb] << shift | a[limb - 1] >> (64 - shift) : a[limb];
}

/* Approximations by the 33 highest bits (of the longer value) and the 31 lowest. */
ZK_INLINE void gcd_approximate(uint64_t *xa, uint64_t *xb, const uint64_t a[4],
                               const uint64_t b[4]) {
  const uint64_t low = ((uint64_t)1 << GCD_STEPS) - 1;
  int limb = 3;
  while (limb > 0 && (a[limb] | b[limb]) == 0) limb--;
  const uint64_t both = a[limb] | b[limb];
  const unsigned shift = limb ? (unsigned)__builtin_clzll(both) : 0;
  *xa = gcd_top(a, limb, shift);
  *xb = gcd_top(b, limb, shift);
  if (limb) {
    *xa = (*xa & ~low) | (a[0] & low);
    *xb = (*xb & ~low) | (b[0] & low);
  }
}

/* t = (f a + g b) as five limbs of two's complement, |f| + |g| <= 2^31. */
ZK_INLINE void gcd_combine(uint64_t t[5], const uint64_t a[4], const uint64_t b[4], int64_t f,
                           int64_t g) {
  __int128 carry = 0;
  for (int i = 0; i < 4; i++) {
    /* |carry| < 2^33: the sums stay within 97 bits. */
    carry += (__int128)f * a[i] + (__int128)g * b[i];
    t[i] = (uint64_t)carry;
    carry >>= 64;
  }
  t[4] = (uint64_t)carry;
}

/* r = t / 2^31 for five limbs; returns the highest limb's sign as a mask. */
ZK_INLINE uint64_t gcd_shift(uint64_t r[4], const uint64_t t[5]) {
  for (int i = 0; i < 4; i++) r[i] = t[i] >> GCD_STEPS | t[i + 1] << (64 - GCD_STEPS);
  return (uint64_t)((int64_t)t[4] >> 63);
}

/* |f a + g b| / 2^31; negates f and g where the sum is negative. */
ZK_INLINE void gcd_apply(uint64_t r[4], const uint64_t a[4], const uint64_t b[4], int64_t *f,
                         int64_t *g) {
  uint64_t t[5], zero[4] = {0, 0, 0, 0}, negated[4];
  gcd_combine(t, a, b, *f, *g);
  const uint64_t negative = gcd_shift(r, t);
  limbs_sub(negated, zero, r);
  for (int i = 0; i < 4; i++) r[i] = (r[i] & ~negative) | (negated[i] & negative);
  *f = (*f ^ (int64_t)negative) - (int64_t)negative;
  *g = (*g ^ (int64_t)negative) - (int64_t)negative;
}

/* (f u + g v) / 2^31 mod p, for u, v below p. */
ZK_INLINE void gcd_apply_mod(uint64_t r[4], const uint64_t u[4], const uint64_t v[4], int64_t f,
                             int64_t g, const uint64_t p[4], uint64_t neg_inv) {
  uint64_t t[5], s[4];
  gcd_combine(t, u, v, f, g);
  const uint64_t k = (t[0] * neg_inv) & (((uint64_t)1 << GCD_STEPS) - 1);
  unsigned __int128 carry = 0;
  for (int i = 0; i < 4; i++) {
    carry += (unsigned __int128)k * p[i] + t[i];
    t[i] = (uint64_t)carry;
    carry >>= 64;
  }
  t[4] += (uint64_t)carry;
  /* Above -p and below 2p: add p where negative, then reduce. */
  const uint64_t negative = gcd_shift(r, t);
  for (int i = 0; i < 4; i++) s[i] = p[i] & negative;
  limbs_add(r, r, s);
  const uint64_t keep = (uint64_t)0 - limbs_sub(s, r, p);
  for (int i = 0; i < 4; i++) r[i] = (r[i] & keep) | (s[i] & ~keep);
}

/* r = factor / a mod p, or 0 if a is 0; a and factor below p. */
ZK_INLINE void limbs_invert(uint64_t r[4], const uint64_t value[4], const uint64_t factor[4],
                            const uint64_t p[4], uint64_t neg_inv) {
  /* value u = a factor and value v = b factor (mod p) throughout; b ends as gcd = 1. */
  uint64_t a[4], b[4], u[4], v[4] = {0, 0, 0, 0}, next_a[4], next_u[4];
  for (int i = 0; i < 4; i++) {
    a[i] = value[i];
    b[i] = p[i];
    u[i] = factor[i];
  }
  for (int block = 0; block < GCD_BLOCKS; block++) {
    uint64_t xa, xb;
    gcd_approximate(&xa, &xb, a, b);
    gcd_factors_t k = gcd_block(xa, xb);
    gcd_apply(next_a, a, b, &k.f0, &k.g0);
    gcd_apply(b, a, b, &k.f1, &k.g1);
    gcd_apply_mod(next_u, u, v, k.f0, k.g0, p, neg_inv);
    gcd_apply_mod(v, u, v, k.f1, k.g1, p, neg_inv);
    for (int i = 0; i < 4; i++) {
      a[i] = next_a[i];
      u[i] = next_u[i];
    }
  }
  for (int i = 0; i < 4; i++) r[i] = v[i];
}

#endif
