/* Polynomials over Z_q[X]/(X^N + 1), each as its residues modulo `count` primes q = 1 (mod 2N),
 * and what threshold additive RLWE does with them.
 *
 * A polynomial is count * N words, one row of N for each prime. In NTT form entry i of a row is the
 * value at psi^(2 rev(i) + 1), where psi is the least primitive 2N-th root of unity and rev
 * reverses log2 N bits: SEAL's order. Butterflies keep values below 4q (Harvey, arXiv:1205.2926),
 * products with a fixed factor are Shoup's, others Barrett's.
 *
 * Constant time in keys, errors, messages and shares: no branch and no address depends on them. One
 * exception, in sampling: a word of the stream that is rejected is seen to be rejected, which says
 * nothing about the words that are kept. That a residue is not canonical is told too. Streams are
 * cleared; arrays belong to the caller. zk_rlwe_tables and zk_rlwe_round take public data only.
 */
#include "chacha.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"
#include "status.h"
#include "threads.h"

enum { MIN_N = 64, MAX_N = 1 << 16, MAX_COUNT = 16, MIN_BITS = 20, MAX_BITS = 60 };
enum { HEADER = 8, MESSAGE_BITS = 62, BINOMIAL_BITS = 21 };
enum { TERNARY = 0, BINOMIAL = 1, UNIFORM = 2 };
enum { OP_ADD = 0, OP_SUB = 1, OP_MUL = 2 };

/* ---- Arithmetic modulo one prime ---- */

/* The constants of a prime: rows of the tables that zk_rlwe_tables fills. `barrett` is
 * floor((2^128 - 1) / q), `offset` the least multiple of q from 2^62 on. */
typedef struct {
  uint64_t q, barrett_low, barrett_high, n_inverse, n_inverse_shoup, offset;
  unsigned bits;
  const uint64_t *roots, *roots_shoup, *inverses, *inverses_shoup;
} prime_t;

static size_t table_words(size_t n) { return HEADER + 4 * n; }

static prime_t prime_at(const uint64_t *tables, size_t n, size_t index) {
  const uint64_t *t = tables + index * table_words(n);
  const uint64_t *rows = t + HEADER;
  return (prime_t){t[0],           t[1], t[2],     t[3],         t[4],        t[5],
                   (unsigned)t[6], rows, rows + n, rows + 2 * n, rows + 3 * n};
}

static inline uint64_t high_product(uint64_t a, uint64_t b) {
  return (uint64_t)(((unsigned __int128)a * b) >> 64);
}

/* x - m if x >= m, for x < 2^63. */
static inline uint64_t reduce_once(uint64_t x, uint64_t m) {
  const uint64_t d = x - m;
  return d + (m & (0 - (d >> 63)));
}

static uint64_t shoup(uint64_t w, uint64_t q) {
  return (uint64_t)(((unsigned __int128)w << 64) / q);
}

/* x w mod q in [0, 2q), for any x and w < q. */
static inline uint64_t mul_shoup_lazy(uint64_t x, uint64_t w, uint64_t w_shoup, uint64_t q) {
  return x * w - high_product(x, w_shoup) * q;
}

static inline uint64_t mul_shoup(uint64_t x, uint64_t w, uint64_t w_shoup, uint64_t q) {
  return reduce_once(mul_shoup_lazy(x, w, w_shoup, q), q);
}

/* z mod q for z < 2^124: the quotient's estimate is at most one too small. */
static inline uint64_t reduce(unsigned __int128 z, const prime_t *p) {
  const uint64_t low = (uint64_t)z, high = (uint64_t)(z >> 64);
  const uint64_t carry = high_product(low, p->barrett_low);
  const unsigned __int128 middle = (unsigned __int128)low * p->barrett_high + carry;
  const unsigned __int128 other = (unsigned __int128)high * p->barrett_low + (uint64_t)middle;
  const uint64_t quotient =
      high * p->barrett_high + (uint64_t)(middle >> 64) + (uint64_t)(other >> 64);
  return reduce_once(low - quotient * p->q, p->q);
}

static inline uint64_t mul(uint64_t a, uint64_t b, const prime_t *p) {
  return reduce((unsigned __int128)a * b, p);
}

/* v mod q for |v| <= 2^62: the offset makes it positive. */
static inline uint64_t from_signed(int64_t v, const prime_t *p) {
  return reduce((uint64_t)v + p->offset, p);
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t q) {
  unsigned __int128 result = 1, x = base % q;
  for (; exponent; exponent >>= 1) {
    if (exponent & 1) result = result * x % q;
    x = x * x % q;
  }
  return (uint64_t)result;
}

