/* Optimal ate pairing (Vercauteren, 2010) with the line functions of Aranha et al. ("Faster
 * explicit formulas for computing pairings over ordinary curves", 2011) and the final
 * exponentiation of Fuentes-Castaneda et al. ("Faster hashing to G2", 2011); Groth16's verification
 * equation. Public data only.
 */
#include "pairing.h"

#include <stdlib.h>
#include <string.h>

/* x = 4965661367192848881 and 6x + 2 in non-adjacent form, lowest digit first. */
enum { X_DIGITS = 63, LOOP_DIGITS = 66, MAX_PAIRS = 8 };
static const int8_t X_NAF[X_DIGITS] = {1, 0, 0, 0, -1, 0,  0,  0, 0,  1, 0, 1, 0, 0, 0, 0,
                                       1, 0, 0, 1, 0,  -1, 0,  1, 0,  1, 0, 1, 0, 0, 1, 0,
                                       0, 0, 1, 0, -1, 0,  -1, 0, -1, 0, 1, 0, 1, 0, 0, -1,
                                       0, 1, 0, 1, 0,  -1, 0,  0, 1,  0, 1, 0, 0, 0, 1};
static const int8_t LOOP_NAF[LOOP_DIGITS] = {
    0,  0, 0, 1,  0, 1, 0, -1, 0,  0, -1, 0,  0, 0,  1, 0, 0, -1, 0, -1, 0, 0,
    0,  1, 0, -1, 0, 0, 0, 0,  -1, 0, 0,  1,  0, -1, 0, 0, 1, 0,  0, 0,  0, 0,
    -1, 0, 0, -1, 0, 1, 0, -1, 0,  0, 0,  -1, 0, -1, 0, 0, 0, 1,  0, -1, 0, 1};

/* 1/2 in Fq and the twist's b = 3/(9 + u) */
static const fq_t HALF = {
    {0x87bee7d24f060572ULL, 0xd0fd2add2f1c6ae5ULL, 0x8f5f7492fcfd4f44ULL, 0x1f37631a3d9cbfacULL}};
static const fq2_t TWIST_B = {
    {{0x3bf938e377b802a8ULL, 0x020b1b273633535dULL, 0x26b7edf049755260ULL, 0x2514c6324384a86dULL}},
    {{0x38e7ecccd1dcff67ULL, 0x65f0b37d93ce0d3eULL, 0xd749d0dd22ac00aaULL, 0x0141b9ce4a688d4dULL}}};

/* Homogeneous projective coordinates on the twist. */
typedef struct {
  fq2_t x, y, z;
} projective_t;

/* One pair of the product: p, q and the running point t. */
typedef struct {
  g1_affine_t p;
  g2_affine_t q, q_neg;
  projective_t t;
} pair_t;

/* f *= l0 y_p + l1 x_p w + l3 w^3 */
static void apply_line(fq12_t *f, const g1_affine_t *p, fq2_t *l0, fq2_t *l1, const fq2_t *l3) {
  fq2_mul_fq(l0, l0, &p->y);
  fq2_mul_fq(l1, l1, &p->x);
  fq12_mul_line(f, l0, l1, l3);
}

/* t = 2t; f takes the tangent's line. */
static void double_step(fq12_t *f, pair_t *pair) {
  projective_t *t = &pair->t;
  fq2_t a, b, c, e, e3, g, h, i, j;
  fq2_mul(&a, &t->x, &t->y);
  fq2_mul_fq(&a, &a, &HALF);
  fq2_sqr(&b, &t->y);
  fq2_sqr(&c, &t->z);
  fq2_double(&e, &c);
  fq2_add(&e, &e, &c);
  fq2_mul(&e, &e, &TWIST_B);
  fq2_double(&e3, &e);
  fq2_add(&e3, &e3, &e);
  fq2_add(&g, &b, &e3);
  fq2_mul_fq(&g, &g, &HALF);
  fq2_add(&h, &t->y, &t->z);
  fq2_sqr(&h, &h);
  fq2_sub(&h, &h, &b);
  fq2_sub(&h, &h, &c);
  fq2_sub(&i, &e, &b);
  fq2_sqr(&j, &t->x);
  fq2_sqr(&c, &e);
  fq2_sub(&e3, &b, &e3);
  fq2_mul(&t->x, &a, &e3);
  fq2_sqr(&t->y, &g);
  fq2_double(&e, &c);
  fq2_add(&e, &e, &c);
  fq2_sub(&t->y, &t->y, &e);
  fq2_mul(&t->z, &b, &h);
  fq2_neg(&h, &h);
  fq2_double(&c, &j);
  fq2_add(&c, &c, &j);
  apply_line(f, &pair->p, &h, &c, &i);
}

