/* Fq6 and Fq12: see tower.h. Constant time. */
#include "tower.h"

static void fq6_add(fq6_t *r, const fq6_t *a, const fq6_t *b) {
  fq2_add(&r->c0, &a->c0, &b->c0);
  fq2_add(&r->c1, &a->c1, &b->c1);
  fq2_add(&r->c2, &a->c2, &b->c2);
}

static void fq6_sub(fq6_t *r, const fq6_t *a, const fq6_t *b) {
  fq2_sub(&r->c0, &a->c0, &b->c0);
  fq2_sub(&r->c1, &a->c1, &b->c1);
  fq2_sub(&r->c2, &a->c2, &b->c2);
}

static void fq6_neg(fq6_t *r, const fq6_t *a) {
  fq2_neg(&r->c0, &a->c0);
  fq2_neg(&r->c1, &a->c1);
  fq2_neg(&r->c2, &a->c2);
}

/* Multiply by v: (c0, c1, c2) becomes (xi c2, c0, c1). */
static void fq6_mul_v(fq6_t *r, const fq6_t *a) {
  fq2_t low;
  fq2_mul_xi(&low, &a->c2);
  r->c2 = a->c1;
  r->c1 = a->c0;
  r->c0 = low;
}

/* (a_i + a_j)(b_i + b_j) - p - q */
static void fq2_cross(fq2_t *r, const fq2_t *ai, const fq2_t *aj, const fq2_t *bi, const fq2_t *bj,
                      const fq2_t *p, const fq2_t *q) {
  fq2_t sum_a, sum_b;
  fq2_add(&sum_a, ai, aj);
  fq2_add(&sum_b, bi, bj);
  fq2_mul(r, &sum_a, &sum_b);
  fq2_sub(r, r, p);
  fq2_sub(r, r, q);
}

/* Karatsuba with six products. */
static void fq6_mul(fq6_t *r, const fq6_t *a, const fq6_t *b) {
  fq2_t p0, p1, p2, c0, c1, c2;
  fq2_mul(&p0, &a->c0, &b->c0);
  fq2_mul(&p1, &a->c1, &b->c1);
  fq2_mul(&p2, &a->c2, &b->c2);
  fq2_cross(&c0, &a->c1, &a->c2, &b->c1, &b->c2, &p1, &p2);
  fq2_cross(&c1, &a->c0, &a->c1, &b->c0, &b->c1, &p0, &p1);
  fq2_cross(&c2, &a->c0, &a->c2, &b->c0, &b->c2, &p0, &p2);
  fq2_mul_xi(&c0, &c0);
  fq2_add(&r->c0, &c0, &p0);
  fq2_mul_xi(&p2, &p2);
  fq2_add(&r->c1, &c1, &p2);
  fq2_add(&r->c2, &c2, &p1);
}

/* a * (b0 + b1 v): five products. */
static void fq6_mul_01(fq6_t *r, const fq6_t *a, const fq2_t *b0, const fq2_t *b1) {
  fq2_t p0, p1, c0, c1, c2;
  fq2_mul(&p0, &a->c0, b0);
  fq2_mul(&p1, &a->c1, b1);
  fq2_cross(&c1, &a->c0, &a->c1, b0, b1, &p0, &p1);
  fq2_mul(&c0, &a->c2, b1);
  fq2_mul(&c2, &a->c2, b0);
  fq2_mul_xi(&c0, &c0);
  fq2_add(&r->c0, &c0, &p0);
  r->c1 = c1;
  fq2_add(&r->c2, &c2, &p1);
}

static void fq6_mul_fq2(fq6_t *r, const fq6_t *a, const fq2_t *b) {
  fq2_mul(&r->c0, &a->c0, b);
  fq2_mul(&r->c1, &a->c1, b);
  fq2_mul(&r->c2, &a->c2, b);
}