/* ---- Tables ---- */

static int valid_ring(size_t tables_len, size_t n, size_t count) {
  return n >= MIN_N && n <= MAX_N && (n & (n - 1)) == 0 && count >= 1 && count <= MAX_COUNT &&
         tables_len == count * table_words(n);
}

/* `len` words are whole polynomials; their number goes to `polynomials`. */
static int whole(size_t len, size_t n, size_t count, size_t *polynomials) {
  *polynomials = len / (n * count);
  return len % (n * count) == 0;
}

static unsigned bit_length(uint64_t x) {
  unsigned bits = 0;
  for (; x; x >>= 1) bits++;
  return bits;
}

/* The least primitive 2n-th root of unity modulo the prime q, or 0 if there is none. */
static uint64_t minimal_root(size_t n, uint64_t q) {
  uint64_t root = 0;
  for (uint64_t x = 2; x < 1000; x++) {
    const uint64_t candidate = power(x, (q - 1) / (2 * n), q);
    if (power(candidate, n, q) == q - 1) {
      root = candidate;
      break;
    }
  }
  const uint64_t square = (uint64_t)((unsigned __int128)root * root % q);
  uint64_t least = root, current = root;
  for (size_t i = 1; root && i < n; i++) { /* the odd powers are all of them */
    current = (uint64_t)((unsigned __int128)current * square % q);
    if (current < least) least = current;
  }
  return least;
}

static size_t reversed(size_t i, size_t n) {
  size_t r = 0;
  for (size_t bit = 1; bit < n; bit <<= 1) {
    r = r << 1 | (i & 1);
    i >>= 1;
  }
  return r;
}

static int fill_table(uint64_t *t, size_t n, uint64_t q) {
  const uint64_t root = minimal_root(n, q);
  if (root == 0) return ZK_ERR_ARGUMENT;
  const unsigned __int128 barrett = ~(unsigned __int128)0 / q;
  const uint64_t n_inverse = power(n, q - 2, q), inverse = power(root, q - 2, q);
  const uint64_t header[HEADER] = {q,
                                   (uint64_t)barrett,
                                   (uint64_t)(barrett >> 64),
                                   n_inverse,
                                   shoup(n_inverse, q),
                                   (((uint64_t)1 << MESSAGE_BITS) / q + 1) * q,
                                   bit_length(q - 1),
                                   0};
  memcpy(t, header, sizeof header);
  uint64_t *rows = t + HEADER, a = 1, b = 1;
  for (size_t i = 0; i < n; i++) {
    const size_t r = reversed(i, n);
    rows[r] = a;
    rows[n + r] = shoup(a, q);
    rows[2 * n + r] = b;
    rows[3 * n + r] = shoup(b, q);
    a = (uint64_t)((unsigned __int128)a * root % q);
    b = (uint64_t)((unsigned __int128)b * inverse % q);
  }
  return ZK_OK;
}

/* The moduli must be primes: that is the caller's to check. */
int ZK_NAME(zk_rlwe_tables)(uint64_t *tables, size_t tables_len, size_t n, const uint64_t *primes,
                            size_t count) {
  if (!valid_ring(tables_len, n, count)) return ZK_ERR_ARGUMENT;
  int status = ZK_OK;
  for (size_t l = 0; l < count && status == ZK_OK; l++) {
    const unsigned bits = bit_length(primes[l]);
    if (bits < MIN_BITS || bits > MAX_BITS || primes[l] % (2 * n) != 1) return ZK_ERR_ARGUMENT;
    status = fill_table(tables + l * table_words(n), n, primes[l]);
  }
  return status;
}

/* ---- Transforms ---- */

static void forward(uint64_t *x, size_t n, const prime_t *p) {
  const uint64_t q = p->q, twice = 2 * q;
  for (size_t blocks = 1, half = n / 2; blocks < n; blocks *= 2, half /= 2) {
    for (size_t i = 0; i < blocks; i++) {
      const uint64_t w = p->roots[blocks + i], w_shoup = p->roots_shoup[blocks + i];
      uint64_t *low = x + 2 * i * half, *high = low + half;
      for (size_t j = 0; j < half; j++) {
        const uint64_t u = reduce_once(low[j], twice);
        const uint64_t v = mul_shoup_lazy(high[j], w, w_shoup, q);
        low[j] = u + v;
        high[j] = u + twice - v;
      }
    }
  }
  for (size_t j = 0; j < n; j++) x[j] = reduce_once(reduce_once(x[j], twice), q);
}

