/* Vectors of affine points in a .zkey's form (Montgomery, any alignment), for one group: included
 * by points.c with G(name), P(name) (a public name) and LIMBS defined. */

typedef struct {
  const unsigned char *in;
  const unsigned char *minus;
  unsigned char *out;
  const halves_t *halves;
  int allow_infinity;
  atomic_size_t bad;
} G(vector_job_t);

enum { G(BATCH) = 256, G(SIZE) = sizeof(G(affine_t)) };

static G(affine_t) G(read)(const unsigned char *bytes, size_t i) {
  G(affine_t) point;
  memcpy(&point, bytes + i * sizeof point, sizeof point);
  return point;
}

static void G(write)(unsigned char *bytes, size_t i, const G(affine_t) * point) {
  memcpy(bytes + i * sizeof *point, point, sizeof *point);
}

static int G(check_point)(const G(affine_t) * point, int allow_infinity) {
  uint64_t coordinates[LIMBS];
  memcpy(coordinates, point, sizeof coordinates);
  for (int k = 0; k < LIMBS; k += 4)
    if (!fq_is_canonical(coordinates + k)) return ZK_ERR_RANGE;
  if (G(affine_is_infinity)(point)) return allow_infinity ? ZK_OK : ZK_ERR_INFINITY;
  if (!G(on_curve)(point)) return ZK_ERR_CURVE;
  return G(in_subgroup)(point) ? ZK_OK : ZK_ERR_SUBGROUP;
}

static void G(check_range)(void *context, size_t begin, size_t end) {
  G(vector_job_t) *job = context;
  for (size_t i = begin; i < end && i < atomic_load(&job->bad); i++) {
    const G(affine_t) point = G(read)(job->in, i);
    if (G(check_point)(&point, job->allow_infinity) == ZK_OK) continue;
    size_t first = atomic_load(&job->bad);
    while (i < first && !atomic_compare_exchange_weak(&job->bad, &first, i)) continue;
    return;
  }
}

/* Canonical, on the curve, in the subgroup, and infinity only where allowed: the fault of the first
 * bad point and its index in *bad, or ZK_OK. */
int P(points_check)(const void *points, uint64_t n, int allow_infinity, uint64_t *bad) {
  G(vector_job_t) job = {.in = points, .allow_infinity = allow_infinity, .bad = n};
  zk_parallel_for(n, 64, G(check_range), &job);
  *bad = atomic_load(&job.bad);
  if (*bad == n) return ZK_OK;
  const G(affine_t) point = G(read)(points, *bad);
  return G(check_point)(&point, allow_infinity);
}

/* sum += digit * base, where table[i] = (2 i + 1) base. */
static void G(add_digit)(G(t) * sum, const G(t) * table, int digit) {
  G(t) term = table[(digit < 0 ? -digit : digit) / 2];
  if (digit < 0) G(neg)(&term, &term);
  G(add)(sum, sum, &term);
}

/* r = low * a + high * lambda a, for a point of order r. */
static void G(multiply_halves)(G(t) * r, const G(t) * a, const halves_t *k) {
  G(t) table[NAF_MULTIPLES], images[NAF_MULTIPLES], twice, sum = G(infinity)();
  int top = NAF_BITS - 1;
  while (top >= 0 && k->low[top] == 0 && k->high[top] == 0) top--;
  G(double)(&twice, a);
  table[0] = *a;
  for (int i = 1; i < NAF_MULTIPLES; i++) G(add)(&table[i], &table[i - 1], &twice);
  for (int i = 0; i < NAF_MULTIPLES; i++) G(endomorphism)(&images[i], &table[i]);
  for (int i = top; i >= 0; i--) {
    if (i < top) G(double)(&sum, &sum);
    if (k->low[i]) G(add_digit)(&sum, table, k->low[i]);
    if (k->high[i]) G(add_digit)(&sum, images, k->high[i]);
  }
  *r = sum;
}

