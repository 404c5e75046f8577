/* keccak256 as Ethereum uses it (padding 0x01 .. 0x80), one message or eight at a time.
 *
 * Public data only. Kernels: scalar, the same with BMI, AVX2 with four states, AVX-512 with eight.
 * The first call picks the widest that this CPU has; zk_keccak_set_kernel forces another.
 */
#include "keccak.h"

#include <stdatomic.h>
#include <string.h>

#include "status.h"
#include "threads.h"
#include "zkai.h"

#ifdef __x86_64__
#define KECCAK_X86 1
#include <immintrin.h>
#endif

static const uint64_t keccak_constants[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

enum { RATE_WORDS = KECCAK_RATE / 8, PREFIX_BYTES = 8 };

static inline uint64_t load_word(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

static inline void store_word(uint8_t *p, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  memcpy(p, &word, 8);
}

/* The last block: what is left of a message after `first` bytes of the block are taken, padded. */
static inline void pad_block(uint8_t block[KECCAK_RATE], size_t first, const uint8_t *data,
                             size_t length) {
  memset(block, 0, KECCAK_RATE);
  if (length) memcpy(block + first, data, length);
  block[first + length] = 1;
  block[KECCAK_RATE - 1] |= 0x80;
}

/* --- one state ------------------------------------------------------------------------------- */

#define SCALAR_ROL(a, n) (((a) << (n)) | ((a) >> (64 - (n))))
#define SCALAR_CHI(a, b, c) ((a) ^ (~(b) & (c)))

#define KECCAK_PERMUTE permute_scalar
#define KECCAK_TARGET
#define KECCAK_LANE uint64_t
#define KECCAK_XOR(a, b) ((a) ^ (b))
#define KECCAK_XOR5(a, b, c, d, e) ((a) ^ (b) ^ (c) ^ (d) ^ (e))
#define KECCAK_ROL SCALAR_ROL
#define KECCAK_CHI SCALAR_CHI
#define KECCAK_ALL(word) (word)
#include "keccak_template.h"

/* Defines `name`, keccak256_each with one state, around a permutation. */
#define DEFINE_SCALAR(name, target, permute)                                                       \
  target static void name(uint8_t *out, const uint8_t *prefix, const uint8_t *data, size_t stride, \
                          size_t length, size_t count) {                                           \
    for (size_t k = 0; k < count; k++, data += stride, out += KECCAK_BYTES) {                      \
      uint64_t state[25] = {0};                                                                    \
      const uint8_t *p = data;                                                                     \
      size_t left = length, first = 0;                                                             \
      if (prefix) {                                                                                \
        state[0] = load_word(prefix);                                                              \
        first = PREFIX_BYTES;                                                                      \
      }                                                                                            \
      while (left >= KECCAK_RATE - first) {                                                        \
        const size_t taken = KECCAK_RATE - first;                                                  \
        for (size_t i = 0; i < taken / 8; i++) state[first / 8 + i] ^= load_word(p + 8 * i);       \
        permute(state);                                                                            \
        p += taken;                                                                                \
        left -= taken;                                                                             \
        first = 0;                                                                                 \
      }                                                                                            \
      uint8_t block[KECCAK_RATE];                                                                  \
      pad_block(block, first, p, left);                                                            \
      for (int i = 0; i < RATE_WORDS; i++) state[i] ^= load_word(block + 8 * i);                   \
      permute(state);                                                                              \
      for (int i = 0; i < KECCAK_BYTES / 8; i++) store_word(out + 8 * i, state[i]);                \
    }                                                                                              \
  }

DEFINE_SCALAR(each_scalar, , permute_scalar)

#ifdef KECCAK_X86

#define TARGET_BMI __attribute__((target("bmi,bmi2")))
#define TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx2,bmi,bmi2")))

#define KECCAK_PERMUTE permute_bmi
#define KECCAK_TARGET TARGET_BMI
#define KECCAK_LANE uint64_t
#define KECCAK_XOR(a, b) ((a) ^ (b))
#define KECCAK_XOR5(a, b, c, d, e) ((a) ^ (b) ^ (c) ^ (d) ^ (e))
#define KECCAK_ROL SCALAR_ROL
#define KECCAK_CHI SCALAR_CHI
#define KECCAK_ALL(word) (word)
#include "keccak_template.h"

DEFINE_SCALAR(each_bmi, TARGET_BMI, permute_bmi)

/* --- several states -------------------------------------------------------------------------- */

/* Defines `name`, keccak256_each with `lanes` states at once for multiples of `lanes` messages.
 * `absorb(state, word, data, stride, words)` adds words of `lanes` messages to the states from
 * lane `word` on; `squeeze(out, state)` writes the first four lanes of each. */
#define DEFINE_LANES(name, target, lane, lanes, permute, absorb, squeeze, broadcast, zero, add)    \
  target static void name(uint8_t *out, const uint8_t *prefix, const uint8_t *data, size_t stride, \
                          size_t length, size_t count) {                                           \
    for (size_t k = 0; k + (lanes) <= count; k += (lanes)) {                                       \
      lane state[25];                                                                              \
      for (int i = 0; i < 25; i++) state[i] = zero();                                              \
      const uint8_t *p = data + k * stride;                                                        \
      size_t left = length, first = 0;                                                             \
      if (prefix) {                                                                                \
        state[0] = broadcast((int64_t)load_word(prefix));                                          \
        first = PREFIX_BYTES;                                                                      \
      }                                                                                            \
      while (left >= KECCAK_RATE - first) {                                                        \
        const size_t taken = KECCAK_RATE - first;                                                  \
        absorb(state + first / 8, p, stride, taken / 8);                                           \
        permute(state);                                                                            \
        p += taken;                                                                                \
        left -= taken;                                                                             \
        first = 0;                                                                                 \
      }                                                                                            \
      if (first + left == 72 && first == PREFIX_BYTES) { /* a node: prefix and two hashes */       \
        absorb(state + 1, p, stride, 8);                                                           \
        state[9] = add(state[9], broadcast(1));                                                    \
        state[16] = add(state[16], broadcast(INT64_MIN));                                          \
      } else {                                                                                     \
        uint8_t blocks[lanes][KECCAK_RATE];                                                        \
        for (int j = 0; j < (lanes); j++) pad_block(blocks[j], first, p + j * stride, left);       \
        absorb(state, blocks[0], KECCAK_RATE, RATE_WORDS);                                         \
      }                                                                                            \
      permute(state);                                                                              \
      squeeze(out + k * KECCAK_BYTES, state);                                                      \
    }                                                                                              \
  }

/* AVX2: four states */

#define KECCAK_PERMUTE permute_avx2
#define KECCAK_TARGET TARGET_AVX2
#define KECCAK_LANE __m256i
#define KECCAK_XOR _mm256_xor_si256
#define KECCAK_XOR5(a, b, c, d, e) \
  _mm256_xor_si256(_mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)), e)