static void inverse(uint64_t *x, size_t n, const prime_t *p) {
  const uint64_t q = p->q, twice = 2 * q;
  for (size_t blocks = n / 2, half = 1; blocks >= 1; blocks /= 2, half *= 2) {
    for (size_t i = 0; i < blocks; i++) {
      const uint64_t w = p->inverses[blocks + i], w_shoup = p->inverses_shoup[blocks + i];
      uint64_t *low = x + 2 * i * half, *high = low + half;
      for (size_t j = 0; j < half; j++) {
        const uint64_t u = low[j], v = high[j];
        low[j] = reduce_once(u + v, twice);
        high[j] = mul_shoup_lazy(u + twice - v, w, w_shoup, q);
      }
    }
  }
  for (size_t j = 0; j < n; j++) x[j] = mul_shoup(x[j], p->n_inverse, p->n_inverse_shoup, q);
}

/* ---- One job for all loops: a task handles row `i`, of prime i % count, or polynomial i ---- */

typedef struct {
  const uint64_t *tables;
  size_t n, count;
  uint64_t *out;
  const uint64_t *a, *b;
  size_t b_rows;
  const int64_t *small, *messages;
  int64_t *numbers;
  uint64_t *noise;
  uint8_t *bytes;
  const uint8_t *seed;
  uint32_t kind;
  uint64_t first;
  int option;
  uint32_t bits;
  atomic_int status;
} job_t;

static int above(const uint64_t *x, size_t n, uint64_t q) {
  unsigned bad = 0;
  for (size_t i = 0; i < n; i++) bad |= x[i] >= q;
  return bad != 0;
}

static void ntt_task(void *context, size_t row) {
  job_t *job = context;
  const prime_t p = prime_at(job->tables, job->n, row % job->count);
  uint64_t *x = job->out + row * job->n;
  if (above(x, job->n, p.q)) {
    atomic_store(&job->status, ZK_ERR_RANGE);
  } else if (job->option) {
    inverse(x, job->n, &p);
  } else {
    forward(x, job->n, &p);
  }
}

int ZK_NAME(zk_rlwe_ntt)(uint64_t *data, size_t data_len, const uint64_t *tables, size_t tables_len,
                         size_t n, size_t count, int inverse) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(data_len, n, count, &polynomials))
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables, .n = n, .count = count, .out = data, .option = inverse};
  zk_parallel_tasks(polynomials * count, ntt_task, &job);
  return atomic_load(&job.status);
}

/* ---- Sampling ---- */

/* n values below q: words of the stream cut to q's bits, those at or above q left out. */
static void uniform_row(uint64_t *out, size_t n, const prime_t *p, chacha_t *stream) {
  const uint64_t cut = ~(uint64_t)0 >> (64 - p->bits);
  for (size_t i = 0; i < n;) {
    out[i] = chacha_next(stream) & cut;
    i += out[i] < p->q;
  }
}

static void uniform_task(void *context, size_t m) {
  job_t *job = context;
  chacha_t stream;
  chacha_init(&stream, job->seed, job->kind, job->first + m);
  for (size_t l = 0; l < job->count; l++) {
    const prime_t p = prime_at(job->tables, job->n, l);
    uniform_row(job->out + (m * job->count + l) * job->n, job->n, &p, &stream);
  }
  chacha_wipe(&stream, sizeof stream);
}

int ZK_NAME(zk_rlwe_uniform)(uint64_t *out, size_t out_len, const uint8_t *seed, size_t seed_len,
                             uint32_t kind, uint64_t first, const uint64_t *tables,
                             size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(out_len, n, count, &polynomials) ||
      seed_len != CHACHA_SEED_BYTES)
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = out,
               .seed = seed,
               .kind = kind,
               .first = first};
  zk_parallel_tasks(polynomials, uniform_task, &job);
  return ZK_OK;
}

/* -1, 0 or 1: two bits of the stream at a time, lowest first, 3 left out. */
static void ternary_row(int64_t *out, size_t n, chacha_t *stream) {
  uint64_t word = 0;
  unsigned left = 0;
  for (size_t i = 0; i < n;) {
    if (left == 0) {
      word = chacha_next(stream);
      left = 32;
    }
    const uint64_t d = word & 3;
    out[i] = (int64_t)d - 1;
    i += d < 3;
    word >>= 2;
    left--;
  }
}

/* The number of ones among bits 0..20 less that among bits 21..41: a table would show in the
 * cache, so the bits are added in place, both halves at once. */
static int64_t binomial(uint64_t word) {
  const uint64_t ones = ((uint64_t)1 << BINOMIAL_BITS) - 1;
  uint64_t x = (word & ones) | ((word >> BINOMIAL_BITS) & ones) << 32;
  x -= (x >> 1) & 0x5555555555555555;
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
  x += x >> 8;
  x += x >> 16;
  return (int64_t)(x & 0x3f) - (int64_t)(x >> 32 & 0x3f);
}

