/* Poseidon over the scalar field (Grassi, Khovratovich, Rechberger, Roy, Schofnegger, ePrint
 * 2019/458): x^5 S-box, width t, `full` full rounds around `partial` partial ones. The parameters
 * come from the paper's Grain LFSR, so that nothing has to be trusted or copied.
 *
 * Constant time in the states that are hashed; the parameters and all sizes are public.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "field.h"
#include "kernel.h"
#include "status.h"
#include "threads.h"

enum { MIN_T = 2, MAX_T = 17, MAX_FULL = 64, MAX_PARTIAL = 256 };

static int valid_shape(uint32_t t, uint32_t full, uint32_t partial) {
  return t >= MIN_T && t <= MAX_T && full >= 2 && full <= MAX_FULL && full % 2 == 0 &&
         partial >= 1 && partial <= MAX_PARTIAL;
}

/* ---- Parameters: the self-shrinking Grain LFSR (appendix E of the paper) ---- */

/* The last 80 bits of the stream: bit i of the paper's window is bit i % 64 of word i / 64. */
typedef struct {
  uint64_t low, high;
} grain_t;

static uint64_t grain_at(const grain_t *g, unsigned i) {
  return (i < 64 ? g->low >> i : g->high >> (i - 64)) & 1;
}

static uint64_t grain_step(grain_t *g) {
  const uint64_t bit = grain_at(g, 62) ^ grain_at(g, 51) ^ grain_at(g, 38) ^ grain_at(g, 23) ^
                       grain_at(g, 13) ^ grain_at(g, 0);
  g->low = g->low >> 1 | g->high << 63;
  g->high = (g->high >> 1 & 0x7fff) | bit << 15;
  return bit;
}

static void grain_push(grain_t *g, unsigned *position, uint32_t value, unsigned width) {
  for (unsigned i = width; i-- > 0; ++*position) {
    const uint64_t bit = value >> i & 1;
    if (*position < 64) {
      g->low |= bit << *position;
    } else {
      g->high |= bit << (*position - 64);
    }
  }
}

static grain_t grain_start(uint32_t t, uint32_t full, uint32_t partial) {
  grain_t g = {0, 0};
  unsigned position = 0;
  grain_push(&g, &position, 1, 2);    /* a prime field */
  grain_push(&g, &position, 0, 4);    /* the S-box x^alpha */
  grain_push(&g, &position, 254, 12); /* bits of r */
  grain_push(&g, &position, t, 12);
  grain_push(&g, &position, full, 10);
  grain_push(&g, &position, partial, 10);
  grain_push(&g, &position, 0x3fffffff, 30);
  for (int i = 0; i < 160; i++) grain_step(&g);
  return g;
}

/* The next 254 bits of the shrunken stream, most significant first. */
static void grain_number(grain_t *g, uint64_t out[4]) {
  for (int i = 0; i < 4; i++) out[i] = 0;
  for (int i = 253; i >= 0; i--) {
    uint64_t keep, bit;
    do {
      keep = grain_step(g);
      bit = grain_step(g);
    } while (!keep);
    out[i / 64] |= bit << (i % 64);
  }
}

/* A number mod r; 2^254 < 2r, so one subtraction is enough. */
static void grain_field(grain_t *g, fr_t *out) {
  uint64_t value[4], reduced[4];
  grain_number(g, value);
  if (limbs_sub(reduced, value, FR_MODULUS)) {
    fr_to_mont(out, value);
  } else {
    fr_to_mont(out, reduced);
  }
}

static int all_distinct(const fr_t *values, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t j = 0; j < i; j++) {
      if (fr_equal(&values[i], &values[j])) return 0;
    }
  }
  return 1;
}

