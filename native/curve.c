/* G1 and G2: see curve.h. Public data only: the group law branches on exceptional cases. */
#include "curve.h"

static fq_t g1_b(void) {
  return (fq_t){
      {0x7a17caa950ad28d7ULL, 0x1f6ac17ae15521b9ULL, 0x334bea4e696bd284ULL, 0x2a1f6744ce179d8eULL}};
}

static fq2_t g2_b(void) {
  return (fq2_t){{{0x3bf938e377b802a8ULL, 0x020b1b273633535dULL, 0x26b7edf049755260ULL,
                   0x2514c6324384a86dULL}},
                 {{0x38e7ecccd1dcff67ULL, 0x65f0b37d93ce0d3eULL, 0xd749d0dd22ac00aaULL,
                   0x0141b9ce4a688d4dULL}}};
}

#define G(name) ZK_NAME(g1_##name)
#define G_T g1_t
#define G_AFFINE g1_affine_t
#define E(name) fq_##name
#define E_T fq_t
#define curve_b g1_b
#include "group_template.h"

#define G(name) ZK_NAME(g2_##name)
#define G_T g2_t
#define G_AFFINE g2_affine_t
#define E(name) fq2_##name
#define E_T fq2_t
#define curve_b g2_b
#include "group_template.h"

int g1_load(g1_affine_t *r, const uint64_t a[8]) {
  g1_affine_t p;
  if (fq_load(&p.x, a) || fq_load(&p.y, a + 4)) return ZK_ERR_RANGE;
  *r = p;
  return ZK_OK;
}

void g1_store(uint64_t r[8], const g1_affine_t *a) {
  fq_from_mont(r, &a->x);
  fq_from_mont(r + 4, &a->y);
}

int g2_load(g2_affine_t *r, const uint64_t a[16]) {
  g2_affine_t p;
  if (fq_load(&p.x.c0, a) || fq_load(&p.x.c1, a + 4)) return ZK_ERR_RANGE;
  if (fq_load(&p.y.c0, a + 8) || fq_load(&p.y.c1, a + 12)) return ZK_ERR_RANGE;
  *r = p;
  return ZK_OK;
}

void g2_store(uint64_t r[16], const g2_affine_t *a) {
  fq_from_mont(r, &a->x.c0);
  fq_from_mont(r + 4, &a->x.c1);
  fq_from_mont(r + 8, &a->y.c0);
  fq_from_mont(r + 12, &a->y.c1);
}

g1_affine_t g1_generator(void) {
  return (g1_affine_t){fq_one(),
                       {{0xa6ba871b8b1e1b3aULL, 0x14f1d651eb8e167bULL, 0xccdd46def0f28c58ULL,
                         0x1c14ef83340fbe5eULL}}};
}

/* The generator of EIP-197. */
g2_affine_t g2_generator(void) {
  return (g2_affine_t){{{{0x8e83b5d102bc2026ULL, 0xdceb1935497b0172ULL, 0xfbb8264797811adfULL,
                          0x19573841af96503bULL}},
                        {{0xafb4737da84c6140ULL, 0x6043dd5a5802d8c4ULL, 0x09e950fc52a02f86ULL,
                          0x14fef0833aea7b6bULL}}},
                       {{{0x619dfa9d886be9f6ULL, 0xfe7fd297f59e9b78ULL, 0xff9e1a62231b7dfeULL,
                          0x28fd7eebae9e4206ULL}},
                        {{0x64095b56c71856eeULL, 0xdc57f922327d3cbbULL, 0x55f935be33351076ULL,
                          0x0da4a0e693fd6482ULL}}}};
}

/* G1's curve has prime order r: every point is in the group. */
int g1_in_subgroup(const g1_affine_t *a) { return g1_on_curve(a); }

/* psi, the q-power Frobenius carried over to the twist: (x, y) to (conj(x) g^2, conj(y) g^3) with
 * g = xi^((q - 1)/6). It acts on the subgroup of order r as multiplication by q. */
void g2_psi(g2_t *r, const g2_t *a) {
  static const fq2_t gamma2 = {{{0xb5773b104563ab30ULL, 0x347f91c8a9aa6454ULL,
                                 0x7a007127242e0991ULL, 0x1956bcd8118214ecULL}},
                               {{0x6e849f1ea0aa4757ULL, 0xaa1c7b6d89f89141ULL,
                                 0xb6e713cdfae0ca3aULL, 0x26694fbb4e82ebc3ULL}}};
  static const fq2_t gamma3 = {{{0xe4bbdd0c2936b629ULL, 0xbb30f162e133bacbULL,
                                 0x31a9d1b6f9645366ULL, 0x253570bea500f8ddULL}},
                               {{0xa1d77ce45ffe77c7ULL, 0x07affd117826d1dbULL,
                                 0x6d16bd27bb7edc6bULL, 0x2c87200285defeccULL}}};
  fq2_conjugate(&r->x, &a->x);
  fq2_conjugate(&r->y, &a->y);
  fq2_conjugate(&r->z, &a->z);
  fq2_mul(&r->x, &r->x, &gamma2);
  fq2_mul(&r->y, &r->y, &gamma3);
}

/* [x + 1]Q + psi([x]Q) + psi^2([x]Q) = psi^3([2x]Q), x = 4965661367192848881 being the parameter of
 * the curve, holds for the points of order r and no others (El Housni, Guillevic, Piellard,
 * "Co-factor clearing and subgroup membership testing on pairing-friendly curves", 2022). */
int g2_in_subgroup(const g2_affine_t *a) {
  static const uint64_t x[4] = {4965661367192848881ULL, 0, 0, 0};
  if (!g2_on_curve(a)) return 0;
  g2_t q, xq, power, left, right;
  g2_from_affine(&q, a);
  g2_mul(&xq, &q, x);
  g2_add(&left, &q, &xq);
  g2_psi(&power, &xq);
  g2_add(&left, &left, &power);
  g2_psi(&power, &power);
  g2_add(&left, &left, &power);
  g2_psi(&power, &power);
  g2_double(&right, &power);
  return g2_equal(&left, &right);
}
