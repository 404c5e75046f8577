/* The batched additions of batch_template.h, eight at a time (lanes.h); included by it where the
 * kernel has AVX-512 IFMA, with E8(name) and E8_T for eight coordinates.
 *
 * Memory holds a * 2^256 and a lane product divides by 2^260. The running product of denominators
 * gathers some power of 2 in this way, and the scalar inversion of its end, which gives
 * 2^512 / value for the raw value, is multiplied by 2^4: going backwards, every denominator
 * d * 2^256 then gets the factor 2^260 / d, which turns the numerator n * 2^256 into the slope
 * (n / d) * 2^256. Products of two such values take the factor 2^4 before they are reduced.
 */

typedef struct {
  G(op_t) ops[BATCH_POINTS];
  uint32_t sums[BATCH_POINTS + LANES]; /* the operations that are plain additions */
  E8_T denominators[BATCH_POINTS / LANES + 1], prefix[BATCH_POINTS / LANES + 1];
  G(scalar_batch_t) rest;
} G(batch_t);

static int G(is_zero_point)(const G_AFFINE *p) {
  const char *bytes = (const char *)p;
  __m512i any = _mm512_loadu_si512(bytes);
  for (size_t i = sizeof any; i < sizeof *p; i += sizeof any) {
    any = _mm512_or_si512(any, _mm512_loadu_si512(bytes + i));
  }
  return _mm512_test_epi64_mask(any, any) == 0;
}

/* Copy what is only to be copied; list the sums, padded to full vectors. Returns their number. */
static size_t G(select_sums)(G(batch_t) * batch, G_AFFINE *out, const G_AFFINE *in, size_t n) {
  size_t sums = 0;
  for (size_t k = 0; k < n; k++) {
    const G(op_t) op = batch->ops[k];
    const G_AFFINE *p = &in[op.source];
    if (op.kind == COPY || G(is_zero_point)(p + 1)) {
      out[op.target] = *p;
    } else if (G(is_zero_point)(p)) {
      out[op.target] = p[1];
    } else {
      batch->sums[sums++] = (uint32_t)k;
    }
  }
  for (size_t i = sums; i % LANES; i++) batch->sums[i] = batch->sums[0];
  return sums;
}

static void G(rows)(const char *rows[LANES], const G(batch_t) * batch, const G_AFFINE *in,
                    size_t vector) {
  for (int i = 0; i < LANES; i++) {
    rows[i] = (const char *)&in[batch->ops[batch->sums[LANES * vector + i]].source];
  }
}

/* The denominators x2 - x1 (below 2q) and their running products, lane by lane. */
static void G(multiply_up)(G(batch_t) * batch, E8_T *acc, const G_AFFINE *in, size_t vectors) {
  const char *rows[LANES];
  for (size_t v = 0; v < vectors; v++) {
    E8_T x1, x2;
    G(rows)(rows, batch, in, v);
    E8(load)(&x1, rows, 0);
    E8(load)(&x2, rows, sizeof(G_AFFINE));
    E8(sub)(&batch->denominators[v], &x2, &x1, FQ_TIMES_1);
    batch->prefix[v] = *acc;
    E8(mul)(acc, acc, &batch->denominators[v]);
  }
}

/* acc = 2^516 / acc in every lane; 0 if a lane is 0. */
static int G(invert_lanes)(E8_T *acc) {
  E_T values[LANES], scratch[LANES];
  char *out[LANES];
  const char *in[LANES];
  E8(canonical)(acc);
  for (int i = 0; i < LANES; i++) in[i] = out[i] = (char *)&values[i];
  E8(store)(out, 0, acc);
  for (int i = 0; i < LANES; i++) {
    if (E(is_zero)(&values[i])) return 0;
  }
  E(batch_inv)(values, scratch, LANES);
  for (int i = 0; i < LANES; i++) {
    for (int k = 0; k < 4; k++) E(double)(&values[i], &values[i]);
  }
  E8(load)(acc, in, 0);
  return 1;
}

/* One vector of sums, given the factors 2^260 / (x2 - x1). */
static void G(add_lanes)(char *const targets[LANES], const char *const rows[LANES],
                         const E8_T *factor) {
  E8_T x1, y1, x2, y2, slope, x3, y3;
  E8(load)(&y1, rows, sizeof(E_T));
  E8(load)(&y2, rows, sizeof(G_AFFINE) + sizeof(E_T));
  E8(sub)(&slope, &y2, &y1, FQ_TIMES_1);
  E8(mul)(&slope, &slope, factor);
  E8(load)(&x1, rows, 0);
  E8(load)(&x2, rows, sizeof(G_AFFINE));
  E8(sqr_16)(&x3, &slope);
  E8(sub2)(&x3, &x3, &x1, &x2, FQ_TIMES_2);
  E8(canonical)(&x3);
  E8(sub)(&y3, &x1, &x3, FQ_TIMES_1);
  E8(mul_16)(&y3, &y3, &slope);
  E8(sub)(&y3, &y3, &y1, FQ_TIMES_1);
  E8(canonical)(&y3);
  E8(store)(targets, 0, &x3);
  E8(store)(targets, sizeof(E_T), &y3);
}

/* Going back: peel one denominator after another off the inverse. */
static void G(multiply_down)(G(batch_t) * batch, E8_T *acc, G_AFFINE *out, const G_AFFINE *in,
                             size_t sums) {
  const char *rows[LANES];
  char *targets[LANES];
  G_AFFINE discarded;
  for (size_t v = (sums + LANES - 1) / LANES; v-- > 0;) {
    E8_T factor;
    E8(mul)(&factor, acc, &batch->prefix[v]);
    E8(mul)(acc, acc, &batch->denominators[v]);
    G(rows)(rows, batch, in, v);
    for (size_t i = 0; i < LANES; i++) {
      const size_t k = LANES * v + i;
      targets[i] = (char *)(k < sums ? &out[batch->ops[batch->sums[k]].target] : &discarded);
    }
    G(add_lanes)(targets, rows, &factor);
  }
}

/* Some neighbours have equal x: leave the batch to the scalar code, which handles every case. */
static void G(combine_exceptional)(G(batch_t) * batch, G_AFFINE *out, const G_AFFINE *in,
                                   size_t sums) {
  for (size_t i = 0; i < sums; i++) batch->rest.ops[i] = batch->ops[batch->sums[i]];
  G(combine_each)(&batch->rest, out, in, sums);
}

static void G(combine)(G(batch_t) * batch, G_AFFINE *out, const G_AFFINE *in, size_t n) {
  const size_t sums = G(select_sums)(batch, out, in, n), vectors = (sums + LANES - 1) / LANES;
  /* Any nonzero start will do: its factor cancels. */
  E8_T acc = E8(start)();
  if (sums < FEW_SUMS) {
    G(combine_exceptional)(batch, out, in, sums);
    return;
  }
  G(multiply_up)(batch, &acc, in, vectors);
  if (G(invert_lanes)(&acc)) {
    G(multiply_down)(batch, &acc, out, in, sums);
  } else {
    G(combine_exceptional)(batch, out, in, sums);
  }
}
