/* The extension fields of BN254: Fq2 = Fq[u]/(u^2 + 1), Fq6 = Fq2[v]/(v^3 - (9 + u)),
 * Fq12 = Fq6[w]/(w^2 - v). Results may alias operands. Constant time, but for inversion of zero. */
#ifndef ZK_TOWER_H
#define ZK_TOWER_H

#include "field.h"

typedef struct {
  fq_t c0, c1;
} fq2_t;

typedef struct {
  fq2_t c0, c1, c2;
} fq6_t;

typedef struct {
  fq6_t c0, c1;
} fq12_t;

static inline int fq2_is_zero(const fq2_t *a) { return fq_is_zero(&a->c0) & fq_is_zero(&a->c1); }

static inline int fq2_equal(const fq2_t *a, const fq2_t *b) {
  return fq_equal(&a->c0, &b->c0) & fq_equal(&a->c1, &b->c1);
}

static inline fq2_t fq2_zero(void) { return (fq2_t){fq_zero(), fq_zero()}; }

static inline fq2_t fq2_one(void) { return (fq2_t){fq_one(), fq_zero()}; }

static inline void fq2_add(fq2_t *r, const fq2_t *a, const fq2_t *b) {
  fq_add(&r->c0, &a->c0, &b->c0);
  fq_add(&r->c1, &a->c1, &b->c1);
}

static inline void fq2_double(fq2_t *r, const fq2_t *a) { fq2_add(r, a, a); }

static inline void fq2_sub(fq2_t *r, const fq2_t *a, const fq2_t *b) {
  fq_sub(&r->c0, &a->c0, &b->c0);
  fq_sub(&r->c1, &a->c1, &b->c1);
}

static inline void fq2_neg(fq2_t *r, const fq2_t *a) {
  fq_neg(&r->c0, &a->c0);
  fq_neg(&r->c1, &a->c1);
}

static inline void fq2_conjugate(fq2_t *r, const fq2_t *a) {
  r->c0 = a->c0;
  fq_neg(&r->c1, &a->c1);
}

/* Karatsuba: three products. */
static inline void fq2_mul(fq2_t *r, const fq2_t *a, const fq2_t *b) {
  fq_t low, high, sum_a, sum_b;
  fq_add(&sum_a, &a->c0, &a->c1);
  fq_add(&sum_b, &b->c0, &b->c1);
  fq_mul(&low, &a->c0, &b->c0);
  fq_mul(&high, &a->c1, &b->c1);
  fq_mul(&sum_a, &sum_a, &sum_b);
  fq_sub(&r->c0, &low, &high);
  fq_add(&low, &low, &high);
  fq_sub(&r->c1, &sum_a, &low);
}

/* (a0 + a1)(a0 - a1) + 2 a0 a1 u: two products. */
static inline void fq2_sqr(fq2_t *r, const fq2_t *a) {
  fq_t sum, difference, product;
  fq_add(&sum, &a->c0, &a->c1);
  fq_sub(&difference, &a->c0, &a->c1);
  fq_mul(&product, &a->c0, &a->c1);
  fq_mul(&r->c0, &sum, &difference);
  fq_double(&r->c1, &product);
}

static inline void fq2_mul_fq(fq2_t *r, const fq2_t *a, const fq_t *b) {
  fq_mul(&r->c0, &a->c0, b);
  fq_mul(&r->c1, &a->c1, b);
}

/* Multiply by the non-residue 9 + u. */
static inline void fq2_mul_xi(fq2_t *r, const fq2_t *a) {
  fq_t nine0, nine1;
  fq_double(&nine0, &a->c0);
  fq_double(&nine0, &nine0);
  fq_double(&nine0, &nine0);
  fq_add(&nine0, &nine0, &a->c0);
  fq_double(&nine1, &a->c1);
  fq_double(&nine1, &nine1);
  fq_double(&nine1, &nine1);
  fq_add(&nine1, &nine1, &a->c1);
  fq_sub(&nine0, &nine0, &a->c1);
  fq_add(&r->c1, &nine1, &a->c0);
  r->c0 = nine0;
}

/* 1/a; 1/0 gives 0. */
static inline void fq2_inv(fq2_t *r, const fq2_t *a) {
  fq_t norm, square;
  fq_sqr(&norm, &a->c0);
  fq_sqr(&square, &a->c1);
  fq_add(&norm, &norm, &square);
  fq_inv(&norm, &norm);
  fq_mul(&r->c0, &a->c0, &norm);
  fq_neg(&norm, &norm);
  fq_mul(&r->c1, &a->c1, &norm);
}

/* Replace a[0..n) by inverses with one inversion; zeros stay zero. `scratch` holds n elements. */
static inline void fq2_batch_inv(fq2_t *a, fq2_t *scratch, size_t n) {
  fq2_t acc = fq2_one();
  for (size_t i = 0; i < n; i++) {
    scratch[i] = acc;
    if (!fq2_is_zero(&a[i])) fq2_mul(&acc, &acc, &a[i]);
  }
  fq2_inv(&acc, &acc);
  for (size_t i = n; i-- > 0;) {
    if (fq2_is_zero(&a[i])) continue;
    fq2_t inverse;
    fq2_mul(&inverse, &acc, &scratch[i]);
    fq2_mul(&acc, &acc, &a[i]);
    a[i] = inverse;
  }
}

#define fq12_mul ZK_NAME(fq12_mul)
#define fq12_sqr ZK_NAME(fq12_sqr)
#define fq12_inv ZK_NAME(fq12_inv)
#define fq12_conjugate ZK_NAME(fq12_conjugate)
#define fq12_frobenius ZK_NAME(fq12_frobenius)
#define fq12_cyclotomic_sqr ZK_NAME(fq12_cyclotomic_sqr)
#define fq12_mul_line ZK_NAME(fq12_mul_line)
#define fq12_is_one ZK_NAME(fq12_is_one)
#define fq12_one ZK_NAME(fq12_one)

fq12_t fq12_one(void);
int fq12_is_one(const fq12_t *a);
void fq12_mul(fq12_t *r, const fq12_t *a, const fq12_t *b);
void fq12_sqr(fq12_t *r, const fq12_t *a);
void fq12_inv(fq12_t *r, const fq12_t *a);
void fq12_conjugate(fq12_t *r, const fq12_t *a);

/* a^(q^power) for power 1, 2 or 3. */
void fq12_frobenius(fq12_t *r, const fq12_t *a, int power);

/* a^2 for an a of the cyclotomic subgroup (after the easy part of the final exponentiation). */
void fq12_cyclotomic_sqr(fq12_t *r, const fq12_t *a);

/* r *= l0 + l1 w + l3 w^3, the shape of a pairing's line. */
void fq12_mul_line(fq12_t *r, const fq2_t *l0, const fq2_t *l1, const fq2_t *l3);

#endif