static void sample_task(void *context, size_t m) {
  job_t *job = context;
  int64_t *out = job->numbers + m * job->n;
  chacha_t stream;
  chacha_init(&stream, job->seed, job->kind, job->first + m);
  if (job->option == TERNARY) ternary_row(out, job->n, &stream);
  if (job->option == BINOMIAL) {
    for (size_t i = 0; i < job->n; i++) out[i] = binomial(chacha_next(&stream));
  }
  if (job->option == UNIFORM) {
    const uint64_t half = (uint64_t)1 << job->bits;
    for (size_t i = 0; i < job->n; i++)
      out[i] = (int64_t)(chacha_next(&stream) & (2 * half - 1)) - (int64_t)half;
  }
  chacha_wipe(&stream, sizeof stream);
}

int ZK_NAME(zk_rlwe_sample)(int64_t *out, size_t out_len, size_t n, const uint8_t *seed,
                            size_t seed_len, uint32_t kind, uint64_t first, int distribution,
                            uint32_t bits) {
  if (n == 0 || out_len % n || seed_len != CHACHA_SEED_BYTES || distribution < TERNARY ||
      distribution > UNIFORM || bits >= MESSAGE_BITS)
    return ZK_ERR_ARGUMENT;
  job_t job = {.n = n,
               .numbers = out,
               .seed = seed,
               .kind = kind,
               .first = first,
               .option = distribution,
               .bits = bits};
  zk_parallel_tasks(out_len / n, sample_task, &job);
  return ZK_OK;
}

static int too_large(const int64_t *x, size_t n) {
  const uint64_t half = (uint64_t)1 << MESSAGE_BITS;
  unsigned bad = 0;
  for (size_t i = 0; i < n; i++) bad |= (uint64_t)x[i] + half > 2 * half;
  return bad != 0;
}

static void small_task(void *context, size_t row) {
  job_t *job = context;
  const prime_t p = prime_at(job->tables, job->n, row % job->count);
  const int64_t *values = job->small + row / job->count * job->n;
  uint64_t *out = job->out + row * job->n;
  if (too_large(values, job->n)) {
    atomic_store(&job->status, ZK_ERR_RANGE);
    return;
  }
  for (size_t i = 0; i < job->n; i++) out[i] = from_signed(values[i], &p);
}

int ZK_NAME(zk_rlwe_small)(uint64_t *out, size_t out_len, const int64_t *values, size_t values_len,
                           const uint64_t *tables, size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(out_len, n, count, &polynomials) ||
      values_len != polynomials * n)
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables, .n = n, .count = count, .out = out, .small = values};
  zk_parallel_tasks(polynomials * count, small_task, &job);
  return atomic_load(&job.status);
}

/* ---- Sums, products, combinations ---- */

static void binary_task(void *context, size_t row) {
  job_t *job = context;
  const size_t n = job->n;
  const prime_t p = prime_at(job->tables, n, row % job->count);
  const uint64_t *a = job->a + row * n, *b = job->b + row % job->b_rows * n;
  uint64_t *out = job->out + row * n;
  if (above(a, n, p.q) || above(b, n, p.q)) {
    atomic_store(&job->status, ZK_ERR_RANGE);
    return;
  }
  for (size_t i = 0; job->option == OP_ADD && i < n; i++) out[i] = reduce_once(a[i] + b[i], p.q);
  for (size_t i = 0; job->option == OP_SUB && i < n; i++)
    out[i] = reduce_once(a[i] + p.q - b[i], p.q);
  for (size_t i = 0; job->option == OP_MUL && i < n; i++) out[i] = mul(a[i], b[i], &p);
}

/* out = a op b, where b has as many polynomials as a, or one that serves all. */
int ZK_NAME(zk_rlwe_binary)(uint64_t *out, size_t out_len, const uint64_t *a, size_t a_len,
                            const uint64_t *b, size_t b_len, const uint64_t *tables,
                            size_t tables_len, size_t n, size_t count, int op) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(a_len, n, count, &polynomials) ||
      out_len != a_len || (b_len != a_len && b_len != n * count) || op < OP_ADD || op > OP_MUL)
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = out,
               .a = a,
               .b = b,
               .b_rows = b_len / n,
               .option = op};
  zk_parallel_tasks(polynomials * count, binary_task, &job);
  return atomic_load(&job.status);
}

