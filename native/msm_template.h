/* Multi-scalar products and multiples of a fixed base in one group: included by msm.c, see there.
 */
#include "batch_template.h"

typedef struct {
  G(batch_t) batch;
  G_AFFINE block[BATCH_POINTS], spare[BATCH_POINTS];
  uint32_t lengths[BATCH_POINTS], owners[BATCH_POINTS];
  size_t used, runs;
} G(filler_t);

static void G(load_point)(G_AFFINE *r, const msm_t *msm, uint32_t entry) {
  /* Signs are as good as random: a selection by mask costs less than a branch. */
  const uint64_t negate = (uint64_t)0 - (entry & 1);
  uint64_t y[sizeof r->y / 8], minus_y[sizeof r->y / 8];
  memcpy(r, msm->points + (size_t)(entry >> 1) * sizeof *r, sizeof *r);
  memcpy(y, &r->y, sizeof y);
  E(neg)(&r->y, &r->y);
  memcpy(minus_y, &r->y, sizeof minus_y);
  for (size_t i = 0; i < sizeof y / 8; i++) y[i] ^= (y[i] ^ minus_y[i]) & negate;
  memcpy(&r->y, y, sizeof y);
}

static void G(flush)(G(filler_t) * f, G_AFFINE *buckets) {
  const G_AFFINE *sums = G(sum_runs)(&f->batch, f->block, f->spare, f->lengths, f->runs);
  for (size_t i = 0; i < f->runs; i++) buckets[f->owners[i]] = sums[i];
  f->used = f->runs = 0;
}

/* Add `count` entries to bucket `owner`; buckets fill in ascending order. */
static void G(fill)(G(filler_t) * f, const msm_t *msm, G_AFFINE *buckets, uint32_t owner,
                    const uint32_t *entries, uint32_t count) {
  while (count) {
    const size_t begin = f->used;
    f->owners[f->runs] = owner;
    if (!G(affine_is_infinity)(&buckets[owner])) f->block[f->used++] = buckets[owner];
    for (; count && f->used < BATCH_POINTS; count--, entries++) {
      /* The sorted entries go on past this bucket, and are padded at their end. */
      const char *ahead = msm->points + (size_t)(entries[LOOK_AHEAD] >> 1) * sizeof(G_AFFINE);
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + sizeof(G_AFFINE) - 1);
      G(load_point)(&f->block[f->used++], msm, *entries);
    }
    f->lengths[f->runs++] = (uint32_t)(f->used - begin);
    if (f->used == BATCH_POINTS) G(flush)(f, buckets);
  }
}

/* sum of (i + 1) buckets[i] over 2^bits buckets, overwriting them and as much of `spare`: a round
 * leaves 2 + round lists of 2^(bits - round - 1) points. The sum is
 *   sum of buckets[i] + sum over bits b of 2^b * (sum of buckets[i] with bit b of i set),
 * and every round halves all of these sums at once: the first list holds neighbours' sums of all
 * buckets, list 1 + b those with bit b set. */
static void G(weighted_sum)(G_T *r, G(batch_t) * batch, G_AFFINE *buckets, G_AFFINE *spare,
                            unsigned bits) {
  for (unsigned round = 0; round < bits; round++) {
    const size_t length = (size_t)1 << (bits - round), total = length * (round + 1);
    G(add_neighbours)(batch, spare, buckets, total / 2);
    for (size_t i = 0; i < length / 2; i++) spare[total / 2 + i] = buckets[2 * i + 1];
    G_AFFINE *swap = buckets;
    buckets = spare;
    spare = swap;
  }
  *r = G(infinity)();
  for (unsigned b = bits; b-- > 0;) {
    G(double)(r, r);
    G(add_mixed)(r, r, &buckets[1 + b]);
  }
  G(add_mixed)(r, r, &buckets[0]);
}