/* Write (full + partial) * t round constants and the t * t Cauchy matrix, in standard form. */
int ZK_NAME(zk_poseidon_parameters)(uint64_t *constants, size_t constants_len, uint64_t *mds,
                                    size_t mds_len, uint32_t t, uint32_t full, uint32_t partial) {
  if (!valid_shape(t, full, partial)) return ZK_ERR_ARGUMENT;
  const size_t n = (size_t)(full + partial) * t;
  if (constants_len != n * 4 || mds_len != (size_t)t * t * 4) return ZK_ERR_ARGUMENT;
  grain_t g = grain_start(t, full, partial);
  for (size_t i = 0; i < n; i++) {
    do grain_number(&g, constants + 4 * i);
    while (!fr_is_canonical(constants + 4 * i));
  }
  fr_t xy[2 * MAX_T];
  do {
    for (uint32_t i = 0; i < 2 * t; i++) grain_field(&g, &xy[i]);
  } while (!all_distinct(xy, 2 * t));
  for (uint32_t i = 0; i < t; i++) {
    for (uint32_t j = 0; j < t; j++) {
      fr_t entry;
      fr_add(&entry, &xy[i], &xy[t + j]);
      fr_inv(&entry, &entry);
      fr_from_mont(mds + 4 * ((size_t)i * t + j), &entry);
    }
  }
  return ZK_OK;
}

/* ---- The schedule: parameters rearranged for a cheap evaluation ----
 *
 * Write the matrix as M = [[m, v], [w, N]]. In a partial round only entry 0 meets the S-box, so
 * with y_k its output and s the other t - 1 entries,
 *   u_{k+1} = m y_k + v s_k + c,   s_{k+1} = w y_k + N s_k + c'.
 * In the coordinates z_k = N^(partial - k) s_k (constants moved into u's) this is
 *   u_{k+1} = m y_k + P_k z_k + C_{k+1},   z_{k+1} = z_k + Q_k y_k,
 * P_k = v N^(k - partial), Q_k = N^(partial - k - 1) w: 2t - 1 products a round instead of t^2. The
 * first half's last matrix absorbs N^partial, and z_partial = s_partial.
 */
typedef struct {
  uint32_t t, full, partial;
  fr_t *full_constants;    /* [full][t]: added before each full round */
  fr_t *partial_constants; /* [partial]: C_k, added to u_k */
  fr_t *mds;               /* [t][t] */
  fr_t *bridge;            /* [t][t]: diag(1, N^partial) M */
  fr_t *p, *q;             /* [partial][t - 1] */
} schedule_t;

static size_t schedule_elements(uint32_t t, uint32_t full, uint32_t partial) {
  return (size_t)full * t + partial + 2 * (size_t)t * t + 2 * (size_t)partial * (t - 1);
}

static int schedule_view(schedule_t *s, const uint64_t *words, size_t len, uint32_t t,
                         uint32_t full, uint32_t partial) {
  if (!valid_shape(t, full, partial) || len != 4 * schedule_elements(t, full, partial)) {
    return ZK_ERR_ARGUMENT;
  }
  fr_t *next = (fr_t *)words; /* written by zk_poseidon_schedule only */
  s->t = t;
  s->full = full;
  s->partial = partial;
  s->full_constants = next, next += (size_t)full * t;
  s->partial_constants = next, next += partial;
  s->mds = next, next += (size_t)t * t;
  s->bridge = next, next += (size_t)t * t;
  s->p = next, next += (size_t)partial * (t - 1);
  s->q = next;
  return ZK_OK;
}

/* out = sum of a[i * stride] * b[i]. */
static void dot(fr_t *out, const fr_t *a, size_t stride, const fr_t *b, uint32_t n) {
  fr_t sum = fr_zero(), product;
  for (uint32_t i = 0; i < n; i++) {
    fr_mul(&product, &a[i * stride], &b[i]);
    fr_add(&sum, &sum, &product);
  }
  *out = sum;
}

/* x = A x, or x = x A when `transposed`, for a square A whose rows are `stride` apart. */
static void apply(const fr_t *a, size_t stride, int transposed, fr_t *x, uint32_t n) {
  fr_t out[MAX_T];
  for (uint32_t i = 0; i < n; i++) {
    dot(&out[i], transposed ? a + i : a + i * stride, transposed ? stride : 1, x, n);
  }
  for (uint32_t i = 0; i < n; i++) x[i] = out[i];
}