static void combine_task(void *context, size_t row) {
  job_t *job = context;
  const size_t n = job->n, words = n * job->count;
  const prime_t p = prime_at(job->tables, n, row % job->count);
  uint64_t *out = job->out + row * n;
  memset(out, 0, n * sizeof *out);
  for (size_t k = 0; k < job->b_rows; k++) {
    const uint64_t w = job->b[k * job->count + row % job->count], w_shoup = shoup(w, p.q);
    const uint64_t *a =
        job->a + (row / job->count * job->b_rows + k) * words + row % job->count * n;
    if (above(a, n, p.q)) atomic_store(&job->status, ZK_ERR_RANGE);
    for (size_t i = 0; i < n; i++)
      out[i] = reduce_once(out[i] + mul_shoup(a[i], w, w_shoup, p.q), p.q);
  }
}

/* out[m] = sum over k of weights[k] inputs[m][k], each weight one number for each prime. */
int ZK_NAME(zk_rlwe_combine)(uint64_t *out, size_t out_len, const uint64_t *inputs,
                             size_t inputs_len, const uint64_t *weights, size_t weights_len,
                             const uint64_t *tables, size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(out_len, n, count, &polynomials) ||
      weights_len == 0 || weights_len % count || weights_len / count > inputs_len ||
      polynomials * (weights_len / count) * n * count != inputs_len)
    return ZK_ERR_ARGUMENT;
  for (size_t k = 0; k < weights_len; k++) {
    if (weights[k] >= prime_at(tables, n, k % count).q) return ZK_ERR_RANGE;
  }
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = out,
               .a = inputs,
               .b = weights,
               .b_rows = weights_len / count};
  zk_parallel_tasks(polynomials * count, combine_task, &job);
  return atomic_load(&job.status);
}

/* Row r of a matrix of zeros and ones, times the coefficients modulo each prime: sums of halves of
 * 32 bits, n <= 2^16 of them. */
static void project_task(void *context, size_t r) {
  job_t *job = context;
  const size_t n = job->n, rows = job->b_rows;
  const uint8_t *bits = job->bytes + r * (n / 8);
  for (size_t l = 0; l < job->count; l++) {
    const prime_t p = prime_at(job->tables, n, l);
    const uint64_t *x = job->a + l * n;
    uint64_t low = 0, high = 0;
    for (size_t i = 0; i < n; i += 8) {
      for (size_t k = 0; k < 8; k++) {
        const uint64_t chosen = x[i + k] & (0 - (uint64_t)(bits[i / 8] >> (7 - k) & 1));
        low += chosen & 0xffffffff;
        high += chosen >> 32;
      }
    }
    job->out[l * rows + r] = reduce(((unsigned __int128)high << 32) + low, &p);
  }
}

/* out[l][r] = sum over i of bit (r, i) times coefficient i modulo prime l; the bits of a row are
 * n / 8 bytes, highest first. */
int ZK_NAME(zk_rlwe_project)(uint64_t *out, size_t out_len, const uint8_t *bits, size_t bits_len,
                             const uint64_t *data, size_t data_len, const uint64_t *tables,
                             size_t tables_len, size_t n, size_t count) {
  if (!valid_ring(tables_len, n, count) || data_len != n * count || bits_len % (n / 8) ||
      out_len != bits_len / (n / 8) * count)
    return ZK_ERR_ARGUMENT;
  for (size_t l = 0; l < count; l++) {
    if (above(data + l * n, n, prime_at(tables, n, l).q)) return ZK_ERR_RANGE;
  }
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = out,
               .a = data,
               .bytes = (uint8_t *)bits,
               .b_rows = bits_len / (n / 8)};
  zk_parallel_tasks(job.b_rows, project_task, &job);
  return ZK_OK;
}

/* ---- Encryption and partial decryption ---- */

static void mask_task(void *context, size_t m) {
  job_t *job = context;
  const size_t n = job->n;
  const int64_t *small = job->small + m * n;
  const int64_t *messages = job->messages ? job->messages + m * n : NULL;
  chacha_t stream;
  chacha_init(&stream, job->seed, job->kind, job->first + m);
  if (too_large(small, n) || (messages && too_large(messages, n)))
    atomic_store(&job->status, ZK_ERR_RANGE);
  for (size_t l = 0; l < job->count; l++) {
    const prime_t p = prime_at(job->tables, n, l);
    uint64_t *out = job->out + (m * job->count + l) * n;
    uniform_row(out, n, &p, &stream);
    for (size_t i = 0; i < n; i++) out[i] = mul(out[i], job->a[l * n + i], &p);
    inverse(out, n, &p);
    for (size_t i = 0; i < n; i++) out[i] = reduce_once(out[i] + from_signed(small[i], &p), p.q);
    if (messages == NULL) continue;
    const uint64_t w = job->b[l], w_shoup = shoup(w, p.q);
    for (size_t i = 0; i < n; i++) {
      const uint64_t scaled = mul_shoup((uint64_t)messages[i] + p.offset, w, w_shoup, p.q);
      out[i] = reduce_once(out[i] + scaled, p.q);
    }
  }
}

