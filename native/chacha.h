/* ChaCha20 (RFC 8439) as a stream of 64-bit words: word k of the stream is bytes 8k..8k+7 of the
 * keystream, little-endian. Sixteen blocks at a time, side by side, so that compilers use vectors.
 *
 * Constant time.
 */
#ifndef ZK_CHACHA_H
#define ZK_CHACHA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CHACHA_LANES = 16, CHACHA_WORDS = 8 * CHACHA_LANES, CHACHA_SEED_BYTES = 32 };

typedef struct {
  uint32_t key[8], nonce[3], block;
  size_t used;
  uint64_t words[CHACHA_WORDS];
} chacha_t;

/* Clear memory that held a secret, in a way that the compiler may not drop. */
static inline void chacha_wipe(void *memory, size_t size) {
  memset(memory, 0, size);
  __asm__ volatile("" : : "r"(memory) : "memory");
}

static inline uint32_t chacha_load32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The nonce is `kind` (32 bits), then `index` (64 bits), little-endian; the first block is 0. */
static inline void chacha_init(chacha_t *stream, const uint8_t *seed, uint32_t kind,
                               uint64_t index) {
  for (int i = 0; i < 8; i++) stream->key[i] = chacha_load32(seed + 4 * i);
  stream->nonce[0] = kind;
  stream->nonce[1] = (uint32_t)index;
  stream->nonce[2] = (uint32_t)(index >> 32);
  stream->block = 0;
  stream->used = CHACHA_WORDS;
}

typedef uint32_t chacha_lanes_t[CHACHA_LANES];

static inline void chacha_quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
  for (int i = 0; i < CHACHA_LANES; i++) {
    a[i] += b[i];
    d[i] ^= a[i];
    d[i] = d[i] << 16 | d[i] >> 16;
    c[i] += d[i];
    b[i] ^= c[i];
    b[i] = b[i] << 12 | b[i] >> 20;
    a[i] += b[i];
    d[i] ^= a[i];
    d[i] = d[i] << 8 | d[i] >> 24;
    c[i] += d[i];
    b[i] ^= c[i];
    b[i] = b[i] << 7 | b[i] >> 25;
  }
}

static void chacha_refill(chacha_t *stream) {
  static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  chacha_lanes_t start[16], x[16];
  for (int lane = 0; lane < CHACHA_LANES; lane++) {
    for (int i = 0; i < 4; i++) start[i][lane] = constants[i];
    for (int i = 0; i < 8; i++) start[4 + i][lane] = stream->key[i];
    start[12][lane] = stream->block + (uint32_t)lane;
    for (int i = 0; i < 3; i++) start[13 + i][lane] = stream->nonce[i];
  }
  memcpy(x, start, sizeof x);
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < 4; i++) chacha_quarter(x[i], x[4 + i], x[8 + i], x[12 + i]);
    for (int i = 0; i < 4; i++)
      chacha_quarter(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
  }
  for (int lane = 0; lane < CHACHA_LANES; lane++) {
    for (int i = 0; i < 8; i++) {
      const uint32_t low = x[2 * i][lane] + start[2 * i][lane];
      const uint32_t high = x[2 * i + 1][lane] + start[2 * i + 1][lane];
      stream->words[8 * lane + i] = (uint64_t)high << 32 | low;
    }
  }
  stream->block += CHACHA_LANES;
  stream->used = 0;
  chacha_wipe(start, sizeof start);
  chacha_wipe(x, sizeof x);
}

static inline uint64_t chacha_next(chacha_t *stream) {
  if (stream->used == CHACHA_WORDS) chacha_refill(stream);
  return stream->words[stream->used++];
}

#endif