/* One window over one range of the entries. */
static int G(window)(G_T *r, const msm_t *msm, unsigned window, size_t begin, size_t end) {
  const size_t n_buckets = (size_t)1 << (msm->width - 1);
  G_AFFINE *buckets = calloc(n_buckets, sizeof *buckets);
  G_AFFINE *spare = malloc(n_buckets * sizeof *spare);
  G(filler_t) *filler = allocate_aligned(sizeof *filler);
  sorted_t sorted;
  int status = sort_window(&sorted, msm, window, begin, end);
  if (!buckets || !spare || !filler) status = ZK_ERR_MEMORY;
  if (status == ZK_OK) {
    const uint32_t *entries = sorted.entries;
    filler->used = filler->runs = 0;
    for (uint32_t i = 0; i < n_buckets; i++) {
      G(fill)(filler, msm, buckets, i, entries, sorted.counts[i]);
      entries += sorted.counts[i];
    }
    G(flush)(filler, buckets);
    G(weighted_sum)(r, &filler->batch, buckets, spare, msm->width - 1);
  }
  free_sorted(&sorted);
  free(filler);
  free(spare);
  free(buckets);
  return status;
}

typedef struct {
  const msm_t *msm;
  const task_t *tasks;
  G_T *results;
  atomic_int status;
} G(job_t);

static void G(run_task)(void *context, size_t i) {
  G(job_t) *job = context;
  const task_t *task = &job->tasks[i];
  const int status = G(window)(&job->results[i], job->msm, task->window, task->begin, task->end);
  if (status) atomic_store(&job->status, status);
}

static int G(pippenger)(G_T *r, const msm_t *msm) {
  size_t n_tasks;
  task_t *tasks = plan_tasks(msm, &n_tasks);
  G_T *results = tasks ? malloc(n_tasks * sizeof *results) : NULL;
  int status = ZK_ERR_MEMORY;
  if (results) {
    G(job_t) job = {.msm = msm, .tasks = tasks, .results = results, .status = ZK_OK};
    zk_parallel_tasks(n_tasks, G(run_task), &job);
    status = atomic_load(&job.status);
  }
  if (status == ZK_OK) {
    /* Tasks are in ascending order of windows. */
    G_T acc = G(infinity)();
    unsigned window = tasks[n_tasks - 1].window;
    for (size_t i = n_tasks; i-- > 0;) {
      for (; window > tasks[i].window; window--) {
        for (unsigned k = 0; k < msm->width; k++) G(double)(&acc, &acc);
      }
      G(add)(&acc, &acc, &results[i]);
    }
    *r = acc;
  }
  free(results);
  free(tasks);
  return status;
}

/* A few entries: one chain of doublings, four bits at a time (Straus). */
static int G(straus)(G_T *r, const msm_t *msm) {
  G_T(*tables)[15] = malloc(msm->n * sizeof *tables);
  if (!tables) return ZK_ERR_MEMORY;
  for (size_t i = 0; i < msm->n; i++) {
    G_AFFINE p;
    G(load_point)(&p, msm, msm->entries[i]);
    G(from_affine)(&tables[i][0], &p);
    for (int k = 1; k < 15; k++) G(add_mixed)(&tables[i][k], &tables[i][k - 1], &p);
  }
  G_T acc = G(infinity)();
  for (int position = (int)(msm->bits + 3) / 4; position-- > 0;) {
    for (int k = 0; k < 4; k++) G(double)(&acc, &acc);
    for (size_t i = 0; i < msm->n; i++) {
      const uint64_t limb = msm->scalars[(size_t)(position / 16) * msm->n + i];
      const unsigned digit = limb >> (4 * (position % 16)) & 15;
      if (digit) G(add)(&acc, &acc, &tables[i][digit - 1]);
    }
  }
  *r = acc;
  free(tables);
  return ZK_OK;
}

int G(msm)(G_T *r, const void *points, const void *scalars, size_t n) {
  msm_t msm;
  int status = read_scalars(&msm, points, sizeof(G_AFFINE), scalars, n);
  if (status == ZK_OK) {
    if (msm.n == 0) {
      *r = G(infinity)();
    } else if (msm.n <= FEW_ENTRIES) {
      status = G(straus)(r, &msm);
    } else {
      add_offsets(&msm);
      status = G(pippenger)(r, &msm);
    }
  }
  free_msm(&msm);
  return status;
}

/* --- multiples of one base --- */

typedef struct {
  const G_AFFINE *table; /* windows x 2^(width - 1): (i + 1) 2^(width * window) base */
  const uint64_t *scalars;
  G_AFFINE *out;
  unsigned width, windows;
  uint64_t offset[4];
  atomic_int status;
} G(multiples_t);