/* out[m] = A_m key + small[m] + scale messages[m] in coefficient form, where A_m is expanded from
 * the seed in NTT form as in zk_rlwe_uniform, and the key is in NTT form. No messages: 0. */
int ZK_NAME(zk_rlwe_mask)(uint64_t *out, size_t out_len, const uint64_t *key, size_t key_len,
                          const uint8_t *seed, size_t seed_len, uint32_t kind, uint64_t first,
                          const int64_t *small, size_t small_len, const int64_t *messages,
                          size_t messages_len, const uint64_t *scale, size_t scale_len,
                          const uint64_t *tables, size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(out_len, n, count, &polynomials) ||
      key_len != n * count || seed_len != CHACHA_SEED_BYTES || small_len != polynomials * n ||
      (messages_len != 0 && messages_len != small_len) || scale_len != count)
    return ZK_ERR_ARGUMENT;
  for (size_t l = 0; l < count; l++) {
    const uint64_t q = prime_at(tables, n, l).q;
    if (scale[l] >= q || above(key + l * n, n, q)) return ZK_ERR_RANGE;
  }
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = out,
               .a = key,
               .b = scale,
               .small = small,
               .seed = seed,
               .kind = kind,
               .first = first,
               .messages = messages_len ? messages : NULL};
  zk_parallel_tasks(polynomials, mask_task, &job);
  return atomic_load(&job.status);
}

/* Noise that several holders know the seed of, times their weights at this holder's point: every
 * number is drawn once and reduced modulo each prime. */
static void noise_task(void *context, size_t m) {
  job_t *job = context;
  const size_t n = job->n, count = job->count;
  const uint64_t half = (uint64_t)1 << job->bits;
  uint64_t *out = job->out + m * count * n, shoups[MAX_COUNT];
  prime_t primes[MAX_COUNT];
  for (size_t l = 0; l < count; l++) {
    primes[l] = prime_at(job->tables, n, l);
    if (above(out + l * n, n, primes[l].q)) {
      atomic_store(&job->status, ZK_ERR_RANGE);
      return;
    }
  }
  for (size_t k = 0; k < job->b_rows; k++) {
    const uint64_t *weights = job->b + k * count;
    chacha_t stream;
    chacha_init(&stream, job->seed + k * CHACHA_SEED_BYTES, job->kind, job->first + m);
    for (size_t l = 0; l < count; l++) shoups[l] = shoup(weights[l], primes[l].q);
    for (size_t i = 0; i < n; i++) {
      const uint64_t number = (chacha_next(&stream) & (2 * half - 1)) - half;
      for (size_t l = 0; l < count; l++) {
        const uint64_t x = number + primes[l].offset, q = primes[l].q;
        out[l * n + i] = reduce_once(out[l * n + i] + mul_shoup(x, weights[l], shoups[l], q), q);
      }
    }
    chacha_wipe(&stream, sizeof stream);
  }
}

/* out[m] += sum over k of weights[k] v_k, where v_k is row `first` + m of seed k's numbers in
 * [-2^bits, 2^bits) as in zk_rlwe_sample. Weights are one number for each prime. */
int ZK_NAME(zk_rlwe_noise)(uint64_t *out, size_t out_len, const uint8_t *seeds, size_t seeds_len,
                           const uint64_t *weights, size_t weights_len, uint32_t kind,
                           uint64_t first, uint32_t bits, const uint64_t *tables, size_t tables_len,
                           size_t n, size_t count) {
  size_t polynomials;
  if (!valid_ring(tables_len, n, count) || !whole(out_len, n, count, &polynomials) ||
      seeds_len % CHACHA_SEED_BYTES || weights_len != seeds_len / CHACHA_SEED_BYTES * count ||
      bits >= MESSAGE_BITS)
    return ZK_ERR_ARGUMENT;
  for (size_t k = 0; k < weights_len; k++) {
    if (weights[k] >= prime_at(tables, n, k % count).q) return ZK_ERR_RANGE;
  }
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = out,
               .b = weights,
               .b_rows = seeds_len / CHACHA_SEED_BYTES,
               .seed = seeds,
               .kind = kind,
               .first = first,
               .bits = bits};
  zk_parallel_tasks(polynomials, noise_task, &job);
  return atomic_load(&job.status);
}

