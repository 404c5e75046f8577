/* One group y^2 = x^3 + b in affine and Jacobian coordinates: included by curve.c for G1 and G2.
 *
 * Needs G(name), its types G_T and G_AFFINE, its coordinate field E(name), E_T, and `curve_b()`,
 * the curve's constant b. Formulas: dbl-2009-l, add-2007-bl and madd-2007-bl of the
 * Explicit-Formulas Database (Bernstein and Lange), completed by hand for the exceptional cases.
 */

G_T G(infinity)(void) { return (G_T){E(one)(), E(one)(), E(zero)()}; }

int G(is_infinity)(const G_T *a) { return E(is_zero)(&a->z); }

int G(affine_is_infinity)(const G_AFFINE *a) { return E(is_zero)(&a->x) && E(is_zero)(&a->y); }

void G(from_affine)(G_T *r, const G_AFFINE *a) {
  if (G(affine_is_infinity)(a)) {
    *r = G(infinity)();
    return;
  }
  *r = (G_T){a->x, a->y, E(one)()};
}

/* x1 z2^2 = x2 z1^2 and y1 z2^3 = y2 z1^3. */
int G(equal)(const G_T *a, const G_T *b) {
  if (G(is_infinity)(a) || G(is_infinity)(b)) return G(is_infinity)(a) && G(is_infinity)(b);
  E_T z1z1, z2z2, left, right;
  E(sqr)(&z1z1, &a->z);
  E(sqr)(&z2z2, &b->z);
  E(mul)(&left, &a->x, &z2z2);
  E(mul)(&right, &b->x, &z1z1);
  if (!E(equal)(&left, &right)) return 0;
  E(mul)(&z1z1, &z1z1, &a->z);
  E(mul)(&z2z2, &z2z2, &b->z);
  E(mul)(&left, &a->y, &z2z2);
  E(mul)(&right, &b->y, &z1z1);
  return E(equal)(&left, &right);
}

/* (x / z^2, y / z^3), given 1/z. */
static void G(scale)(G_AFFINE *r, const G_T *a, const E_T *z_inverse) {
  E_T square, cube;
  E(sqr)(&square, z_inverse);
  E(mul)(&cube, &square, z_inverse);
  E(mul)(&r->x, &a->x, &square);
  E(mul)(&r->y, &a->y, &cube);
}

void G(to_affine)(G_AFFINE *r, const G_T *a) {
  E_T inverse;
  E(inv)(&inverse, &a->z);
  G(scale)(r, a, &inverse); /* 1/0 = 0 sends infinity to (0, 0) */
}

void G(to_affine_many)(G_AFFINE *r, const G_T *a, size_t n) {
  enum { BLOCK = 256 };
  E_T inverses[BLOCK], scratch[BLOCK];
  for (size_t begin = 0; begin < n; begin += BLOCK) {
    const size_t length = n - begin < BLOCK ? n - begin : BLOCK;
    for (size_t i = 0; i < length; i++) inverses[i] = a[begin + i].z;
    E(batch_inv)(inverses, scratch, length);
    for (size_t i = 0; i < length; i++) G(scale)(&r[begin + i], &a[begin + i], &inverses[i]);
  }
}

void G(double)(G_T *r, const G_T *p) {
  E_T a, b, c, d, e, f, z;
  E(sqr)(&a, &p->x);
  E(sqr)(&b, &p->y);
  E(sqr)(&c, &b);
  E(add)(&d, &p->x, &b);
  E(sqr)(&d, &d);
  E(sub)(&d, &d, &a);
  E(sub)(&d, &d, &c);
  E(double)(&d, &d);
  E(double)(&e, &a);
  E(add)(&e, &e, &a);
  E(sqr)(&f, &e);
  E(mul)(&z, &p->y, &p->z);
  E(double)(&r->z, &z); /* z = 0 stays 0: infinity doubles to infinity */
  E(sub)(&f, &f, &d);
  E(sub)(&r->x, &f, &d);
  E(sub)(&d, &d, &r->x);
  E(mul)(&e, &e, &d);
  E(double)(&c, &c);
  E(double)(&c, &c);
  E(double)(&c, &c);
  E(sub)(&r->y, &e, &c);
}

/* The common end of both additions: h = x2 - x1, s = y2 - y1 and v = x1 over one denominator, z3
 * the new denominator without its factor h. */