static void fq6_inv(fq6_t *r, const fq6_t *a) {
  fq2_t t0, t1, t2, product, norm;
  fq2_sqr(&t0, &a->c0); /* c0^2 - xi c1 c2 */
  fq2_mul(&product, &a->c1, &a->c2);
  fq2_mul_xi(&product, &product);
  fq2_sub(&t0, &t0, &product);
  fq2_sqr(&t1, &a->c2); /* xi c2^2 - c0 c1 */
  fq2_mul_xi(&t1, &t1);
  fq2_mul(&product, &a->c0, &a->c1);
  fq2_sub(&t1, &t1, &product);
  fq2_sqr(&t2, &a->c1); /* c1^2 - c0 c2 */
  fq2_mul(&product, &a->c0, &a->c2);
  fq2_sub(&t2, &t2, &product);
  fq2_mul(&norm, &a->c2, &t1);
  fq2_mul(&product, &a->c1, &t2);
  fq2_add(&norm, &norm, &product);
  fq2_mul_xi(&norm, &norm);
  fq2_mul(&product, &a->c0, &t0);
  fq2_add(&norm, &norm, &product);
  fq2_inv(&norm, &norm);
  fq2_mul(&r->c0, &t0, &norm);
  fq2_mul(&r->c1, &t1, &norm);
  fq2_mul(&r->c2, &t2, &norm);
}

static fq6_t fq6_zero(void) { return (fq6_t){fq2_zero(), fq2_zero(), fq2_zero()}; }

fq12_t fq12_one(void) {
  fq12_t one = {fq6_zero(), fq6_zero()};
  one.c0.c0 = fq2_one();
  return one;
}

int fq12_is_one(const fq12_t *a) {
  const fq2_t one = fq2_one();
  return fq2_equal(&a->c0.c0, &one) & fq2_is_zero(&a->c0.c1) & fq2_is_zero(&a->c0.c2) &
         fq2_is_zero(&a->c1.c0) & fq2_is_zero(&a->c1.c1) & fq2_is_zero(&a->c1.c2);
}

void fq12_mul(fq12_t *r, const fq12_t *a, const fq12_t *b) {
  fq6_t low, high, sum_a, sum_b;
  fq6_add(&sum_a, &a->c0, &a->c1);
  fq6_add(&sum_b, &b->c0, &b->c1);
  fq6_mul(&low, &a->c0, &b->c0);
  fq6_mul(&high, &a->c1, &b->c1);
  fq6_mul(&sum_a, &sum_a, &sum_b);
  fq6_sub(&sum_a, &sum_a, &low);
  fq6_sub(&r->c1, &sum_a, &high);
  fq6_mul_v(&high, &high);
  fq6_add(&r->c0, &low, &high);
}

/* (a0 + a1)(a0 + v a1) - (1 + v) a0 a1 + 2 a0 a1 w: two products. */
void fq12_sqr(fq12_t *r, const fq12_t *a) {
  fq6_t product, sum, other;
  fq6_mul(&product, &a->c0, &a->c1);
  fq6_add(&sum, &a->c0, &a->c1);
  fq6_mul_v(&other, &a->c1);
  fq6_add(&other, &other, &a->c0);
  fq6_mul(&sum, &sum, &other);
  fq6_sub(&sum, &sum, &product);
  fq6_mul_v(&other, &product);
  fq6_sub(&r->c0, &sum, &other);
  fq6_add(&r->c1, &product, &product);
}

void fq12_inv(fq12_t *r, const fq12_t *a) {
  fq6_t norm, square, zero = fq6_zero();
  fq6_mul(&norm, &a->c0, &a->c0);
  fq6_mul(&square, &a->c1, &a->c1);
  fq6_mul_v(&square, &square);
  fq6_sub(&norm, &norm, &square);
  fq6_inv(&norm, &norm);
  fq6_mul(&r->c0, &a->c0, &norm);
  fq6_sub(&norm, &zero, &norm);
  fq6_mul(&r->c1, &a->c1, &norm);
}

void fq12_conjugate(fq12_t *r, const fq12_t *a) {
  r->c0 = a->c0;
  fq6_neg(&r->c1, &a->c1);
}

