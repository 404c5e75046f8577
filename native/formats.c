/* Scanning the constraint section of an .r1cs file, which comes from outside. Public data only. */
#include <stddef.h>
#include <stdint.h>

#include "field.h"
#include "status.h"

enum { WORDS_PER_TERM = 9 }; /* a wire, then a coefficient of 8 words */

enum scan_fault {
  FAULT_TRUNCATED = 1, /* the words end inside a linear combination */
  FAULT_WIRE = 2,      /* a wire that does not exist */
  FAULT_ORDER = 3,     /* wires that are not strictly ascending */
  FAULT_VALUE = 4,     /* a coefficient that is zero, or not below r */
  FAULT_TRAILING = 5,  /* words after the last linear combination */
};

static uint32_t scan_terms(const uint32_t *terms, uint32_t count, uint64_t n_wires) {
  for (uint32_t k = 0; k < count; k++) {
    const uint32_t *term = terms + (size_t)k * WORDS_PER_TERM;
    uint64_t value[4];
    for (int i = 0; i < 4; i++) value[i] = term[1 + 2 * i] | (uint64_t)term[2 + 2 * i] << 32;
    if (term[0] >= n_wires) return FAULT_WIRE;
    if (k > 0 && term[0] <= term[-WORDS_PER_TERM]) return FAULT_ORDER;
    if (limbs_is_zero(value) || !fr_is_canonical(value)) return FAULT_VALUE;
  }
  return 0;
}

/* Write the number of terms of each of `n_combinations` linear combinations. On ZK_ERR_FORMAT,
 * fault[0] is the number of the bad combination and fault[1] its scan_fault. */
int ZK_NAME(zk_r1cs_scan)(uint32_t *counts, uint64_t n_combinations, const uint32_t *words,
                          uint64_t n_words, uint64_t n_wires, uint64_t *fault) {
  uint64_t position = 0;
  for (uint64_t i = 0; i < n_combinations; i++) {
    const uint64_t left = n_words - position;
    fault[0] = i;
    fault[1] = FAULT_TRUNCATED;
    if (left < 1 || words[position] > (left - 1) / WORDS_PER_TERM) return ZK_ERR_FORMAT;
    counts[i] = words[position];
    fault[1] = scan_terms(words + position + 1, counts[i], n_wires);
    if (fault[1]) return ZK_ERR_FORMAT;
    position += 1 + (uint64_t)counts[i] * WORDS_PER_TERM;
  }
  fault[0] = n_combinations;
  fault[1] = position == n_words ? 0 : FAULT_TRAILING;
  return position == n_words ? ZK_OK : ZK_ERR_FORMAT;
}