/* ---- Back to integers: one prime or two ---- */

typedef struct {
  unsigned __int128 modulus;
  uint64_t q0, inverse, inverse_shoup;
  size_t count;
  prime_t last;
} crt_t;

static crt_t crt_new(const uint64_t *tables, size_t n, size_t count) {
  crt_t crt = {.count = count, .last = prime_at(tables, n, count - 1), .q0 = tables[0]};
  crt.modulus = crt.q0;
  if (count == 2) {
    const uint64_t q1 = crt.last.q;
    crt.inverse = power(crt.q0, q1 - 2, q1);
    crt.inverse_shoup = shoup(crt.inverse, q1);
    crt.modulus *= q1;
  }
  return crt;
}

/* The integer in [-(Q - 1)/2, (Q - 1)/2] with the residues of coefficient i of polynomial x. */
static inline __int128 centred(const uint64_t *x, size_t n, size_t i, const crt_t *crt) {
  unsigned __int128 value = x[i];
  if (crt->count == 2) {
    const uint64_t q1 = crt->last.q;
    const uint64_t difference = x[n + i] + q1 - reduce(x[i], &crt->last);
    value +=
        (unsigned __int128)crt->q0 * mul_shoup(difference, crt->inverse, crt->inverse_shoup, q1);
  }
  const __int128 folded = (__int128)(crt->modulus / 2) - (__int128)value;
  return (__int128)value - (__int128)(crt->modulus & (unsigned __int128)(folded >> 127));
}

static int valid_crt(size_t tables_len, size_t n, size_t count, size_t data_len,
                     size_t *polynomials) {
  return valid_ring(tables_len, n, count) && count <= 2 && whole(data_len, n, count, polynomials);
}

static void lift_task(void *context, size_t m) {
  job_t *job = context;
  const size_t n = job->n;
  const crt_t crt = crt_new(job->tables, n, job->count);
  const uint64_t *x = job->a + m * n * job->count;
  for (size_t l = 0; l < job->count; l++) {
    if (above(x + l * n, n, prime_at(job->tables, n, l).q))
      atomic_store(&job->status, ZK_ERR_RANGE);
  }
  for (size_t i = 0; i < n; i++) {
    const __int128 value = centred(x, n, i, &crt);
    job->out[2 * (m * n + i)] = (uint64_t)value;
    job->out[2 * (m * n + i) + 1] = (uint64_t)(value >> 64);
  }
}

/* out: two's complement of 128 bits, low word first. */
int ZK_NAME(zk_rlwe_lift)(uint64_t *out, size_t out_len, const uint64_t *data, size_t data_len,
                          const uint64_t *tables, size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_crt(tables_len, n, count, data_len, &polynomials) || out_len != 2 * polynomials * n)
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables, .n = n, .count = count, .out = out, .a = data};
  zk_parallel_tasks(polynomials, lift_task, &job);
  return atomic_load(&job.status);
}

static void round_task(void *context, size_t m) {
  job_t *job = context;
  const size_t n = job->n;
  const crt_t crt = crt_new(job->tables, n, job->count);
  const uint64_t *x = job->a + m * n * job->count;
  const __int128 scale = (__int128)((unsigned __int128)job->b[1] << 64 | job->b[0]);
  unsigned __int128 worst = 0;
  for (size_t l = 0; l < job->count; l++) {
    if (above(x + l * n, n, prime_at(job->tables, n, l).q))
      atomic_store(&job->status, ZK_ERR_RANGE);
  }
  for (size_t i = 0; i < n; i++) {
    const __int128 value = centred(x, n, i, &crt);
    const __int128 half = value < 0 ? -(scale / 2) : scale / 2;
    const __int128 quotient = (value + half) / scale, rest = value - quotient * scale;
    const unsigned __int128 size = (unsigned __int128)(rest < 0 ? -rest : rest);
    if (size > worst) worst = size;
    if (quotient > INT64_MAX || quotient < INT64_MIN) atomic_store(&job->status, ZK_ERR_RANGE);
    job->numbers[m * n + i] = (int64_t)quotient;
  }
  job->noise[2 * m] = (uint64_t)worst;
  job->noise[2 * m + 1] = (uint64_t)(worst >> 64);
}

/* out = the nearest integers to the centred coefficients over `scale` (two words); noise[m] (two
 * words) = the largest distance of polynomial m from a multiple of the scale. */