/* xi^(i (q - 1) / 6) for i = 1..5 */
static const fq2_t FROBENIUS_1[5] = {
    {{{0xaf9ba69633144907ULL, 0xca6b1d7387afb78aULL, 0x11bded5ef08a2087ULL, 0x02f34d751a1f3a7cULL}},
     {{0xa222ae234c492d72ULL, 0xd00f02a4565de15bULL, 0xdc2ff3a253dfc926ULL,
       0x10a75716b3899551ULL}}},
    {{{0xb5773b104563ab30ULL, 0x347f91c8a9aa6454ULL, 0x7a007127242e0991ULL, 0x1956bcd8118214ecULL}},
     {{0x6e849f1ea0aa4757ULL, 0xaa1c7b6d89f89141ULL, 0xb6e713cdfae0ca3aULL,
       0x26694fbb4e82ebc3ULL}}},
    {{{0xe4bbdd0c2936b629ULL, 0xbb30f162e133bacbULL, 0x31a9d1b6f9645366ULL, 0x253570bea500f8ddULL}},
     {{0xa1d77ce45ffe77c7ULL, 0x07affd117826d1dbULL, 0x6d16bd27bb7edc6bULL,
       0x2c87200285defeccULL}}},
    {{{0x7361d77f843abe92ULL, 0xa5bb2bd3273411fbULL, 0x9c941f314b3e2399ULL, 0x15df9cddbb9fd3ecULL}},
     {{0x5dddfd154bd8c949ULL, 0x62cb29a5a4445b60ULL, 0x37bc870a0c7dd2b9ULL,
       0x24830a9d3171f0fdULL}}},
    {{{0xc970692f41690fe7ULL, 0xe240342127694b0bULL, 0x32bee66b83c459e8ULL, 0x12aabced0ab08841ULL}},
     {{0x0d485d2340aebfa9ULL, 0x05193418ab2fcc57ULL, 0xd3b0a40b8a4910f5ULL,
       0x2f21ebb535d2925aULL}}}};

/* xi^(i (q^2 - 1) / 6) for i = 1..5, all in Fq */
static const fq_t FROBENIUS_2[5] = {
    {{0xca8d800500fa1bf2ULL, 0xf0c5d61468b39769ULL, 0x0e201271ad0d4418ULL, 0x04290f65bad856e6ULL}},
    {{0x3350c88e13e80b9cULL, 0x7dce557cdb5e56b9ULL, 0x6001b4b8b615564aULL, 0x2682e617020217e0ULL}},
    {{0x68c3488912edefaaULL, 0x8d087f6872aabf4fULL, 0x51e1a24709081231ULL, 0x2259d6b14729c0faULL}},
    {{0x71930c11d782e155ULL, 0xa6bb947cffbe3323ULL, 0xaa303344d4741444ULL, 0x2c3b3f0d26594943ULL}},
    {{0x08cfc388c494f1abULL, 0x19b315148d1373d4ULL, 0x584e90fdcb6c0213ULL, 0x09e1685bdf2f8849ULL}}};

static void frobenius_1(fq12_t *r, const fq12_t *a) {
  fq2_conjugate(&r->c0.c0, &a->c0.c0);
  fq2_conjugate(&r->c1.c0, &a->c1.c0);
  fq2_conjugate(&r->c0.c1, &a->c0.c1);
  fq2_conjugate(&r->c1.c1, &a->c1.c1);
  fq2_conjugate(&r->c0.c2, &a->c0.c2);
  fq2_conjugate(&r->c1.c2, &a->c1.c2);
  fq2_mul(&r->c1.c0, &r->c1.c0, &FROBENIUS_1[0]);
  fq2_mul(&r->c0.c1, &r->c0.c1, &FROBENIUS_1[1]);
  fq2_mul(&r->c1.c1, &r->c1.c1, &FROBENIUS_1[2]);
  fq2_mul(&r->c0.c2, &r->c0.c2, &FROBENIUS_1[3]);
  fq2_mul(&r->c1.c2, &r->c1.c2, &FROBENIUS_1[4]);
}

