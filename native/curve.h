/* BN254's groups: G1, y^2 = x^3 + 3 over Fq, and G2, y^2 = x^3 + 3/(9 + u) over Fq2.
 *
 * Coordinates are in Montgomery form. Affine infinity is all zeros (as in iden3's .zkey, so that a
 * mapped key's points are used in place); Jacobian infinity has z = 0. Results may alias operands.
 * Addition handles every case (equal, opposite, infinity) and branches on them: public data only,
 * except that a multi-scalar product's scalars may be secret where only this process can observe
 * its time.
 */
#ifndef ZK_CURVE_H
#define ZK_CURVE_H

#include "field.h"
#include "tower.h"

typedef struct {
  fq_t x, y;
} g1_affine_t;

typedef struct {
  fq_t x, y, z;
} g1_t;

typedef struct {
  fq2_t x, y;
} g2_affine_t;

typedef struct {
  fq2_t x, y, z;
} g2_t;

/* Declares one group; g is g1 or g2, limbs the 64-bit limbs of an affine point. */
#define ZK_DECLARE_GROUP(g, limbs)                                                                 \
  g##_t ZK_NAME(g##_infinity)(void);                                                               \
  int ZK_NAME(g##_is_infinity)(const g##_t *a);                                                    \
  int ZK_NAME(g##_affine_is_infinity)(const g##_affine_t *a);                                      \
  int ZK_NAME(g##_equal)(const g##_t *a, const g##_t *b);                                          \
  void ZK_NAME(g##_from_affine)(g##_t * r, const g##_affine_t *a);                                 \
  void ZK_NAME(g##_to_affine)(g##_affine_t * r, const g##_t *a);                                   \
  /* Many at once, with one inversion a block. */                                                  \
  void ZK_NAME(g##_to_affine_many)(g##_affine_t * r, const g##_t *a, size_t n);                    \
  void ZK_NAME(g##_add)(g##_t * r, const g##_t *a, const g##_t *b);                                \
  void ZK_NAME(g##_add_mixed)(g##_t * r, const g##_t *a, const g##_affine_t *b);                   \
  void ZK_NAME(g##_double)(g##_t * r, const g##_t *a);                                             \
  void ZK_NAME(g##_neg)(g##_t * r, const g##_t *a);                                                \
  void ZK_NAME(g##_affine_neg)(g##_affine_t * r, const g##_affine_t *a);                           \
  /* k * a for a standard-form k of any value below 2^256. */                                      \
  void ZK_NAME(g##_mul)(g##_t * r, const g##_t *a, const uint64_t k[4]);                           \
  /* Standard-form limbs (x, y; all zero = infinity): load checks canonical form only. */          \
  int ZK_NAME(g##_load)(g##_affine_t * r, const uint64_t a[limbs]);                                \
  void ZK_NAME(g##_store)(uint64_t r[limbs], const g##_affine_t *a);                               \
  /* Infinity counts as on the curve and in the subgroup. */                                       \
  int ZK_NAME(g##_on_curve)(const g##_affine_t *a);                                                \
  int ZK_NAME(g##_in_subgroup)(const g##_affine_t *a);                                             \
  g##_affine_t ZK_NAME(g##_generator)(void);                                                       \
  /* sum of scalars[i] * points[i]. `points`: n g##_affine_t records of any alignment;             \
   * `scalars`: n standard-form values below r, four limbs each, of any alignment. ZK_OK,          \
   * ZK_ERR_MEMORY, or ZK_ERR_RANGE for a scalar at or above r. Uses zk_threads() threads. */      \
  int ZK_NAME(g##_msm)(g##_t * r, const void *points, const void *scalars, size_t n);              \
  /* out[i] = scalars[i] * base, affine, from a table of base's multiples; same returns. */        \
  int ZK_NAME(g##_mul_many)(g##_affine_t * out, const g##_affine_t *base, const uint64_t *scalars, \
                            size_t n);

ZK_DECLARE_GROUP(g1, 8)
ZK_DECLARE_GROUP(g2, 16)

#define g1_infinity ZK_NAME(g1_infinity)
#define g1_is_infinity ZK_NAME(g1_is_infinity)
#define g1_affine_is_infinity ZK_NAME(g1_affine_is_infinity)
#define g1_equal ZK_NAME(g1_equal)
#define g1_from_affine ZK_NAME(g1_from_affine)
#define g1_to_affine ZK_NAME(g1_to_affine)
#define g1_to_affine_many ZK_NAME(g1_to_affine_many)
#define g1_add ZK_NAME(g1_add)
#define g1_add_mixed ZK_NAME(g1_add_mixed)
#define g1_double ZK_NAME(g1_double)
#define g1_neg ZK_NAME(g1_neg)
#define g1_affine_neg ZK_NAME(g1_affine_neg)
#define g1_mul ZK_NAME(g1_mul)
#define g1_load ZK_NAME(g1_load)
#define g1_store ZK_NAME(g1_store)
#define g1_on_curve ZK_NAME(g1_on_curve)
#define g1_in_subgroup ZK_NAME(g1_in_subgroup)
#define g1_generator ZK_NAME(g1_generator)
#define g1_msm ZK_NAME(g1_msm)
#define g1_mul_many ZK_NAME(g1_mul_many)

#define g2_infinity ZK_NAME(g2_infinity)
#define g2_is_infinity ZK_NAME(g2_is_infinity)
#define g2_affine_is_infinity ZK_NAME(g2_affine_is_infinity)
#define g2_equal ZK_NAME(g2_equal)
#define g2_from_affine ZK_NAME(g2_from_affine)
#define g2_to_affine ZK_NAME(g2_to_affine)
#define g2_to_affine_many ZK_NAME(g2_to_affine_many)
#define g2_add ZK_NAME(g2_add)
#define g2_add_mixed ZK_NAME(g2_add_mixed)
#define g2_double ZK_NAME(g2_double)
#define g2_neg ZK_NAME(g2_neg)
#define g2_affine_neg ZK_NAME(g2_affine_neg)
#define g2_mul ZK_NAME(g2_mul)
#define g2_load ZK_NAME(g2_load)
#define g2_store ZK_NAME(g2_store)
#define g2_on_curve ZK_NAME(g2_on_curve)
#define g2_in_subgroup ZK_NAME(g2_in_subgroup)
#define g2_generator ZK_NAME(g2_generator)
void ZK_NAME(g2_psi)(g2_t *r, const g2_t *a);
#define g2_psi ZK_NAME(g2_psi)
#define g2_msm ZK_NAME(g2_msm)
#define g2_mul_many ZK_NAME(g2_mul_many)

#endif