/* t = t + q; f takes the chord's line. */
static void add_step(fq12_t *f, pair_t *pair, const g2_affine_t *q) {
  projective_t *t = &pair->t;
  fq2_t theta, lambda, c, d, e, g, h, j;
  fq2_mul(&theta, &q->y, &t->z);
  fq2_sub(&theta, &t->y, &theta);
  fq2_mul(&lambda, &q->x, &t->z);
  fq2_sub(&lambda, &t->x, &lambda);
  fq2_sqr(&c, &theta);
  fq2_sqr(&d, &lambda);
  fq2_mul(&e, &lambda, &d);
  fq2_mul(&c, &c, &t->z);
  fq2_mul(&g, &t->x, &d);
  fq2_add(&h, &e, &c);
  fq2_sub(&h, &h, &g);
  fq2_sub(&h, &h, &g);
  fq2_mul(&t->x, &lambda, &h);
  fq2_sub(&g, &g, &h);
  fq2_mul(&g, &g, &theta);
  fq2_mul(&t->y, &t->y, &e);
  fq2_sub(&t->y, &g, &t->y);
  fq2_mul(&t->z, &t->z, &e);
  fq2_mul(&j, &theta, &q->x);
  fq2_mul(&d, &lambda, &q->y);
  fq2_sub(&j, &j, &d);
  fq2_neg(&theta, &theta);
  apply_line(f, &pair->p, &lambda, &theta, &j);
}

/* The last two lines: through psi(q) and -psi^2(q). */
static void frobenius_steps(fq12_t *f, pair_t *pair) {
  g2_t power;
  g2_affine_t image;
  g2_from_affine(&power, &pair->q);
  g2_psi(&power, &power); /* z stays 1 */
  image = (g2_affine_t){power.x, power.y};
  add_step(f, pair, &image);
  g2_psi(&power, &power);
  image = (g2_affine_t){power.x, power.y};
  g2_affine_neg(&image, &image);
  add_step(f, pair, &image);
}

/* The Miller loops of up to MAX_PAIRS pairs, sharing their squarings. */
static void miller_loop(fq12_t *f, const g1_affine_t *p, const g2_affine_t *q, size_t n) {
  pair_t pairs[MAX_PAIRS];
  size_t used = 0;
  for (size_t i = 0; i < n; i++) {
    if (g1_affine_is_infinity(&p[i]) || g2_affine_is_infinity(&q[i])) continue;
    pair_t *pair = &pairs[used++];
    pair->p = p[i];
    pair->q = q[i];
    g2_affine_neg(&pair->q_neg, &q[i]);
    pair->t = (projective_t){q[i].x, q[i].y, fq2_one()};
  }
  *f = fq12_one();
  for (int k = LOOP_DIGITS - 1; k-- > 0;) {
    fq12_sqr(f, f);
    for (size_t i = 0; i < used; i++) {
      double_step(f, &pairs[i]);
      if (LOOP_NAF[k]) add_step(f, &pairs[i], LOOP_NAF[k] > 0 ? &pairs[i].q : &pairs[i].q_neg);
    }
  }
  for (size_t i = 0; i < used; i++) frobenius_steps(f, &pairs[i]);
}

/* a^-x in the cyclotomic subgroup, where the inverse is the conjugate. */
static void power_minus_x(fq12_t *r, const fq12_t *a) {
  fq12_t inverse, acc = *a;
  fq12_conjugate(&inverse, a);
  for (int k = X_DIGITS - 1; k-- > 0;) {
    fq12_cyclotomic_sqr(&acc, &acc);
    if (X_NAF[k]) fq12_mul(&acc, &acc, X_NAF[k] > 0 ? a : &inverse);
  }
  fq12_conjugate(r, &acc);
}

