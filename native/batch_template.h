/* Sums of neighbouring affine points, many at a time: one group of msm.c (see group_template.h for
 * the names it needs).
 *
 * An affine addition costs one inversion and three products; Montgomery's trick shares one
 * inversion over a batch at three products each, so that a sum costs about six products instead of
 * the eleven of a mixed Jacobian addition. Equal, opposite and infinite neighbours are recognised
 * and get their own formula.
 */

/* One result of a batch: in[source], or in[source] + in[source + 1] if kind is not COPY, goes to
 * out[target]. */
typedef struct {
  uint32_t source, target, kind;
} G(op_t);

/* Classify one sum and give the denominator of its slope; 0 if it has none. */
static int G(prepare)(G(op_t) * op, const G_AFFINE *in, E_T *denominator) {
  const G_AFFINE *p = &in[op->source], *q = p + 1;
  if (op->kind == COPY) return 0;
  const int p_infinite = G(affine_is_infinity)(p);
  if (p_infinite | G(affine_is_infinity)(q)) {
    if (p_infinite) op->source++;
    op->kind = COPY;
    return 0;
  }
  E(sub)(denominator, &q->x, &p->x);
  if (!E(is_zero)(denominator)) return 1;
  if (!E(equal)(&p->y, &q->y)) {
    op->kind = CANCEL;
    return 0;
  }
  op->kind = DOUBLE; /* y is not 0: the group has odd order */
  E(double)(denominator, &p->y);
  return 1;
}

/* out = p + q, given the inverse of the slope's denominator. */
static void G(add_affine)(G_AFFINE *out, const G_AFFINE *p, const G_AFFINE *q, uint32_t kind,
                          const E_T *inverse) {
  E_T slope, x3, y3;
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
  E(sub)(&y3, &p->x, &x3);
  E(mul)(&y3, &y3, &slope);
  E(sub)(&out->y, &y3, &p->y);
  out->x = x3;
}

typedef struct {
  G(op_t) ops[BATCH_POINTS];
  E_T prefix[BATCH_POINTS], denominators[BATCH_POINTS];
} G(scalar_batch_t);

/* Carry out n operations, one point at a time; out and in do not overlap. */
static void G(combine_each)(G(scalar_batch_t) * batch, G_AFFINE *out, const G_AFFINE *in,
                            size_t n) {
  E_T acc = E(one)();
  for (size_t k = 0; k < n; k++) {
    if (!G(prepare)(&batch->ops[k], in, &batch->denominators[k])) continue;
    batch->prefix[k] = acc;
    E(mul)(&acc, &acc, &batch->denominators[k]);
  }
  E(inv)(&acc, &acc);
  for (size_t k = n; k-- > 0;) {
    const G(op_t) op = batch->ops[k];
    const G_AFFINE *p = &in[op.source];
    if (op.kind == COPY) {
      out[op.target] = *p;
    } else if (op.kind == CANCEL) {
      out[op.target] = (G_AFFINE){E(zero)(), E(zero)()};
    } else {
      E_T inverse;
      E(mul)(&inverse, &acc, &batch->prefix[k]);
      E(mul)(&acc, &acc, &batch->denominators[k]);
      G(add_affine)(&out[op.target], p, p + 1, op.kind, &inverse);
    }
  }
}

#ifdef ZK_KERNEL_IFMA
#include "batch_lanes_template.h"
#else
typedef G(scalar_batch_t) G(batch_t);

static void G(combine)(G(batch_t) * batch, G_AFFINE *out, const G_AFFINE *in, size_t n) {
  G(combine_each)(batch, out, in, n);
}
#endif

/* out[k] = in[2k] + in[2k + 1] for k < n. */
static void G(add_neighbours)(G(batch_t) * batch, G_AFFINE *out, const G_AFFINE *in, size_t n) {
  for (size_t begin = 0; begin < n; begin += BATCH_POINTS) {
    const size_t length = n - begin < BATCH_POINTS ? n - begin : BATCH_POINTS;
    for (uint32_t k = 0; k < length; k++) batch->ops[k] = (G(op_t)){2 * k, k, ADD};
    G(combine)(batch, out + begin, in + 2 * begin, length);
  }
}

/* Sum each of `runs` consecutive runs of points (lengths[i] >= 1, together at most BATCH_POINTS) to
 * one point. Returns where they are: in `points` or in `spare`, both of which are overwritten, as
 * are the lengths. */
static const G_AFFINE *G(sum_runs)(G(batch_t) * batch, G_AFFINE *points, G_AFFINE *spare,
                                   uint32_t *lengths, size_t runs) {
  for (;;) {
    uint32_t source = 0, n = 0;
    int open = 0;
    for (size_t i = 0; i < runs; i++) {
      const uint32_t half = lengths[i] / 2, odd = lengths[i] % 2;
      for (uint32_t k = 0; k < half; k++, n++, source += 2) {
        batch->ops[n] = (G(op_t)){source, n, ADD};
      }
      if (odd) {
        batch->ops[n] = (G(op_t)){source, n, COPY};
        n++;
        source++;
      }
      lengths[i] = half + odd;
      open |= half != 0;
    }
    if (!open) return points;
    G(combine)(batch, spare, points, n);
    G_AFFINE *swap = points;
    points = spare;
    spare = swap;
  }
}
