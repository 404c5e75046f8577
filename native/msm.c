/* Multi-scalar products by Pippenger's bucket method, in G1 and G2.
 *
 * Scalars above r/2 are replaced by r - s and their points negated, so that small negative values
 * cost no more than small positive ones. Signed digits of `width` bits halve the buckets. A
 * window's entries are sorted by bucket, each bucket is summed as a tree of batched affine
 * additions (batch_template.h), and the buckets' weighted sum is taken the same way. Entries are
 * ordered by size, so that a window only looks at those long enough to reach it: zeros, ones and
 * the small values of quantised witnesses cost what their digits cost.
 *
 * The running time depends on the scalars: fit for a prover whose time nobody else observes.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "curve.h"
#include "threads.h"
#ifdef ZK_KERNEL_IFMA
#include "lanes.h"
#endif

enum {
  BATCH_POINTS = 4096, /* points that one batch of additions works on */
  FEW_ENTRIES = 32,    /* up to here Straus, without buckets */
  FEW_SUMS = 16,       /* below: not worth a vector */
  LOOK_AHEAD = 24,     /* entries between a point's prefetch and its use */
  MAX_WIDTH = 16,
  SCALAR_BITS = 254,
};

enum { ADD, COPY, DOUBLE, CANCEL };

/* (r - 1) / 2 */
static const uint64_t HALF_R[4] = {0xa1f0fac9f8000000ULL, 0x9419f4243cdcb848ULL,
                                   0xdc2822db40c0ac2eULL, 0x183227397098d014ULL};

typedef struct {
  const char *points;
  size_t n;          /* entries: scalars that are not 0, on points that are not infinity */
  uint64_t *scalars; /* |s| of each entry, later plus the digits' offsets: limb k of entry i is
                        scalars[k * n + i], so that a window reads one or two runs of limbs */
  uint32_t *entries; /* 2 * index of its point + (1 if the point is to be negated) */
  size_t longer[SCALAR_BITS + 2]; /* longer[b]: entries of at least b bits; they come first */
  unsigned bits, width, windows;
} msm_t;

typedef struct {
  uint32_t *counts;  /* of each bucket */
  uint32_t *entries; /* sorted by bucket, signs applied, and some padding */
} sorted_t;

typedef struct {
  unsigned window;
  size_t begin, end;
} task_t;

/* Memory for structures that hold vectors; NULL if there is none. `size` is a multiple of their
 * alignment because sizeof always is. */
static void *allocate_aligned(size_t size) {
  void *memory;
  return posix_memalign(&memory, 64, size) == 0 ? memory : NULL;
}

static unsigned bit_length(const uint64_t a[4]) {
  for (int i = 3; i >= 0; i--) {
    if (a[i]) return (unsigned)(64 * i + 64 - __builtin_clzll(a[i]));
  }
  return 0;
}

static int is_zero_record(const char *record, size_t size) {
  uint64_t word, any = 0;
  for (size_t i = 0; i < size; i += 8) {
    memcpy(&word, record + i, 8);
    any |= word;
  }
  return any == 0;
}

/* s, or r - s if that is smaller; returns whether it was negated. */
static uint32_t smaller_magnitude(uint64_t s[4]) {
  if (!limbs_less(HALF_R, s)) return 0;
  limbs_sub(s, FR_MODULUS, s);
  return 1;
}

/* --- reading the scalars --- */

typedef struct {
  const char *points, *scalars;
  size_t point_bytes;
  uint8_t *bits;
  atomic_int status;
} measure_t;

static void measure_range(void *context, size_t begin, size_t end) {
  measure_t *job = context;
  for (size_t i = begin; i < end; i++) {
    uint64_t s[4];
    memcpy(s, job->scalars + 32 * i, 32);
    if (!fr_is_canonical(s)) {
      atomic_store(&job->status, ZK_ERR_RANGE);
      return;
    }
    smaller_magnitude(s);
    unsigned bits = bit_length(s);
    if (bits && is_zero_record(job->points + job->point_bytes * i, job->point_bytes)) bits = 0;
    job->bits[i] = (uint8_t)bits;
  }
}

/* Place the entries in descending order of length. */
static void place_entries(msm_t *msm, const char *scalars, const uint8_t *bits, size_t n) {
  size_t next[SCALAR_BITS + 1];
  for (unsigned b = 0; b <= SCALAR_BITS; b++) next[b] = msm->longer[b + 1];
  for (size_t i = 0; i < n; i++) {
    if (!bits[i]) continue;
    const size_t at = next[bits[i]]++;
    uint64_t s[4];
    memcpy(s, scalars + 32 * i, 32);
    const uint32_t negated = smaller_magnitude(s);
    for (int k = 0; k < 4; k++) msm->scalars[k * msm->n + at] = s[k];
    msm->entries[at] = (uint32_t)i << 1 | negated;
  }
}

