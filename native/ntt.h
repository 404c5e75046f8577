/* Number-theoretic transforms over Fr on the subgroup of order 2^log_n, with iden3's choice of
 * roots: omega_28 = 5^((r - 1) / 2^28), omega_k = omega_28^(2^(28 - k)). All values in Montgomery
 * form.
 */
#ifndef ZK_NTT_H
#define ZK_NTT_H

#include "field.h"

#define NTT_MAX_LOG 28

#define ntt_root ZK_NAME(ntt_root)
#define ntt_powers ZK_NAME(ntt_powers)
#define ntt_plan_init ZK_NAME(ntt_plan_init)
#define ntt_plan_free ZK_NAME(ntt_plan_free)
#define ntt_forward ZK_NAME(ntt_forward)
#define ntt_inverse ZK_NAME(ntt_inverse)

/* The primitive root of unity of order 2^log_n, log_n at most NTT_MAX_LOG. */
fr_t ntt_root(unsigned log_n);

/* out[i] = first * base^i for i in [0, 2^log_n). */
void ntt_powers(fr_t *out, const fr_t *first, const fr_t *base, unsigned log_n);

/* Twiddle factors of every layer, one after another: entry 2^k + j holds omega_{k+1}^j, j < 2^k. */
typedef struct {
  unsigned log_n;
  fr_t *twiddles;
  struct ntt_lanes *lanes; /* the same for vector code, where a kernel has it and n is large */
} ntt_plan_t;

int ntt_plan_init(ntt_plan_t *plan, unsigned log_n);
void ntt_plan_free(ntt_plan_t *plan);

/* Evaluate: coefficients in bit-reversed order to values in natural order. */
void ntt_forward(const ntt_plan_t *plan, fr_t *data);

/* n times the interpolation: values in natural order to coefficients in bit-reversed order. */
void ntt_inverse(const ntt_plan_t *plan, fr_t *data);

static inline size_t ntt_bit_reverse(size_t i, unsigned bits) {
  size_t r = 0;
  for (unsigned k = 0; k < bits; k++) r |= ((i >> k) & 1) << (bits - 1 - k);
  return r;
}

#endif