/* f^(2x(6x^2 + 3x + 1) (q^12 - 1) / r) */
static void final_exponentiation(fq12_t *f) {
  fq12_t y0, y1, y3, y4, y6, y8, y9, t;
  fq12_conjugate(&y0, f);
  fq12_inv(&y1, f);
  fq12_mul(&t, &y0, &y1); /* f^(q^6 - 1) */
  fq12_frobenius(&y0, &t, 2);
  fq12_mul(f, &y0, &t); /* ^(q^2 + 1): in the cyclotomic subgroup now */

  power_minus_x(&y0, f);
  fq12_cyclotomic_sqr(&y1, &y0);
  fq12_cyclotomic_sqr(&y3, &y1);
  fq12_mul(&y3, &y3, &y1);
  power_minus_x(&y4, &y3);
  fq12_cyclotomic_sqr(&y6, &y4);
  power_minus_x(&y6, &y6);
  fq12_conjugate(&y3, &y3);
  fq12_conjugate(&y6, &y6);
  fq12_mul(&y8, &y6, &y4);
  fq12_mul(&y8, &y8, &y3);
  fq12_mul(&y9, &y8, &y1);
  fq12_mul(&t, &y8, &y4);
  fq12_mul(&t, &t, f);
  fq12_frobenius(&y0, &y9, 1);
  fq12_mul(&t, &t, &y0);
  fq12_frobenius(&y0, &y8, 2);
  fq12_mul(&t, &t, &y0);
  fq12_conjugate(f, f);
  fq12_mul(&y0, f, &y9);
  fq12_frobenius(&y0, &y0, 3);
  fq12_mul(f, &t, &y0);
}

void pairing_product(fq12_t *r, const g1_affine_t *p, const g2_affine_t *q, size_t n) {
  fq12_t product = fq12_one(), part;
  for (size_t begin = 0; begin < n; begin += MAX_PAIRS) {
    miller_loop(&part, p + begin, q + begin, n - begin < MAX_PAIRS ? n - begin : MAX_PAIRS);
    fq12_mul(&product, &product, &part);
  }
  final_exponentiation(&product);
  *r = product;
}

int groth16_check(const groth16_key_t *key, const g1_affine_t *inputs,
                  const groth16_proof_t *proof) {
  g1_affine_t p[4] = {proof->a, key->alpha, *inputs, proof->c};
  const g2_affine_t q[4] = {proof->b, key->beta, key->gamma, key->delta};
  fq12_t product;
  g1_affine_neg(&p[0], &p[0]);
  pairing_product(&product, p, q, 4);
  return fq12_is_one(&product) ? ZK_OK : ZK_ERR_EQUATION;
}

/* --- public functions --- */

static int load_g1(g1_affine_t *r, const uint64_t a[8], int infinity_allowed) {
  if (g1_load(r, a)) return ZK_ERR_RANGE;
  if (!infinity_allowed && g1_affine_is_infinity(r)) return ZK_ERR_INFINITY;
  return g1_on_curve(r) ? ZK_OK : ZK_ERR_CURVE;
}

static int load_g2(g2_affine_t *r, const uint64_t a[16], int infinity_allowed) {
  if (g2_load(r, a)) return ZK_ERR_RANGE;
  if (!infinity_allowed && g2_affine_is_infinity(r)) return ZK_ERR_INFINITY;
  if (!g2_on_curve(r)) return ZK_ERR_CURVE;
  return g2_in_subgroup(r) ? ZK_OK : ZK_ERR_SUBGROUP;
}

/* out = the product of n pairings, as the coefficients of w^0..w^11 with w^12 = 18 w^6 - 82, four
 * limbs each; infinity is allowed. */