static void G(multiply)(G(t) * r, const G(t) * a, const uint64_t k[4]) {
  halves_t halves;
  split_scalar(&halves, k);
  G(multiply_halves)(r, a, &halves);
}

static void G(scale_range)(void *context, size_t begin, size_t end) {
  const G(vector_job_t) *job = context;
  G(t) products[G(BATCH)];
  G(affine_t) affine[G(BATCH)];
  for (size_t start = begin; start < end; start += G(BATCH)) {
    const size_t n = end - start < G(BATCH) ? end - start : G(BATCH);
    for (size_t i = 0; i < n; i++) {
      const G(affine_t) point = G(read)(job->in, start + i);
      G(from_affine)(&products[i], &point);
      G(multiply_halves)(&products[i], &products[i], job->halves);
    }
    G(to_affine_many)(affine, products, n);
    for (size_t i = 0; i < n; i++) G(write)(job->out, start + i, &affine[i]);
  }
}

/* out[i] = scalar * points[i], for points of order r and a canonical scalar. */
int P(points_scale)(void *out, const void *points, uint64_t n, const uint64_t *scalar) {
  halves_t halves;
  G(vector_job_t) job = {.in = points, .out = out, .halves = &halves};
  if (!fr_is_canonical(scalar)) return ZK_ERR_RANGE;
  split_scalar(&halves, scalar);
  zk_parallel_for(n, G(BATCH), G(scale_range), &job);
  memset(&halves, 0, sizeof halves);
  return ZK_OK;
}

static void G(subtract_range)(void *context, size_t begin, size_t end) {
  const G(vector_job_t) *job = context;
  G(t) differences[G(BATCH)];
  G(affine_t) affine[G(BATCH)];
  for (size_t start = begin; start < end; start += G(BATCH)) {
    const size_t n = end - start < G(BATCH) ? end - start : G(BATCH);
    for (size_t i = 0; i < n; i++) {
      const G(affine_t) point = G(read)(job->in, start + i);
      G(affine_t) minus = G(read)(job->minus, start + i);
      G(from_affine)(&differences[i], &point);
      G(affine_neg)(&minus, &minus);
      G(add_mixed)(&differences[i], &differences[i], &minus);
    }
    G(to_affine_many)(affine, differences, n);
    for (size_t i = 0; i < n; i++) G(write)(job->out, start + i, &affine[i]);
  }
}

/* out[i] = points[i] - minus[i]. */
int P(points_subtract)(void *out, const void *points, const void *minus, uint64_t n) {
  G(vector_job_t) job = {.in = points, .minus = minus, .out = out};
  zk_parallel_for(n, G(BATCH), G(subtract_range), &job);
  return ZK_OK;
}

/* Uncompressed big-endian coordinates, the higher coefficient of an Fq2 element first; infinity is
 * all zeros: what iden3's transcripts hash. */
static void G(encode_range)(void *context, size_t begin, size_t end) {
  const G(vector_job_t) *job = context;
  for (size_t i = begin; i < end; i++) {
    const G(affine_t) point = G(read)(job->in, i);
    uint64_t limbs[LIMBS];
    G(store)(limbs, &point);
    unsigned char *out = job->out + i * G(SIZE);
    for (int coordinate = 0; coordinate < 2; coordinate++)
      for (int k = LIMBS / 2 - 1; k >= 0; k--)
        for (int shift = 56; shift >= 0; shift -= 8)
          *out++ = (unsigned char)(limbs[coordinate * (LIMBS / 2) + k] >> shift);
  }
}

int P(points_encode)(void *out, const void *points, uint64_t n) {
  G(vector_job_t) job = {.in = points, .out = out};
  zk_parallel_for(n, 1024, G(encode_range), &job);
  return ZK_OK;
}