/* Fill one row of the table with 1..count multiples of `base`, by doubling the known part. */
static void G(fill_row)(G_T *multiples, G_AFFINE *row, const G_T *base, size_t count) {
  multiples[0] = *base;
  for (size_t i = 1; i < count; i++) G(add)(&multiples[i], &multiples[i - 1], base);
  G(to_affine_many)(row, multiples, count);
}

static G_AFFINE *G(make_table)(const G_AFFINE *base, unsigned width, unsigned windows) {
  const size_t count = (size_t)1 << (width - 1);
  G_AFFINE *table = malloc(count * windows * sizeof *table);
  G_T *multiples = malloc(count * sizeof *multiples);
  if (table && multiples) {
    G_T power;
    G(from_affine)(&power, base);
    for (unsigned w = 0; w < windows; w++) {
      G(fill_row)(multiples, table + w * count, &power, count);
      for (unsigned k = 0; k < width; k++) G(double)(&power, &power);
    }
  } else {
    free(table);
    table = NULL;
  }
  free(multiples);
  return table;
}

/* buffer[2i + 1] = the table's point for scalar i's digit in this window. */
static void G(look_up)(const G(multiples_t) * job, G_AFFINE *buffer, const uint64_t (*scalars)[4],
                       unsigned window, size_t n) {
  const G_AFFINE *row = job->table + ((size_t)window << (job->width - 1));
  const digit_place_t place = place_digit(job->width, window, job->windows);
  for (size_t i = 0; i < n; i++) {
    const int digit = signed_digit(&place, scalars[i][place.low], scalars[i][place.high]);
    G_AFFINE *p = &buffer[2 * i + 1];
    if (digit == 0) {
      *p = (G_AFFINE){E(zero)(), E(zero)()};
    } else {
      *p = row[(digit < 0 ? -digit : digit) - 1];
      if (digit < 0) E(neg)(&p->y, &p->y);
    }
  }
}

static void G(multiples_range)(void *context, size_t begin, size_t end) {
  enum { BLOCK = BATCH_POINTS / 2 };
  G(multiples_t) *job = context;
  G(filler_t) *filler = allocate_aligned(sizeof *filler);
  uint64_t (*scalars)[4] = malloc(BLOCK * sizeof *scalars);
  if (!filler || !scalars) {
    atomic_store(&job->status, ZK_ERR_MEMORY);
    end = begin;
  }
  for (; begin < end; begin += BLOCK) {
    const size_t n = end - begin < BLOCK ? end - begin : BLOCK;
    for (size_t i = 0; i < n; i++) {
      const uint64_t *scalar = job->scalars + 4 * (begin + i);
      if (!fr_is_canonical(scalar)) atomic_store(&job->status, ZK_ERR_RANGE);
      limbs_add(scalars[i], scalar, job->offset);
    }
    memset(job->out + begin, 0, n * sizeof *job->out);
    for (unsigned w = 0; w < job->windows; w++) {
      for (size_t i = 0; i < n; i++) filler->block[2 * i] = job->out[begin + i];
      G(look_up)(job, filler->block, (const uint64_t (*)[4])scalars, w, n);
      G(add_neighbours)(&filler->batch, job->out + begin, filler->block, n);
    }
  }
  free(filler);
  free(scalars);
}

int G(mul_many)(G_AFFINE *out, const G_AFFINE *base, const uint64_t *scalars, size_t n) {
  G(multiples_t) job = {.scalars = scalars, .out = out, .status = ZK_OK};
  job.width = fixed_base_width(n);
  job.windows = (SCALAR_BITS + 1 + job.width - 1) / job.width;
  digit_offsets(job.offset, job.width, job.windows);
  if (G(affine_is_infinity)(base)) return ZK_ERR_INFINITY;
  G_AFFINE *table = G(make_table)(base, job.width, job.windows);
  if (!table) return ZK_ERR_MEMORY;
  job.table = table;
  zk_parallel_for(n, 64, G(multiples_range), &job);
  free(table);
  return atomic_load(&job.status);
}

#undef G
#undef G_T
#undef G_AFFINE
#undef E
#undef E_T
#undef E8
#undef E8_T