/* Gauss-Jordan: `inverse` (n x n, dense) of the matrix `a`, which is destroyed; 0 if singular. */
static int invert(fr_t *a, fr_t *inverse, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t j = 0; j < n; j++) inverse[i * n + j] = i == j ? fr_one() : fr_zero();
  }
  for (uint32_t column = 0; column < n; column++) {
    uint32_t pivot = column;
    while (pivot < n && fr_is_zero(&a[pivot * n + column])) pivot++;
    if (pivot == n) return 0;
    fr_t scale;
    fr_inv(&scale, &a[pivot * n + column]);
    for (uint32_t j = 0; j < n; j++) {
      fr_t *pair[2] = {a, inverse};
      for (int k = 0; k < 2; k++) {
        fr_t *m = pair[k], swap = m[pivot * n + j];
        m[pivot * n + j] = m[column * n + j];
        fr_mul(&m[column * n + j], &swap, &scale);
      }
    }
    for (uint32_t i = 0; i < n; i++) {
      const fr_t factor = a[i * n + column];
      if (i == column || fr_is_zero(&factor)) continue;
      for (uint32_t j = 0; j < n; j++) {
        fr_t product;
        fr_mul(&product, &factor, &a[column * n + j]);
        fr_sub(&a[i * n + j], &a[i * n + j], &product);
        fr_mul(&product, &factor, &inverse[column * n + j]);
        fr_sub(&inverse[i * n + j], &inverse[i * n + j], &product);
      }
    }
  }
  return 1;
}

/* P, Q and the bridge matrix; s->mds is filled. 0 if N is singular. */
static int schedule_partial(const schedule_t *s) {
  const uint32_t t = s->t, n = t - 1, last = s->partial - 1;
  const fr_t *inner = s->mds + t + 1; /* N, rows t apart */
  fr_t copy[(MAX_T - 1) * (MAX_T - 1)], inverse[(MAX_T - 1) * (MAX_T - 1)] = {{{0}}};
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t j = 0; j < n; j++) copy[i * n + j] = inner[i * t + j];
  }
  if (!invert(copy, inverse, n)) return 0;
  for (uint32_t i = 0; i < n; i++) {
    s->p[(size_t)last * n + i] = s->mds[1 + i];
    s->q[(size_t)last * n + i] = s->mds[(i + 1) * t];
  }
  apply(inverse, n, 1, s->p + (size_t)last * n, n);
  for (uint32_t k = last; k-- > 0;) {
    fr_t *p = s->p + (size_t)k * n, *q = s->q + (size_t)k * n;
    for (uint32_t i = 0; i < n; i++) {
      p[i] = p[n + i];
      q[i] = q[n + i];
    }
    apply(inverse, n, 1, p, n);
    apply(inner, t, 0, q, n);
  }
  for (uint32_t j = 0; j < t; j++) { /* column by column: N^partial times M's lower rows */
    fr_t column[MAX_T];
    for (uint32_t i = 0; i < n; i++) column[i] = s->mds[(i + 1) * t + j];
    for (uint32_t k = 0; k < s->partial; k++) apply(inner, t, 0, column, n);
    s->bridge[j] = s->mds[j];
    for (uint32_t i = 0; i < n; i++) s->bridge[(i + 1) * t + j] = column[i];
  }
  return 1;
}

/* Round constants: the full rounds' as they are; the partial rounds' gathered into one a round. */
static int schedule_constants(const schedule_t *s, const uint64_t *constants) {
  const uint32_t t = s->t, n = t - 1, half = s->full / 2;
  fr_t rest[MAX_T], round[MAX_T];
  for (uint32_t i = 0; i < t; i++) rest[i] = fr_zero();
  for (uint32_t r = 0; r < s->full + s->partial; r++) {
    int bad = 0;
    for (uint32_t i = 0; i < t; i++) bad |= fr_load(&round[i], constants + 4 * ((size_t)r * t + i));
    if (bad) return ZK_ERR_RANGE;
    if (r >= half && r <= half + s->partial) {
      fr_t carried; /* v times the constants gathered so far */
      dot(&carried, s->mds + 1, 1, rest, n);
      fr_add(&round[0], &round[0], &carried);
      apply(s->mds + t + 1, t, 0, rest, n);
      for (uint32_t i = 0; i < n; i++) fr_add(&rest[i], &rest[i], &round[i + 1]);
      for (uint32_t i = 0; i < n; i++) round[i + 1] = rest[i];
    }
    if (r >= half && r < half + s->partial) {
      s->partial_constants[r - half] = round[0];
    } else {
      const uint32_t full_round = r < half ? r : r - s->partial;
      for (uint32_t i = 0; i < t; i++) s->full_constants[full_round * t + i] = round[i];
    }
  }
  return ZK_OK;
}