#define BYTES_LEFT(a, n) _mm256_shuffle_epi8(a, n)
#define KECCAK_ROL(a, n)                            \
  ((n) == 8    ? _mm256_shuffle_epi8(a, left_one)   \
   : (n) == 56 ? _mm256_shuffle_epi8(a, left_seven) \
               : _mm256_or_si256(_mm256_slli_epi64(a, n), _mm256_srli_epi64(a, 64 - (n))))
#define KECCAK_CHI(a, b, c) _mm256_xor_si256(a, _mm256_andnot_si256(b, c))
#define KECCAK_ALL(word) _mm256_set1_epi64x((int64_t)(word))
#define left_one                                                                                 \
  _mm256_setr_epi8(7, 0, 1, 2, 3, 4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14, 7, 0, 1, 2, 3, 4, 5, 6, \
                   15, 8, 9, 10, 11, 12, 13, 14)
#define left_seven                                                                               \
  _mm256_setr_epi8(1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8, 1, 2, 3, 4, 5, 6, 7, 0, \
                   9, 10, 11, 12, 13, 14, 15, 8)
#include "keccak_template.h"
#undef BYTES_LEFT
#undef left_one
#undef left_seven

/* Rows to columns: r[i] of four words each. */
TARGET_AVX2 static inline void transpose_avx2(__m256i r[4]) {
  const __m256i a = _mm256_unpacklo_epi64(r[0], r[1]), b = _mm256_unpackhi_epi64(r[0], r[1]);
  const __m256i c = _mm256_unpacklo_epi64(r[2], r[3]), d = _mm256_unpackhi_epi64(r[2], r[3]);
  r[0] = _mm256_permute2x128_si256(a, c, 0x20);
  r[1] = _mm256_permute2x128_si256(b, d, 0x20);
  r[2] = _mm256_permute2x128_si256(a, c, 0x31);
  r[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

TARGET_AVX2 static inline void absorb_avx2(__m256i *state, const uint8_t *p, size_t stride,
                                           size_t words) {
  size_t word = 0;
  for (; word + 4 <= words; word += 4) {
    __m256i rows[4];
    for (int j = 0; j < 4; j++) {
      rows[j] = _mm256_loadu_si256((const __m256i *)(p + j * stride + 8 * word));
    }
    transpose_avx2(rows);
    for (int i = 0; i < 4; i++) state[word + i] = _mm256_xor_si256(state[word + i], rows[i]);
  }
  for (; word < words; word++) {
    const uint8_t *q = p + 8 * word;
    const __m256i column =
        _mm256_set_epi64x((int64_t)load_word(q + 3 * stride), (int64_t)load_word(q + 2 * stride),
                          (int64_t)load_word(q + stride), (int64_t)load_word(q));
    state[word] = _mm256_xor_si256(state[word], column);
  }
}

TARGET_AVX2 static inline void squeeze_avx2(uint8_t *out, const __m256i *state) {
  __m256i rows[4] = {state[0], state[1], state[2], state[3]};
  transpose_avx2(rows);
  for (int j = 0; j < 4; j++) _mm256_storeu_si256((__m256i *)(out + j * KECCAK_BYTES), rows[j]);
}

DEFINE_LANES(lanes_avx2, TARGET_AVX2, __m256i, 4, permute_avx2, absorb_avx2, squeeze_avx2,
             _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_xor_si256)

/* AVX-512: eight states */

#define KECCAK_PERMUTE permute_avx512
#define KECCAK_TARGET TARGET_AVX512
#define KECCAK_LANE __m512i
#define KECCAK_XOR _mm512_xor_si512
#define KECCAK_XOR5(a, b, c, d, e) \
  _mm512_ternarylogic_epi64(_mm512_ternarylogic_epi64(a, b, c, 0x96), d, e, 0x96)
#define KECCAK_ROL _mm512_rol_epi64
#define KECCAK_CHI(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xd2)
#define KECCAK_ALL(word) _mm512_set1_epi64((int64_t)(word))
#include "keccak_template.h"

/* Rows to columns: r[i] of eight words each. */
TARGET_AVX512 static inline void transpose_avx512(__m512i r[8]) {
  __m512i pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int odd = 0; odd < 2; odd++) {
      quads[i + odd] = _mm512_shuffle_i64x2(pairs[i + odd], pairs[i + 2 + odd], 0x88);
      quads[i + 2 + odd] = _mm512_shuffle_i64x2(pairs[i + odd], pairs[i + 2 + odd], 0xdd);
    }
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i64x2(quads[i], quads[i + 4], 0x88);
    r[i + 4] = _mm512_shuffle_i64x2(quads[i], quads[i + 4], 0xdd);
  }
}

