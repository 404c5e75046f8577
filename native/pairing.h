/* The optimal ate pairing of BN254 and the check of a Groth16 proof. Public data only. */
#ifndef ZK_PAIRING_H
#define ZK_PAIRING_H

#include "curve.h"

#define pairing_product ZK_NAME(pairing_product)
#define groth16_check ZK_NAME(groth16_check)

/* r = product of e(p[i], q[i]), for points on their curves and in their subgroups. Infinity pairs
 * to one. e is the reduced optimal ate pairing to the power 2x(6x^2 + 3x + 1), x being the
 * parameter of the curve: a number prime to r, so that products are one for both or neither. */
void pairing_product(fq12_t *r, const g1_affine_t *p, const g2_affine_t *q, size_t n);

typedef struct {
  g1_affine_t alpha;
  g2_affine_t beta, gamma, delta;
} groth16_key_t;

typedef struct {
  g1_affine_t a;
  g2_affine_t b;
  g1_affine_t c;
} groth16_proof_t;

/* e(a, b) = e(alpha, beta) e(inputs, gamma) e(c, delta), for checked points: ZK_OK or
 * ZK_ERR_EQUATION. */
int groth16_check(const groth16_key_t *key, const g1_affine_t *inputs,
                  const groth16_proof_t *proof);

#endif