static void frobenius_2(fq12_t *r, const fq12_t *a) {
  r->c0.c0 = a->c0.c0;
  fq2_mul_fq(&r->c1.c0, &a->c1.c0, &FROBENIUS_2[0]);
  fq2_mul_fq(&r->c0.c1, &a->c0.c1, &FROBENIUS_2[1]);
  fq2_mul_fq(&r->c1.c1, &a->c1.c1, &FROBENIUS_2[2]);
  fq2_mul_fq(&r->c0.c2, &a->c0.c2, &FROBENIUS_2[3]);
  fq2_mul_fq(&r->c1.c2, &a->c1.c2, &FROBENIUS_2[4]);
}

void fq12_frobenius(fq12_t *r, const fq12_t *a, int power) {
  const fq12_t *source = a;
  if (power & 2) {
    frobenius_2(r, source);
    source = r;
  }
  if (power & 1) frobenius_1(r, source);
}

/* The square of z0 + z1 y with y^2 = xi: (z0^2 + xi z1^2, 2 z0 z1). */
static void fq4_sqr(fq2_t *r0, fq2_t *r1, const fq2_t *z0, const fq2_t *z1) {
  fq2_t product, sum, other;
  fq2_mul(&product, z0, z1);
  fq2_add(&sum, z0, z1);
  fq2_mul_xi(&other, z1);
  fq2_add(&other, &other, z0);
  fq2_mul(&sum, &sum, &other);
  fq2_sub(&sum, &sum, &product);
  fq2_mul_xi(&other, &product);
  fq2_sub(r0, &sum, &other);
  fq2_double(r1, &product);
}

/* 3 t - 2 z */
static void triple_less_double(fq2_t *r, const fq2_t *t, const fq2_t *z) {
  fq2_t difference;
  fq2_sub(&difference, t, z);
  fq2_double(&difference, &difference);
  fq2_add(r, &difference, t);
}

/* 3 t + 2 z */
static void triple_plus_double(fq2_t *r, const fq2_t *t, const fq2_t *z) {
  fq2_t sum;
  fq2_add(&sum, t, z);
  fq2_double(&sum, &sum);
  fq2_add(r, &sum, t);
}

/* Granger and Scott, "Faster squaring in the cyclotomic subgroup of sixth degree extensions". */
void fq12_cyclotomic_sqr(fq12_t *r, const fq12_t *a) {
  fq2_t t0, t1, t2, t3, t4, t5;
  fq4_sqr(&t0, &t1, &a->c0.c0, &a->c1.c1);
  fq4_sqr(&t2, &t3, &a->c1.c0, &a->c0.c2);
  fq4_sqr(&t4, &t5, &a->c0.c1, &a->c1.c2);
  fq2_mul_xi(&t5, &t5);
  triple_less_double(&r->c0.c0, &t0, &a->c0.c0);
  triple_less_double(&r->c0.c1, &t2, &a->c0.c1);
  triple_less_double(&r->c0.c2, &t4, &a->c0.c2);
  triple_plus_double(&r->c1.c0, &t5, &a->c1.c0);
  triple_plus_double(&r->c1.c1, &t1, &a->c1.c1);
  triple_plus_double(&r->c1.c2, &t3, &a->c1.c2);
}

/* With c1' = l1 + l3 v: (c0 l0 + v c1 c1', (c0 + c1)(l0 + c1') - c0 l0 - c1 c1'). */
void fq12_mul_line(fq12_t *r, const fq2_t *l0, const fq2_t *l1, const fq2_t *l3) {
  fq6_t low, high, sum;
  fq2_t l01;
  fq6_mul_fq2(&low, &r->c0, l0);
  fq6_mul_01(&high, &r->c1, l1, l3);
  fq6_add(&sum, &r->c0, &r->c1);
  fq2_add(&l01, l0, l1);
  fq6_mul_01(&sum, &sum, &l01, l3);
  fq6_sub(&sum, &sum, &low);
  fq6_sub(&r->c1, &sum, &high);
  fq6_mul_v(&high, &high);
  fq6_add(&r->c0, &low, &high);
}