TARGET_AVX512 static inline void absorb_avx512(__m512i *state, const uint8_t *p, size_t stride,
                                               size_t words) {
  size_t word = 0;
  for (; word + 8 <= words; word += 8) {
    __m512i rows[8];
    for (int j = 0; j < 8; j++) rows[j] = _mm512_loadu_si512(p + j * stride + 8 * word);
    transpose_avx512(rows);
    for (int i = 0; i < 8; i++) state[word + i] = _mm512_xor_si512(state[word + i], rows[i]);
  }
  for (; word < words; word++) {
    uint64_t column[8];
    for (int j = 0; j < 8; j++) column[j] = load_word(p + j * stride + 8 * word);
    state[word] = _mm512_xor_si512(state[word], _mm512_loadu_si512(column));
  }
}

TARGET_AVX512 static inline void squeeze_avx512(uint8_t *out, const __m512i *state) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i rows[8] = {state[0], state[1], state[2], state[3], zero, zero, zero, zero};
  transpose_avx512(rows);
  for (int j = 0; j < 8; j++) {
    _mm256_storeu_si256((__m256i *)(out + j * KECCAK_BYTES), _mm512_castsi512_si256(rows[j]));
  }
}

DEFINE_LANES(lanes_avx512, TARGET_AVX512, __m512i, 8, permute_avx512, absorb_avx512, squeeze_avx512,
             _mm512_set1_epi64, _mm512_setzero_si512, _mm512_xor_si512)