static int read_scalars(msm_t *msm, const void *points, size_t point_bytes, const void *scalars,
                        size_t n) {
  memset(msm, 0, sizeof *msm);
  msm->points = points;
  if (n == 0) return ZK_OK;
  if (n >> 31) return ZK_ERR_ARGUMENT;
  uint8_t *bits = malloc(n);
  if (!bits) return ZK_ERR_MEMORY;
  measure_t job = {points, scalars, point_bytes, bits, ZK_OK};
  zk_parallel_for(n, 4096, measure_range, &job);
  int status = atomic_load(&job.status);
  if (status == ZK_OK) {
    for (size_t i = 0; i < n; i++) msm->longer[bits[i]]++;
    for (unsigned b = SCALAR_BITS; b-- > 0;) msm->longer[b] += msm->longer[b + 1];
    msm->n = msm->longer[1];
    while (msm->bits < SCALAR_BITS && msm->longer[msm->bits + 1]) msm->bits++;
    if (msm->n) {
      msm->scalars = malloc(msm->n * 32);
      msm->entries = malloc(msm->n * sizeof *msm->entries);
      if (msm->scalars && msm->entries) {
        place_entries(msm, scalars, bits, n);
      } else {
        status = ZK_ERR_MEMORY;
      }
    }
  }
  free(bits);
  return status;
}

static void free_msm(msm_t *msm) {
  free(msm->scalars);
  free(msm->entries);
}

/* --- digits --- */

/* sum of 2^(width - 1) 2^(width * w) over all windows but the last: with it added, the plain digits
 * less 2^(width - 1) are signed digits, and the last digit is what remains, unsigned. */
static void digit_offsets(uint64_t offset[4], unsigned width, unsigned windows) {
  memset(offset, 0, 32);
  for (unsigned w = 0; w + 1 < windows; w++) {
    const unsigned bit = width * w + width - 1;
    offset[bit / 64] |= (uint64_t)1 << (bit % 64);
  }
}

/* Where a window's digit lies in four limbs, and what to subtract from it. */
typedef struct {
  unsigned low, high, shift;
  uint64_t mask;
  int bias;
} digit_place_t;

static digit_place_t place_digit(unsigned width, unsigned window, unsigned windows) {
  const unsigned bit = width * window, limb = bit / 64, shift = bit % 64;
  const unsigned bits = limb == 3 && width > 64 - shift ? 64 - shift : width;
  return (digit_place_t){limb, limb < 3 ? limb + 1 : limb, shift, ((uint64_t)1 << bits) - 1,
                         window + 1 < windows ? 1 << (width - 1) : 0};
}

static int signed_digit(const digit_place_t *place, uint64_t low, uint64_t high) {
  const uint64_t v = low >> place->shift | high << 1 << (63 - place->shift);
  return (int)(v & place->mask) - place->bias;
}

/* Entries that can have a digit in a window: a carry reaches window w > 0 from values above
 * 2^(width * w - 1) - 2^(width * (w - 1)), hence of at least width * w - 1 bits. */
static size_t entries_reaching(const msm_t *msm, unsigned width, unsigned window) {
  if (window == 0) return msm->n;
  return msm->longer[width * window - 1];
}

static unsigned windows_for(unsigned bits, unsigned width) { return (bits + width) / width; }

/* The width that costs the fewest additions: one an entry and digit, and about 2.3 a bucket. */
static unsigned best_width(const msm_t *msm) {
  unsigned best = 2;
  double best_cost = -1;
  for (unsigned width = 2; width <= MAX_WIDTH; width++) {
    double cost = 0;
    for (unsigned w = 0; w < windows_for(msm->bits, width); w++) {
      cost += (double)entries_reaching(msm, width, w) + 2.3 * (double)(1 << (width - 1)) + 150;
    }
    if (best_cost < 0 || cost < best_cost) {
      best = width;
      best_cost = cost;
    }
  }
  return best;
}

static void add_offsets(msm_t *msm) {
  uint64_t offset[4];
  msm->width = best_width(msm);
  msm->windows = windows_for(msm->bits, msm->width);
  digit_offsets(offset, msm->width, msm->windows);
  for (size_t i = 0; i < msm->n; i++) {
    unsigned __int128 sum = 0;
    for (int k = 0; k < 4; k++) {
      sum += (unsigned __int128)msm->scalars[k * msm->n + i] + offset[k];
      msm->scalars[k * msm->n + i] = (uint64_t)sum;
      sum >>= 64;
    }
  }
}