static void G(finish_add)(G_T *r, const E_T *h, const E_T *s, const E_T *x1, const E_T *y1,
                          const E_T *z) {
  E_T hh, hhh, v, x3;
  E(sqr)(&hh, h);
  E(mul)(&hhh, &hh, h);
  E(mul)(&v, x1, &hh);
  E(sqr)(&x3, s);
  E(sub)(&x3, &x3, &hhh);
  E(sub)(&x3, &x3, &v);
  E(sub)(&x3, &x3, &v);
  E(sub)(&v, &v, &x3);
  E(mul)(&v, &v, s);
  E(mul)(&hhh, &hhh, y1);
  E(mul)(&r->z, z, h);
  E(sub)(&r->y, &v, &hhh);
  r->x = x3;
}

void G(add)(G_T *r, const G_T *a, const G_T *b) {
  if (G(is_infinity)(a)) {
    *r = *b;
    return;
  }
  if (G(is_infinity)(b)) {
    *r = *a;
    return;
  }
  E_T z1z1, z2z2, x1, x2, y1, y2, z;
  E(sqr)(&z1z1, &a->z);
  E(sqr)(&z2z2, &b->z);
  E(mul)(&x1, &a->x, &z2z2);
  E(mul)(&x2, &b->x, &z1z1);
  E(mul)(&z2z2, &z2z2, &b->z);
  E(mul)(&z1z1, &z1z1, &a->z);
  E(mul)(&y1, &a->y, &z2z2);
  E(mul)(&y2, &b->y, &z1z1);
  E(sub)(&x2, &x2, &x1);
  E(sub)(&y2, &y2, &y1);
  if (E(is_zero)(&x2)) {
    if (E(is_zero)(&y2)) {
      G(double)(r, a);
    } else {
      *r = G(infinity)();
    }
    return;
  }
  E(mul)(&z, &a->z, &b->z);
  G(finish_add)(r, &x2, &y2, &x1, &y1, &z);
}

void G(add_mixed)(G_T *r, const G_T *a, const G_AFFINE *b) {
  if (G(affine_is_infinity)(b)) {
    *r = *a;
    return;
  }
  if (G(is_infinity)(a)) {
    G(from_affine)(r, b);
    return;
  }
  E_T z1z1, x2, y2;
  const E_T x1 = a->x, y1 = a->y, z1 = a->z;
  E(sqr)(&z1z1, &z1);
  E(mul)(&x2, &b->x, &z1z1);
  E(mul)(&z1z1, &z1z1, &z1);
  E(mul)(&y2, &b->y, &z1z1);
  E(sub)(&x2, &x2, &x1);
  E(sub)(&y2, &y2, &y1);
  if (E(is_zero)(&x2)) {
    if (E(is_zero)(&y2)) {
      G(double)(r, a);
    } else {
      *r = G(infinity)();
    }
    return;
  }
  G(finish_add)(r, &x2, &y2, &x1, &y1, &z1);
}

void G(neg)(G_T *r, const G_T *a) {
  r->x = a->x;
  E(neg)(&r->y, &a->y);
  r->z = a->z;
}

void G(affine_neg)(G_AFFINE *r, const G_AFFINE *a) {
  r->x = a->x;
  E(neg)(&r->y, &a->y);
}

void G(mul)(G_T *r, const G_T *a, const uint64_t k[4]) {
  G_T table[16], acc = G(infinity)();
  table[0] = acc;
  for (int i = 1; i < 16; i++) G(add)(&table[i], &table[i - 1], a);
  int top = 63;
  while (top >= 0 && ((k[top / 16] >> (4 * (top % 16))) & 15) == 0) top--;
  for (int i = top; i >= 0; i--) {
    for (int d = 0; d < 4 && i < top; d++) G(double)(&acc, &acc);
    G(add)(&acc, &acc, &table[(k[i / 16] >> (4 * (i % 16))) & 15]);
  }
  *r = acc;
}

int G(on_curve)(const G_AFFINE *a) {
  if (G(affine_is_infinity)(a)) return 1;
  E_T left, right;
  const E_T b = curve_b();
  E(sqr)(&left, &a->y);
  E(sqr)(&right, &a->x);
  E(mul)(&right, &right, &a->x);
  E(add)(&right, &right, &b);
  return E(equal)(&left, &right);
}

#undef G
#undef G_T
#undef G_AFFINE
#undef E
#undef E_T
#undef curve_b