/* Rearrange parameters in standard form into a schedule (opaque words, Montgomery form). */
int ZK_NAME(zk_poseidon_schedule)(uint64_t *schedule, size_t schedule_len,
                                  const uint64_t *constants, size_t constants_len,
                                  const uint64_t *mds, size_t mds_len, uint32_t t, uint32_t full,
                                  uint32_t partial) {
  schedule_t s;
  if (schedule_view(&s, schedule, schedule_len, t, full, partial)) return ZK_ERR_ARGUMENT;
  if (constants_len != 4 * (size_t)(full + partial) * t || mds_len != 4 * (size_t)t * t) {
    return ZK_ERR_ARGUMENT;
  }
  for (size_t i = 0; i < (size_t)t * t; i++) {
    if (fr_load(&s.mds[i], mds + 4 * i)) return ZK_ERR_RANGE;
  }
  if (!schedule_partial(&s)) return ZK_ERR_ARGUMENT;
  return schedule_constants(&s, constants);
}

/* ---- The permutation ---- */

/* Where one permutation records what a circuit needs: for S-box number i, counted in the order of
 * evaluation, {x^2, x^4, x'} with x' the input of S-box i + t. The last t S-boxes have no such
 * successor: for them x' is the final state's entry j if bit j of `outputs` is set, else x^5. */
typedef struct {
  uint64_t *words; /* NULL: record nothing */
  size_t sbox;
  uint32_t t, outputs;
} recorder_t;

static inline void record(const recorder_t *rec, size_t sbox, int slot, const fr_t *value) {
  fr_from_mont(rec->words + (3 * sbox + (size_t)slot) * 4, value);
}

static inline void sbox(fr_t *x, recorder_t *rec) {
  fr_t x2, x4;
  fr_sqr(&x2, x);
  fr_sqr(&x4, &x2);
  if (rec->words) {
    if (rec->sbox >= rec->t) record(rec, rec->sbox - rec->t, 2, x);
    record(rec, rec->sbox, 0, &x2);
    record(rec, rec->sbox, 1, &x4);
    rec->sbox++;
  }
  fr_mul(x, &x4, x);
}

static void full_round(const schedule_t *s, uint32_t round, const fr_t *matrix, fr_t *state,
                       recorder_t *rec) {
  const uint32_t t = s->t;
  for (uint32_t i = 0; i < t; i++) {
    fr_add(&state[i], &state[i], &s->full_constants[round * t + i]);
    sbox(&state[i], rec);
  }
  if (rec->words && round + 1 == s->full) {
    for (uint32_t i = 0; i < t; i++) record(rec, rec->sbox - t + i, 2, &state[i]);
  }
  apply(matrix, t, 0, state, t);
}

static void permute(const schedule_t *s, fr_t *state, uint64_t *trace, uint32_t outputs) {
  const uint32_t t = s->t, n = t - 1, half = s->full / 2;
  recorder_t rec = {.words = trace, .sbox = 0, .t = t, .outputs = outputs};
  for (uint32_t r = 0; r < half; r++) {
    full_round(s, r, r + 1 == half ? s->bridge : s->mds, state, &rec);
  }
  fr_t u = state[0];
  for (uint32_t k = 0; k < s->partial; k++) {
    const fr_t *p = s->p + (size_t)k * n, *q = s->q + (size_t)k * n;
    fr_t next, product;
    fr_add(&u, &u, &s->partial_constants[k]);
    sbox(&u, &rec);
    dot(&next, p, 1, state + 1, n);
    for (uint32_t i = 0; i < n; i++) {
      fr_mul(&product, &q[i], &u);
      fr_add(&state[i + 1], &state[i + 1], &product);
    }
    fr_mul(&product, &s->mds[0], &u);
    fr_add(&u, &next, &product);
  }
  state[0] = u;
  for (uint32_t r = half; r < s->full; r++) full_round(s, r, s->mds, state, &rec);
  for (uint32_t i = 0; trace && i < t; i++) {
    if (outputs >> i & 1) record(&rec, rec.sbox - t + i, 2, &state[i]);
  }
}

/* ---- The sponge, overwriting or adding, over many independent lanes ---- */

