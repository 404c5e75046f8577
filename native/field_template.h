/* One prime field of four 64-bit limbs in Montgomery form (R = 2^256): included once per field by
 * field.h with F(name), F_TYPE, F_CONST(name) and F_NEG_INV defined. Values are always canonical.
 *
 * Every function may be called with its result aliasing its operands.
 */

typedef struct {
  uint64_t l[4];
} F_TYPE;

static inline int F(is_zero)(const F_TYPE *a) { return limbs_is_zero(a->l); }

static inline int F(equal)(const F_TYPE *a, const F_TYPE *b) { return limbs_equal(a->l, b->l); }

static inline F_TYPE F(zero)(void) { return (F_TYPE){{0, 0, 0, 0}}; }

static inline F_TYPE F(one)(void) {
  return (F_TYPE){{F_CONST(ONE)[0], F_CONST(ONE)[1], F_CONST(ONE)[2], F_CONST(ONE)[3]}};
}

static inline void F(add)(F_TYPE *r, const F_TYPE *a, const F_TYPE *b) {
  mont_add(r->l, a->l, b->l, F_CONST(MODULUS));
}

static inline void F(double)(F_TYPE *r, const F_TYPE *a) {
  mont_add(r->l, a->l, a->l, F_CONST(MODULUS));
}

static inline void F(sub)(F_TYPE *r, const F_TYPE *a, const F_TYPE *b) {
  mont_sub(r->l, a->l, b->l, F_CONST(MODULUS));
}

static inline void F(neg)(F_TYPE *r, const F_TYPE *a) {
  const uint64_t zero[4] = {0, 0, 0, 0};
  mont_sub(r->l, zero, a->l, F_CONST(MODULUS));
}

static inline void F(mul)(F_TYPE *r, const F_TYPE *a, const F_TYPE *b) {
  mont_mul(r->l, a->l, b->l, F_CONST(MODULUS), F_NEG_INV);
}

static inline void F(sqr)(F_TYPE *r, const F_TYPE *a) {
  mont_mul(r->l, a->l, a->l, F_CONST(MODULUS), F_NEG_INV);
}

/* Whether standard-form limbs are below the modulus. */
static inline int F(is_canonical)(const uint64_t a[4]) { return limbs_less(a, F_CONST(MODULUS)); }

/* Standard form to Montgomery form; `a` must be below the modulus. */
static inline void F(to_mont)(F_TYPE *r, const uint64_t a[4]) {
  mont_mul(r->l, a, F_CONST(R2), F_CONST(MODULUS), F_NEG_INV);
}

/* Montgomery form to standard form. */
static inline void F(from_mont)(uint64_t r[4], const F_TYPE *a) {
  const uint64_t one[4] = {1, 0, 0, 0};
  mont_mul(r, a->l, one, F_CONST(MODULUS), F_NEG_INV);
}

/* Checked to_mont: ZK_ERR_RANGE, and r untouched, if `a` is not canonical. */
static inline int F(load)(F_TYPE *r, const uint64_t a[4]) {
  if (!F(is_canonical)(a)) return ZK_ERR_RANGE;
  F(to_mont)(r, a);
  return ZK_OK;
}

static inline void F(from_u64)(F_TYPE *r, uint64_t v) {
  const uint64_t a[4] = {v, 0, 0, 0};
  F(to_mont)(r, a);
}

/* v mod p for a signed v: negative values become p - |v|. */
static inline void F(from_i64)(F_TYPE *r, int64_t v) {
  F(from_u64)(r, v < 0 ? (uint64_t)0 - (uint64_t)v : (uint64_t)v);
  if (v < 0) F(neg)(r, r);
}

/* a^e for a public exponent of n limbs. */
static inline void F(pow)(F_TYPE *r, const F_TYPE *a, const uint64_t *e, size_t n) {
  F_TYPE base = *a, acc = F(one)();
  for (size_t i = n * 64; i-- > 0;) {
    F(sqr)(&acc, &acc);
    if ((e[i / 64] >> (i % 64)) & 1) F(mul)(&acc, &acc, &base);
  }
  *r = acc;
}

/* 1/a; 1/0 gives 0. (aR)^-1 R^2 = a^-1 R. */
static inline void F(inv)(F_TYPE *r, const F_TYPE *a) {
  limbs_invert(r->l, a->l, F_CONST(R2), F_CONST(MODULUS), F_NEG_INV);
}

/* Replace a[0..n) by inverses with one inversion (Montgomery's trick); zeros stay zero.
 * `scratch` holds n elements. */
static inline void F(batch_inv)(F_TYPE *a, F_TYPE *scratch, size_t n) {
  F_TYPE acc = F(one)();
  for (size_t i = 0; i < n; i++) {
    scratch[i] = acc;
    if (!F(is_zero)(&a[i])) F(mul)(&acc, &acc, &a[i]);
  }
  F(inv)(&acc, &acc);
  for (size_t i = n; i-- > 0;) {
    if (F(is_zero)(&a[i])) continue;
    F_TYPE inverse;
    F(mul)(&inverse, &acc, &scratch[i]);
    F(mul)(&acc, &acc, &a[i]);
    a[i] = inverse;
  }
}

#undef F
#undef F_TYPE
#undef F_CONST
#undef F_NEG_INV