/* --- windows --- */

static void free_sorted(sorted_t *sorted) {
  free(sorted->counts);
  free(sorted->entries);
}

/* The window's digits of the entries in [begin, end), and how many fall in each bucket. */
static void read_digits(int32_t *digits, uint32_t *counts, const msm_t *msm, unsigned window,
                        size_t begin, size_t end) {
  const digit_place_t place = place_digit(msm->width, window, msm->windows);
  const uint64_t *low = msm->scalars + place.low * msm->n;
  const uint64_t *high = msm->scalars + place.high * msm->n;
  for (size_t i = begin; i < end; i++) {
    digits[i - begin] = signed_digit(&place, low[i], high[i]);
  }
  for (size_t i = 0; i < end - begin; i++) {
    if (digits[i]) counts[abs(digits[i]) - 1]++;
  }
}

/* Counting sort of the entries in [begin, end) by their digit in `window`. */
static int sort_window(sorted_t *sorted, const msm_t *msm, unsigned window, size_t begin,
                       size_t end) {
  const size_t buckets = (size_t)1 << (msm->width - 1);
  sorted->counts = calloc(buckets, sizeof *sorted->counts);
  sorted->entries = malloc((end - begin + LOOK_AHEAD) * sizeof *sorted->entries);
  uint32_t *next = malloc(buckets * sizeof *next);
  int32_t *digits = malloc((end - begin) * sizeof *digits);
  int status = ZK_ERR_MEMORY;
  if (sorted->counts && sorted->entries && next && digits) {
    read_digits(digits, sorted->counts, msm, window, begin, end);
    uint32_t total = 0;
    for (size_t b = 0; b < buckets; b++) {
      next[b] = total;
      total += sorted->counts[b];
    }
    memset(sorted->entries + total, 0, LOOK_AHEAD * sizeof *sorted->entries);
    for (size_t i = begin; i < end; i++) {
      const int d = digits[i - begin];
      if (d) sorted->entries[next[abs(d) - 1]++] = msm->entries[i] ^ (uint32_t)(d < 0);
    }
    status = ZK_OK;
  }
  free(digits);
  free(next);
  return status;
}

/* Split the windows over the threads: a window with much more than its share of the entries is cut,
 * each piece with buckets of its own. */
static task_t *plan_tasks(const msm_t *msm, size_t *n_tasks) {
  const size_t threads = (size_t)zk_threads(), buckets = (size_t)1 << (msm->width - 1);
  size_t total = 0, count = 0;
  for (unsigned w = 0; w < msm->windows; w++) {
    total += entries_reaching(msm, msm->width, w) + 2 * buckets;
  }
  size_t piece = threads == 1 ? total : total / (3 * threads);
  if (piece < 4 * buckets) piece = 4 * buckets;
  if (piece < 2048) piece = 2048;
  for (unsigned w = 0; w < msm->windows; w++) {
    count += entries_reaching(msm, msm->width, w) / piece + 1;
  }
  task_t *tasks = malloc(count * sizeof *tasks);
  *n_tasks = count;
  if (!tasks) return NULL;
  task_t *task = tasks;
  for (unsigned w = 0; w < msm->windows; w++) {
    const size_t n = entries_reaching(msm, msm->width, w), pieces = n / piece + 1;
    for (size_t i = 0; i < pieces; i++) {
      *task++ = (task_t){w, n / pieces * i, i + 1 < pieces ? n / pieces * (i + 1) : n};
    }
  }
  return tasks;
}

/* Window width of a fixed base's table: the fewest additions, with a table that stays in cache. */
static unsigned fixed_base_width(size_t n) {
  unsigned best = 4;
  double best_cost = -1;
  for (unsigned width = 4; width <= 13; width++) {
    const double windows = (SCALAR_BITS + width) / width;
    const double cost = windows * ((double)n + 3.0 * (double)(1 << (width - 1)));
    if (best_cost < 0 || cost < best_cost) {
      best = width;
      best_cost = cost;
    }
  }
  return best;
}

#define G(name) ZK_NAME(g1_##name)
#define G_T g1_t
#define G_AFFINE g1_affine_t
#define E(name) fq_##name
#define E_T fq_t
#define E8(name) fq8_##name
#define E8_T fq8_t
#include "msm_template.h"

#define G(name) ZK_NAME(g2_##name)
#define G_T g2_t
#define G_AFFINE g2_affine_t
#define E(name) fq2_##name
#define E_T fq2_t
#define E8(name) fq2x8_##name
#define E8_T fq2x8_t
#include "msm_template.h"
