/* BN254's fields: fr_t (scalars, order r) and fq_t (coordinates, order q), four 64-bit limbs in
 * Montgomery form, always canonical. See field_template.h for the operations: fr_add, fr_sub,
 * fr_neg, fr_double, fr_mul, fr_sqr, fr_inv, fr_pow, fr_batch_inv, fr_to_mont, fr_from_mont,
 * fr_load (checked), fr_from_u64, fr_from_i64, fr_is_canonical, fr_is_zero, fr_equal, fr_zero,
 * fr_one, and the same for fq.
 *
 * Additions, subtractions and products do not branch on values. limbs.h holds both kernels.
 */
#ifndef ZK_FIELD_H
#define ZK_FIELD_H

#include <stddef.h>
#include <stdint.h>

#include "inverse.h"
#include "limbs.h"
#include "status.h"

/* The modulus p, 2^256 mod p and 2^512 mod p, and -1/p mod 2^64. */
static const uint64_t FR_MODULUS[4] = {0x43e1f593f0000001ULL, 0x2833e84879b97091ULL,
                                       0xb85045b68181585dULL, 0x30644e72e131a029ULL};
static const uint64_t FR_ONE[4] = {0xac96341c4ffffffbULL, 0x36fc76959f60cd29ULL,
                                   0x666ea36f7879462eULL, 0x0e0a77c19a07df2fULL};
static const uint64_t FR_R2[4] = {0x1bb8e645ae216da7ULL, 0x53fe3ab1e35c59e3ULL,
                                  0x8c49833d53bb8085ULL, 0x0216d0b17f4e44a5ULL};
#define FR_NEG_INV 0xc2e1f593efffffffULL

static const uint64_t FQ_MODULUS[4] = {0x3c208c16d87cfd47ULL, 0x97816a916871ca8dULL,
                                       0xb85045b68181585dULL, 0x30644e72e131a029ULL};
static const uint64_t FQ_ONE[4] = {0xd35d438dc58f0d9dULL, 0x0a78eb28f5c70b3dULL,
                                   0x666ea36f7879462cULL, 0x0e0a77c19a07df2fULL};
static const uint64_t FQ_R2[4] = {0xf32cfc5b538afa89ULL, 0xb5e71911d44501fbULL,
                                  0x47ab1eff0a417ff6ULL, 0x06d89f71cab8351fULL};
#define FQ_NEG_INV 0x87d20782e4866389ULL

#define F(name) fr_##name
#define F_TYPE fr_t
#define F_CONST(name) FR_##name
#define F_NEG_INV FR_NEG_INV
#include "field_template.h"

#define F(name) fq_##name
#define F_TYPE fq_t
#define F_CONST(name) FQ_##name
#define F_NEG_INV FQ_NEG_INV
#include "field_template.h"

#endif