int ZK_NAME(zk_pairing)(uint64_t *out, const uint64_t *p, const uint64_t *q, size_t n) {
  if (n > 1024) return ZK_ERR_ARGUMENT;
  g1_affine_t *ps = malloc((n + 1) * sizeof *ps);
  g2_affine_t *qs = malloc((n + 1) * sizeof *qs);
  int status = ps && qs ? ZK_OK : ZK_ERR_MEMORY;
  for (size_t i = 0; i < n && !status; i++) {
    status = load_g1(&ps[i], p + 8 * i, 1);
    if (!status) status = load_g2(&qs[i], q + 16 * i, 1);
  }
  if (!status) {
    fq12_t product;
    pairing_product(&product, ps, qs, n);
    const fq2_t *powers[6] = {&product.c0.c0, &product.c1.c0, &product.c0.c1,
                              &product.c1.c1, &product.c0.c2, &product.c1.c2};
    for (int i = 0; i < 6; i++) { /* a + b u = (a - 9b) + b w^6 */
      fq_t nine, low;
      fq_from_u64(&nine, 9);
      fq_mul(&low, &powers[i]->c1, &nine);
      fq_sub(&low, &powers[i]->c0, &low);
      fq_from_mont(out + 4 * i, &low);
      fq_from_mont(out + 4 * (i + 6), &powers[i]->c1);
    }
  }
  free(ps);
  free(qs);
  return status;
}

/* What *where counts in zk_groth16_verify; then the n + 1 points of ic, then the n inputs. */
enum { AT_ALPHA, AT_BETA, AT_GAMMA, AT_DELTA, AT_A, AT_B, AT_C, AT_IC };

static int load_key(groth16_key_t *key, const uint64_t *alpha, const uint64_t *beta,
                    const uint64_t *gamma, const uint64_t *delta, size_t *where) {
  int status;
  *where = AT_ALPHA;
  if ((status = load_g1(&key->alpha, alpha, 0))) return status;
  *where = AT_BETA;
  if ((status = load_g2(&key->beta, beta, 0))) return status;
  *where = AT_GAMMA;
  if ((status = load_g2(&key->gamma, gamma, 0))) return status;
  *where = AT_DELTA;
  if ((status = load_g2(&key->delta, delta, 0))) return status;
  /* Equal up to sign: a C shifted by points of ic would then prove any inputs. */
  return fq2_equal(&key->gamma.x, &key->delta.x) ? ZK_ERR_EQUAL : ZK_OK;
}

static int load_proof(groth16_proof_t *proof, const uint64_t *a, const uint64_t *b,
                      const uint64_t *c, size_t *where) {
  int status;
  *where = AT_A;
  if ((status = load_g1(&proof->a, a, 0))) return status;
  *where = AT_B;
  if ((status = load_g2(&proof->b, b, 0))) return status;
  *where = AT_C;
  return load_g1(&proof->c, c, 0);
}

/* inputs = ic[0] + sum of x[i] ic[i + 1]; `points` has room for n + 1. */
static int combine_inputs(g1_affine_t *inputs, g1_affine_t *points, const uint64_t *ic,
                          const uint64_t *x, size_t n, size_t *where) {
  int status;
  for (size_t i = 0; i <= n; i++) {
    *where = AT_IC + i;
    if ((status = load_g1(&points[i], ic + 8 * i, 0))) return status;
  }
  for (size_t i = 0; i < n; i++) {
    *where = AT_IC + n + 1 + i;
    if (!fr_is_canonical(x + 4 * i)) return ZK_ERR_RANGE;
  }
  g1_t sum;
  if ((status = g1_msm(&sum, points + 1, x, n))) return status;
  g1_add_mixed(&sum, &sum, &points[0]);
  g1_to_affine(inputs, &sum);
  return ZK_OK;
}

/* Check one proof. Every point is checked first: canonical, on its curve, in its subgroup and not
 * infinity; gamma is not plus or minus delta; every input is below r. On a fault, *where says which
 * value has it. */
int ZK_NAME(zk_groth16_verify)(const uint64_t *alpha, const uint64_t *beta, const uint64_t *gamma,
                               const uint64_t *delta, const uint64_t *ic, const uint64_t *x,
                               size_t n, const uint64_t *a, const uint64_t *b, const uint64_t *c,
                               size_t *where) {
  groth16_key_t key;
  groth16_proof_t proof;
  g1_affine_t inputs;
  if (n > 1 << 24) return ZK_ERR_ARGUMENT;
  g1_affine_t *points = malloc((n + 1) * sizeof *points);
  if (!points) return ZK_ERR_MEMORY;
  int status = load_key(&key, alpha, beta, gamma, delta, where);
  if (!status) status = load_proof(&proof, a, b, c, where);
  if (!status) status = combine_inputs(&inputs, points, ic, x, n, where);
  if (!status) {
    *where = 0;
    status = groth16_check(&key, &inputs, &proof);
  }
  free(points);
  return status;
}