int ZK_NAME(zk_rlwe_round)(int64_t *out, size_t out_len, uint64_t *noise, size_t noise_len,
                           const uint64_t *data, size_t data_len, const uint64_t *scale,
                           size_t scale_len, const uint64_t *tables, size_t tables_len, size_t n,
                           size_t count) {
  size_t polynomials;
  if (!valid_crt(tables_len, n, count, data_len, &polynomials) || out_len != polynomials * n ||
      noise_len != 2 * polynomials || scale_len != 2 || scale[1] >> 62 ||
      (scale[0] | scale[1]) == 0)
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .a = data,
               .b = scale,
               .numbers = out,
               .noise = noise};
  zk_parallel_tasks(polynomials, round_task, &job);
  return atomic_load(&job.status);
}

/* ---- Bytes: each residue in the bits of its prime, lowest first, rows one after another ---- */

static size_t row_words(const uint64_t *tables, size_t n, size_t l) {
  return n / 64 * prime_at(tables, n, l).bits;
}

static size_t polynomial_words(const uint64_t *tables, size_t n, size_t count) {
  size_t words = 0;
  for (size_t l = 0; l < count; l++) words += row_words(tables, n, l);
  return words;
}

static inline void store64(uint8_t *p, uint64_t x) {
  for (int i = 0; i < 8; i++) p[i] = (uint8_t)(x >> 8 * i);
}

static inline uint64_t load64(const uint8_t *p) {
  uint64_t x = 0;
  for (int i = 0; i < 8; i++) x |= (uint64_t)p[i] << 8 * i;
  return x;
}

static void pack_row(uint8_t *bytes, const uint64_t *x, size_t n, unsigned bits) {
  unsigned __int128 window = 0;
  unsigned filled = 0;
  for (size_t i = 0; i < n; i++) {
    window |= (unsigned __int128)x[i] << filled;
    filled += bits;
    if (filled < 64) continue;
    store64(bytes, (uint64_t)window);
    bytes += 8;
    window >>= 64;
    filled -= 64;
  }
}

static void unpack_row(uint64_t *x, const uint8_t *bytes, size_t n, unsigned bits) {
  const uint64_t cut = ~(uint64_t)0 >> (64 - bits);
  unsigned __int128 window = 0;
  unsigned filled = 0;
  for (size_t i = 0; i < n; i++) {
    if (filled < bits) {
      window |= (unsigned __int128)load64(bytes) << filled;
      bytes += 8;
      filled += 64;
    }
    x[i] = (uint64_t)window & cut;
    window >>= bits;
    filled -= bits;
  }
}

static void bytes_task(void *context, size_t m) {
  job_t *job = context;
  const size_t n = job->n;
  uint8_t *bytes = job->bytes + 8 * m * polynomial_words(job->tables, n, job->count);
  for (size_t l = 0; l < job->count; l++) {
    const prime_t p = prime_at(job->tables, n, l);
    const size_t at = (m * job->count + l) * n;
    if (job->option) unpack_row(job->out + at, bytes, n, p.bits);
    const uint64_t *x = job->option ? job->out + at : job->a + at;
    if (above(x, n, p.q)) {
      atomic_store(&job->status, ZK_ERR_RANGE);
      return;
    }
    if (!job->option) pack_row(bytes, x, n, p.bits);
    bytes += 8 * row_words(job->tables, n, l);
  }
}

static int valid_bytes(size_t bytes_len, size_t data_len, const uint64_t *tables, size_t tables_len,
                       size_t n, size_t count, size_t *polynomials) {
  return valid_ring(tables_len, n, count) && whole(data_len, n, count, polynomials) &&
         bytes_len == 8 * *polynomials * polynomial_words(tables, n, count);
}

int ZK_NAME(zk_rlwe_pack)(uint8_t *out, size_t out_len, const uint64_t *data, size_t data_len,
                          const uint64_t *tables, size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_bytes(out_len, data_len, tables, tables_len, n, count, &polynomials))
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables, .n = n, .count = count, .a = data, .bytes = out};
  zk_parallel_tasks(polynomials, bytes_task, &job);
  return atomic_load(&job.status);
}

int ZK_NAME(zk_rlwe_unpack)(uint64_t *data, size_t data_len, const uint8_t *bytes, size_t bytes_len,
                            const uint64_t *tables, size_t tables_len, size_t n, size_t count) {
  size_t polynomials;
  if (!valid_bytes(bytes_len, data_len, tables, tables_len, n, count, &polynomials))
    return ZK_ERR_ARGUMENT;
  job_t job = {.tables = tables,
               .n = n,
               .count = count,
               .out = data,
               .bytes = (uint8_t *)bytes,
               .option = 1};
  zk_parallel_tasks(polynomials, bytes_task, &job);
  return atomic_load(&job.status);
}