/* out = sum of scalars[i] * points[i], affine. */
int P(points_msm)(void *out, const void *points, const uint64_t *scalars, uint64_t n) {
  G(t) sum;
  const int status = G(msm)(&sum, points, scalars, n);
  if (status != ZK_OK) return status;
  G(affine_t) affine;
  G(to_affine)(&affine, &sum);
  G(write)(out, 0, &affine);
  return ZK_OK;
}

/* out[i] = scalars[i] * generator. */
int P(points_generate)(void *out, const uint64_t *scalars, uint64_t n) {
  const G(affine_t) generator = G(generator)();
  return G(mul_many)(out, &generator, scalars, n);
}

/* Standard form (all zero: infinity) to Montgomery form and back. */
int P(points_load)(void *out, const uint64_t *points, uint64_t n) {
  for (size_t i = 0; i < n; i++) {
    G(affine_t) point;
    const int status = G(load)(&point, points + i * LIMBS);
    if (status != ZK_OK) return status;
    G(write)(out, i, &point);
  }
  return ZK_OK;
}

int P(points_store)(uint64_t *out, const void *points, uint64_t n) {
  for (size_t i = 0; i < n; i++) {
    const G(affine_t) point = G(read)(points, i);
    G(store)(out + i * LIMBS, &point);
  }
  return ZK_OK;
}

typedef struct {
  G(t) * data;
  const uint64_t *powers;
  unsigned layer;
} G(fft_job_t);

/* Butterflies [begin, end) of an inverse layer of half-width 2^layer (natural order in, reversed
 * out): (low + high, (low - high) * omega^-j). `powers` holds omega^-j in standard form. */
static void G(fft_range)(void *context, size_t begin, size_t end) {
  const G(fft_job_t) *job = context;
  const size_t half = (size_t)1 << job->layer;
  for (size_t i = begin; i < end; i++) {
    const size_t j = i & (half - 1);
    G(t) *low = &job->data[((i >> job->layer) << (job->layer + 1)) + j], *high = low + half;
    G(t) difference;
    G(neg)(&difference, high);
    G(add)(&difference, low, &difference);
    G(add)(low, low, high);
    if (j == 0)
      *high = difference;
    else
      G(multiply)(high, &difference, job->powers + 4 * (half + j));
  }
}

typedef struct {
  unsigned char *out;
  const G(t) * data;
  const halves_t *halves;
  unsigned log_n;
} G(final_job_t);

static void G(final_range)(void *context, size_t begin, size_t end) {
  const G(final_job_t) *job = context;
  G(t) products[G(BATCH)];
  G(affine_t) affine[G(BATCH)];
  for (size_t start = begin; start < end; start += G(BATCH)) {
    const size_t n = end - start < G(BATCH) ? end - start : G(BATCH);
    for (size_t i = 0; i < n; i++)
      G(multiply_halves)(&products[i], &job->data[ntt_bit_reverse(start + i, job->log_n)],
                         job->halves);
    G(to_affine_many)(affine, products, n);
    for (size_t i = 0; i < n; i++) G(write)(job->out, start + i, &affine[i]);
  }
}

/* The inverse transform of a vector of points of order r: from [tau^i] P to [L_i(tau)] P. */
int P(points_lagrange)(void *out, const void *points, uint32_t log_n) {
  if (log_n > NTT_MAX_LOG - 1) return ZK_ERR_ARGUMENT;
  const size_t n = (size_t)1 << log_n;
  G(t) *data = malloc(n * sizeof(G(t)));
  uint64_t *powers = inverse_twiddles(log_n);
  if (data == NULL || powers == NULL) {
    free(data);
    free(powers);
    return ZK_ERR_MEMORY;
  }
  for (size_t i = 0; i < n; i++) {
    const G(affine_t) point = G(read)(points, i);
    G(from_affine)(&data[i], &point);
  }
  G(fft_job_t) job = {data, powers, log_n};
  while (job.layer-- > 0) zk_parallel_for(n / 2, 16, G(fft_range), &job);
  fr_t inverse;
  uint64_t scalar[4];
  halves_t halves;
  fr_from_u64(&inverse, n);
  fr_inv(&inverse, &inverse);
  fr_from_mont(scalar, &inverse);
  split_scalar(&halves, scalar);
  G(final_job_t) final = {out, data, &halves, log_n};
  zk_parallel_for(n, G(BATCH), G(final_range), &final);
  free(data);
  free(powers);
  return ZK_OK;
}