#endif

/* --- the choice ------------------------------------------------------------------------------ */

enum { KERNEL_SCALAR, KERNEL_BMI, KERNEL_AVX2, KERNEL_AVX512, KERNEL_COUNT, KERNEL_UNSET = -1 };

static const char *const kernel_names[KERNEL_COUNT] = {"scalar", "bmi", "avx2", "avx512"};
static atomic_int active_kernel = KERNEL_UNSET;

int zk_keccak_kernel_count(void) { return KERNEL_COUNT; }

const char *zk_keccak_kernel_name(int index) {
  return index >= 0 && index < KERNEL_COUNT ? kernel_names[index] : "";
}

int zk_keccak_kernel_available(int index) {
  if (index == KERNEL_SCALAR) return 1;
#ifdef KECCAK_X86
  const int bmi = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (index == KERNEL_BMI) return bmi;
  if (index == KERNEL_AVX2) return bmi && __builtin_cpu_supports("avx2");
  if (index == KERNEL_AVX512) {
    return bmi && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f");
  }
#endif
  return 0;
}

int zk_keccak_kernel_active(void) {
  int kernel = atomic_load_explicit(&active_kernel, memory_order_relaxed);
  if (kernel != KERNEL_UNSET) return kernel;
  for (kernel = KERNEL_COUNT - 1; !zk_keccak_kernel_available(kernel); kernel--) continue;
  atomic_store_explicit(&active_kernel, kernel, memory_order_relaxed);
  return kernel;
}

int zk_keccak_set_kernel(int index) {
  if (!zk_keccak_kernel_available(index)) return ZK_ERR_ARGUMENT;
  atomic_store_explicit(&active_kernel, index, memory_order_relaxed);
  return ZK_OK;
}

void keccak256_each(uint8_t *out, const uint8_t *prefix, const uint8_t *data, size_t stride,
                    size_t length, size_t count) {
  const int kernel = zk_keccak_kernel_active();
  size_t done = 0;
#ifdef KECCAK_X86
  if (kernel == KERNEL_AVX512) {
    lanes_avx512(out, prefix, data, stride, length, count);
    done = count / 8 * 8;
  }
  if (kernel >= KERNEL_AVX2) {
    lanes_avx2(out + done * KECCAK_BYTES, prefix, data + done * stride, stride, length,
               count - done);
    done += (count - done) / 4 * 4;
  }
  out += done * KECCAK_BYTES;
  data += done * stride;
  if (kernel >= KERNEL_BMI) {
    each_bmi(out, prefix, data, stride, length, count - done);
    return;
  }
#endif
  each_scalar(out, prefix, data, stride, length, count - done);
  (void)kernel;
}

typedef struct {
  uint8_t *out;
  const uint8_t *prefix, *data;
  size_t stride, length;
} many_t;

static void many_range(void *context, size_t begin, size_t end) {
  const many_t *job = context;
  keccak256_each(job->out + begin * KECCAK_BYTES, job->prefix, job->data + begin * job->stride,
                 job->stride, job->length, end - begin);
}

int zk_keccak256_many(uint8_t *out, size_t out_len, const uint8_t *prefix, size_t prefix_len,
                      const uint8_t *data, size_t data_len, size_t stride, size_t length,
                      size_t count) {
  size_t last, end, total;
  if (prefix_len != 0 && prefix_len != PREFIX_BYTES) return ZK_ERR_ARGUMENT;
  if (__builtin_mul_overflow(count, (size_t)KECCAK_BYTES, &total) || out_len != total) {
    return ZK_ERR_ARGUMENT;
  }
  if (count == 0) return ZK_OK;
  if (__builtin_mul_overflow(count - 1, stride, &last) ||
      __builtin_add_overflow(last, length, &end) || end > data_len) {
    return ZK_ERR_ARGUMENT;
  }
  many_t job = {out, prefix_len ? prefix : NULL, data, stride, length};
  /* Eight messages share a pass; a thread is worth starting for about 64 KiB. */
  const size_t grain = 8 * (1 + (size_t)8192 / (length + KECCAK_RATE));
  zk_parallel_for(count, grain, many_range, &job);
  return ZK_OK;
}