typedef struct {
  const schedule_t *s;
  uint64_t *states;       /* [lanes][t]: in the initial, out the final states */
  const uint64_t *inputs; /* [lanes][blocks][t - 1], or NULL with one block: permute as it is */
  uint64_t *trace;        /* [lanes][blocks][S-boxes][3] or NULL */
  size_t blocks;
  uint32_t outputs, adds;
  atomic_int status;
} sponge_t;

/* Take one block in: overwrite entries 1.. of the state, or add it to entries 0... */
static int absorb_block(const sponge_t *job, fr_t *state, const uint64_t *block) {
  const uint32_t rate = job->s->t - 1;
  int bad = 0;
  for (uint32_t i = 0; i < rate; i++) {
    fr_t value;
    bad |= fr_load(&value, block + 4 * i);
    if (job->adds) {
      fr_add(&state[i], &state[i], &value);
    } else {
      state[i + 1] = value;
    }
  }
  return bad;
}

static int absorb_lane(const sponge_t *job, size_t lane) {
  const schedule_t *s = job->s;
  const uint32_t t = s->t;
  const size_t sboxes = (size_t)s->full * t + s->partial;
  fr_t state[MAX_T];
  int bad = 0;
  for (uint32_t i = 0; i < t; i++) bad |= fr_load(&state[i], job->states + 4 * (lane * t + i));
  for (size_t block = 0; block < job->blocks && !bad; block++) {
    const size_t index = lane * job->blocks + block;
    if (job->inputs) bad |= absorb_block(job, state, job->inputs + 4 * index * (t - 1));
    uint64_t *trace = job->trace ? job->trace + index * sboxes * 12 : NULL;
    permute(s, state, trace, job->adds || block + 1 == job->blocks ? job->outputs : 1);
  }
  if (bad) return ZK_ERR_RANGE;
  for (uint32_t i = 0; i < t; i++) fr_from_mont(job->states + 4 * (lane * t + i), &state[i]);
  return ZK_OK;
}

static void absorb_range(void *context, size_t begin, size_t end) {
  sponge_t *job = context;
  for (size_t lane = begin; lane < end; lane++) {
    const int status = absorb_lane(job, lane);
    if (status) atomic_store(&job->status, status);
  }
}

/* For each lane: overwrite state[1..t) with each block of its inputs in turn, or, if `adds` is 1,
 * add the block to state[0..t-1), and permute.
 *
 * `states` holds the initial states and receives the final ones. Without inputs, each state is
 * permuted once as it is (blocks must be 1). `trace` may be NULL; otherwise every block records all
 * of its S-boxes: with `outputs`, but where blocks overwrite all except a lane's last with 1. */
int ZK_NAME(zk_poseidon_sponge)(uint64_t *states, size_t states_len, const uint64_t *inputs,
                                size_t inputs_len, uint64_t *trace, size_t trace_len, size_t lanes,
                                size_t blocks, uint32_t outputs, uint32_t adds,
                                const uint64_t *schedule, size_t schedule_len, uint32_t t,
                                uint32_t full, uint32_t partial) {
  schedule_t s;
  size_t permutations, words;
  if (schedule_view(&s, schedule, schedule_len, t, full, partial)) return ZK_ERR_ARGUMENT;
  if (blocks == 0 || (!inputs && blocks != 1) || outputs >> t || adds > 1) return ZK_ERR_ARGUMENT;
  if (__builtin_mul_overflow(lanes, (size_t)t * 4, &words) || words != states_len) {
    return ZK_ERR_ARGUMENT;
  }
  if (__builtin_mul_overflow(lanes, blocks, &permutations)) return ZK_ERR_ARGUMENT;
  if (__builtin_mul_overflow(permutations, (size_t)(t - 1) * 4, &words) ||
      (inputs && words != inputs_len)) {
    return ZK_ERR_ARGUMENT;
  }
  const size_t sboxes = (size_t)full * t + partial;
  if (__builtin_mul_overflow(permutations, sboxes * 12, &words) || (trace && words != trace_len)) {
    return ZK_ERR_ARGUMENT;
  }
  sponge_t job = {&s, states, inputs, trace, blocks, outputs, adds, ZK_OK};
  zk_parallel_for(lanes, 4, absorb_range, &job);
  return atomic_load(&job.status);
}
