/* Vectors of affine points in Montgomery form, as .zkey and .ptau files hold them: see
 * points_template.h. Public data only.
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
