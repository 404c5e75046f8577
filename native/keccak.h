/* keccak256 of many messages of one length, on the kernel chosen at run time. */
#ifndef ZK_KECCAK_H
#define ZK_KECCAK_H

#include <stddef.h>
#include <stdint.h>

enum { KECCAK_RATE = 136, KECCAK_BYTES = 32 };

/* out[i] = keccak256(prefix || the `length` bytes at data + i * stride) for i < count; `prefix` is
 * eight bytes or NULL. Messages may overlap; `out` may not overlap them. One thread. */
void keccak256_each(uint8_t *out, const uint8_t *prefix, const uint8_t *data, size_t stride,
                    size_t length, size_t count);

#endif