typedef struct {
  unsigned char *out;
  const int64_t *indptr;
  const uint32_t *rows, *coefs;
  const uint64_t *table;
  const unsigned char *points;
  uint64_t nnz, n_table, n_points;
  int accumulate;
  atomic_int status;
} G(sparse_job_t);

/* sum += coefficient * point, by the shorter of the coefficient and its negative. */
static void G(add_scaled)(G(t) * sum, const G(affine_t) * point, const uint64_t coef[4]) {
  static const uint64_t one[4] = {1, 0, 0, 0};
  G(affine_t) base = *point;
  uint64_t negative[4];
  limbs_sub(negative, FR_MODULUS, coef);
  if (limbs_less(negative, coef)) {
    G(affine_neg)(&base, &base);
    coef = negative;
  }
  if (limbs_equal(coef, one)) {
    G(add_mixed)(sum, sum, &base);
    return;
  }
  G(t) product = G(infinity)();
  if ((coef[1] | coef[2] | coef[3]) == 0) {
    for (int i = coef[0] ? 63 - __builtin_clzll(coef[0]) : -1; i >= 0; i--) {
      G(double)(&product, &product);
      if ((coef[0] >> i) & 1) G(add_mixed)(&product, &product, &base);
    }
  } else {
    G(from_affine)(&product, &base);
    G(multiply)(&product, &product, coef);
  }
  G(add)(sum, sum, &product);
}

static int G(sparse_column)(const G(sparse_job_t) * job, size_t column, G(affine_t) * result) {
  const int64_t begin = job->indptr[column], end = job->indptr[column + 1];
  if (begin < 0 || end < begin || (uint64_t)end > job->nnz) return ZK_ERR_ARGUMENT;
  G(t) sum = G(infinity)();
  if (job->accumulate) {
    const G(affine_t) before = G(read)(job->out, column);
    G(from_affine)(&sum, &before);
  }
  for (int64_t k = begin; k < end; k++) {
    if (job->rows[k] >= job->n_points || job->coefs[k] >= job->n_table) return ZK_ERR_ARGUMENT;
    const G(affine_t) point = G(read)(job->points, job->rows[k]);
    G(add_scaled)(&sum, &point, job->table + 4 * (size_t)job->coefs[k]);
  }
  G(to_affine)(result, &sum);
  return ZK_OK;
}

static void G(sparse_task)(void *context, size_t column) {
  G(sparse_job_t) *job = context;
  if (!job->accumulate || job->indptr[column] != job->indptr[column + 1]) {
    G(affine_t) result;
    const int status = G(sparse_column)(job, column, &result);
    if (status != ZK_OK) {
      atomic_store(&job->status, status);
      return;
    }
    G(write)(job->out, column, &result);
  }
}

/* out[c] (+)= sum over the entries k of column c of table[coefs[k]] * points[rows[k]]; `table` in
 * standard form, canonical. */
int P(points_sparse)(void *out, uint64_t n_columns, const int64_t *indptr, const uint32_t *rows,
                     const uint32_t *coefs, uint64_t nnz, const uint64_t *table, uint64_t n_table,
                     const void *points, uint64_t n_points, int accumulate) {
  G(sparse_job_t)
  job = {out, indptr, rows, coefs, table, points, nnz, n_table, n_points, accumulate, ZK_OK};
  for (uint64_t i = 0; i < n_table; i++)
    if (!fr_is_canonical(table + 4 * i)) return ZK_ERR_RANGE;
  zk_parallel_tasks(n_columns, G(sparse_task), &job);
  return atomic_load(&job.status);
}
