/* Sums of neighbouring affine points, many at a time: one group of msm.c (see group_template.h for
 * the names it needs).
 *
 * An affine addition costs one inversion and three products; Montgomery's trick shares one
 * inversion over a batch at three products each, so that a sum costs about six products instead of
 * the eleven of a mixed Jacobian addition. Equal, opposite and infinite neighbours are recognised
 * and get their own formula.
 */

/* Where the k-th result of a batch comes from. */
typedef struct {
  uint32_t source; /* points[source], and points[source + 1] unless kind is COPY */
  uint32_t kind;
} G(op_t);

typedef struct {
  G(op_t) ops[BATCH_POINTS];
  E_T suffix[BATCH_POINTS], denominators[BATCH_POINTS];
} G(batch_t);

/* Classify one pair and give the denominator of its slope; 0 if it has none. */
static int G(prepare)(G(op_t) * op, const G_AFFINE *points, E_T *denominator) {
  const G_AFFINE *p = &points[op->source], *q = p + 1;
  if (op->kind == COPY) return 0;
  E(sub)(denominator, &q->x, &p->x);
  const int p_infinite = G(affine_is_infinity)(p), q_infinite = G(affine_is_infinity)(q);
  if (p_infinite | q_infinite) {
    if (p_infinite) op->source++;
    op->kind = COPY;
    return 0;
  }
  if (!E(is_zero)(denominator)) return 1;
  if (!E(equal)(&p->y, &q->y)) {
    op->kind = CANCEL;
    return 0;
  }
  op->kind = DOUBLE; /* y is not 0: the group has odd order */
  E(double)(denominator, &p->y);
  return 1;
}

/* out = p + q, given the inverse of the slope's denominator; out may alias p and q. */
static void G(add_affine)(G_AFFINE *out, const G_AFFINE *p, const G_AFFINE *q, uint32_t kind,
                          const E_T *inverse) {
  E_T slope, x3;
  if (kind == ADD) {
    E(sub)(&slope, &q->y, &p->y);
  } else {
    E(sqr)(&x3, &p->x);
    E(double)(&slope, &x3);
    E(add)(&slope, &slope, &x3);
  }
  E(mul)(&slope, &slope, inverse);
  E(sqr)(&x3, &slope);
  E(sub)(&x3, &x3, &p->x);
  E(sub)(&x3, &x3, &q->x);
  E_T y3;
  E(sub)(&y3, &p->x, &x3);
  E(mul)(&y3, &y3, &slope);
  E(sub)(&out->y, &y3, &p->y);
  out->x = x3;
}

/* points[k] = the result of batch->ops[k] for k < n, in place: sources ascend and are never below
 * their results, so that going forward overwrites only what has been used. */
static void G(combine)(G(batch_t) * batch, G_AFFINE *points, size_t n) {
  E_T acc = E(one)();
  for (size_t k = n; k-- > 0;) {
    if (!G(prepare)(&batch->ops[k], points, &batch->denominators[k])) continue;
    batch->suffix[k] = acc;
    E(mul)(&acc, &acc, &batch->denominators[k]);
  }
  E(inv)(&acc, &acc);
  for (size_t k = 0; k < n; k++) {
    const G(op_t) op = batch->ops[k];
    const G_AFFINE *p = &points[op.source];
    if (op.kind == COPY) {
      points[k] = *p;
    } else if (op.kind == CANCEL) {
      points[k] = (G_AFFINE){E(zero)(), E(zero)()};
    } else {
      E_T inverse;
      E(mul)(&inverse, &acc, &batch->suffix[k]);
      E(mul)(&acc, &acc, &batch->denominators[k]);
      G(add_affine)(&points[k], p, p + 1, op.kind, &inverse);
    }
  }
}

/* points[k] = points[2k] + points[2k + 1] for k < n, in place. */
static void G(add_neighbours)(G(batch_t) * batch, G_AFFINE *points, size_t n) {
  for (size_t begin = 0; begin < n; begin += BATCH_POINTS / 2) {
    const size_t length = n - begin < BATCH_POINTS / 2 ? n - begin : BATCH_POINTS / 2;
    for (size_t k = 0; k < length; k++) {
      batch->ops[k] = (G(op_t)){(uint32_t)(begin + 2 * k), ADD};
    }
    G(combine)(batch, points + begin, length);
  }
}

/* Sum each of `runs` consecutive runs of points (lengths[i] >= 1, together at most BATCH_POINTS) to
 * one point, left at points[i]. Overwrites the lengths. */
static void G(sum_runs)(G(batch_t) * batch, G_AFFINE *points, uint32_t *lengths, size_t runs) {
  for (int open = 1; open;) {
    size_t source = 0, n = 0;
    open = 0;
    for (size_t i = 0; i < runs; i++) {
      const uint32_t half = lengths[i] / 2, odd = lengths[i] % 2;
      for (uint32_t k = 0; k < half; k++, source += 2) {
        batch->ops[n++] = (G(op_t)){(uint32_t)source, ADD};
      }
      if (odd) batch->ops[n++] = (G(op_t)){(uint32_t)source++, COPY};
      lengths[i] = half + odd;
      open |= half != 0;
    }
    if (open) G(combine)(batch, points, n);
  }
}
