/* Four-limb modular arithmetic, in two kernels: portable C with unsigned __int128, and x86-64
 * assembly with mulx, adcx and adox. The modulus must be below 2^254, which lets the product drop
 * its last carry ("no-carry" CIOS, Botrel and El Housni, 2021).
 *
 * No branch and no address depends on a value: constant time.
 */
#ifndef ZK_LIMBS_H
#define ZK_LIMBS_H

#include <stddef.h>
#include <stdint.h>

#include "kernel.h"

#define ZK_INLINE static inline __attribute__((always_inline))

ZK_INLINE int limbs_is_zero(const uint64_t a[4]) { return (a[0] | a[1] | a[2] | a[3]) == 0; }

ZK_INLINE int limbs_equal(const uint64_t a[4], const uint64_t b[4]) {
  return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

/* r = a - b; returns the borrow. */
ZK_INLINE uint64_t limbs_sub(uint64_t r[4], const uint64_t a[4], const uint64_t b[4]) {
  unsigned __int128 d;
  uint64_t borrow = 0;
  for (int i = 0; i < 4; i++) {
    d = (unsigned __int128)a[i] - b[i] - borrow;
    r[i] = (uint64_t)d;
    borrow = (uint64_t)(d >> 64) & 1;
  }
  return borrow;
}

/* r = a + b; returns the carry. */
ZK_INLINE uint64_t limbs_add(uint64_t r[4], const uint64_t a[4], const uint64_t b[4]) {
  unsigned __int128 s = 0;
  for (int i = 0; i < 4; i++) {
    s += (unsigned __int128)a[i] + b[i];
    r[i] = (uint64_t)s;
    s >>= 64;
  }
  return (uint64_t)s;
}

ZK_INLINE int limbs_less(const uint64_t a[4], const uint64_t b[4]) {
  uint64_t ignored[4];
  return (int)limbs_sub(ignored, a, b);
}

#ifdef ZK_USE_ADX

#define ZK_REDUCE_ONCE                          \
  "movq %[t0],%%rax\n subq %[p0],%%rax\n"       \
  "movq %[t1],%%rdx\n sbbq %[p1],%%rdx\n"       \
  "movq %[t2],%[u]\n sbbq %[p2],%[u]\n"         \
  "movq %[t3],%[v]\n sbbq %[p3],%[v]\n"         \
  "cmovncq %%rax,%[t0]\n cmovncq %%rdx,%[t1]\n" \
  "cmovncq %[u],%[t2]\n cmovncq %[v],%[t3]\n"

#define ZK_MONT_REDUCE                                                \
  "movq %[n0],%%rdx\n imulq %[t0],%%rdx\n xorl %%eax,%%eax\n"         \
  "mulxq %[p0],%%rax,%[v]\n adcxq %[t0],%%rax\n movq %[v],%[t0]\n"    \
  "adcxq %[t1],%[t0]\n mulxq %[p1],%%rax,%[t1]\n adoxq %%rax,%[t0]\n" \
  "adcxq %[t2],%[t1]\n mulxq %[p2],%%rax,%[t2]\n adoxq %%rax,%[t1]\n" \
  "adcxq %[t3],%[t2]\n mulxq %[p3],%%rax,%[t3]\n adoxq %%rax,%[t2]\n" \
  "movl $0,%%eax\n adcxq %%rax,%[t3]\n adoxq %[u],%[t3]\n"

#define ZK_MONT_ROW(i)                                                 \
  "movq " #i                                                           \
  "*8(%[b]),%%rdx\n xorl %%eax,%%eax\n"                                \
  "mulxq 0(%[a]),%%rax,%[u]\n adoxq %%rax,%[t0]\n"                     \
  "adcxq %[u],%[t1]\n mulxq 8(%[a]),%%rax,%[u]\n adoxq %%rax,%[t1]\n"  \
  "adcxq %[u],%[t2]\n mulxq 16(%[a]),%%rax,%[u]\n adoxq %%rax,%[t2]\n" \
  "adcxq %[u],%[t3]\n mulxq 24(%[a]),%%rax,%[u]\n adoxq %%rax,%[t3]\n" \
  "movl $0,%%eax\n adcxq %%rax,%[u]\n adoxq %%rax,%[u]\n" ZK_MONT_REDUCE

ZK_INLINE void mont_mul(uint64_t r[4], const uint64_t a[4], const uint64_t b[4],
                        const uint64_t p[4], uint64_t neg_inv) {
  uint64_t t0, t1, t2, t3, u, v;
  __asm__(
      "movq 0(%[b]),%%rdx\n xorl %%eax,%%eax\n"
      "mulxq 0(%[a]),%[t0],%[t1]\n"
      "mulxq 8(%[a]),%%rax,%[t2]\n adcxq %%rax,%[t1]\n"
      "mulxq 16(%[a]),%%rax,%[t3]\n adcxq %%rax,%[t2]\n"
      "mulxq 24(%[a]),%%rax,%[u]\n adcxq %%rax,%[t3]\n"
      "movl $0,%%eax\n adcxq %%rax,%[u]\n" ZK_MONT_REDUCE ZK_MONT_ROW(1) ZK_MONT_ROW(2)
          ZK_MONT_ROW(3) ZK_REDUCE_ONCE
      : [t0] "=&r"(t0), [t1] "=&r"(t1), [t2] "=&r"(t2), [t3] "=&r"(t3), [u] "=&r"(u), [v] "=&r"(v)
      : [a] "r"(a), [b] "r"(b), [p0] "m"(p[0]), [p1] "m"(p[1]), [p2] "m"(p[2]), [p3] "m"(p[3]),
        [n0] "i"(neg_inv), "m"(*(const uint64_t (*)[4])a), "m"(*(const uint64_t (*)[4])b)
      : "rax", "rdx", "cc");
  r[0] = t0;
  r[1] = t1;
  r[2] = t2;
  r[3] = t3;
}

ZK_INLINE void mont_add(uint64_t r[4], const uint64_t a[4], const uint64_t b[4],
                        const uint64_t p[4]) {
  uint64_t t0 = a[0], t1 = a[1], t2 = a[2], t3 = a[3], u, v;
  __asm__(
      "addq %[b0],%[t0]\n adcq %[b1],%[t1]\n adcq %[b2],%[t2]\n adcq %[b3],%[t3]\n" ZK_REDUCE_ONCE
      : [t0] "+&r"(t0), [t1] "+&r"(t1), [t2] "+&r"(t2), [t3] "+&r"(t3), [u] "=&r"(u), [v] "=&r"(v)
      : [b0] "m"(b[0]), [b1] "m"(b[1]), [b2] "m"(b[2]), [b3] "m"(b[3]), [p0] "m"(p[0]),
        [p1] "m"(p[1]), [p2] "m"(p[2]), [p3] "m"(p[3])
      : "rax", "rdx", "cc");
  r[0] = t0;
  r[1] = t1;
  r[2] = t2;
  r[3] = t3;
}

ZK_INLINE void mont_sub(uint64_t r[4], const uint64_t a[4], const uint64_t b[4],
                        const uint64_t p[4]) {
  uint64_t t0 = a[0], t1 = a[1], t2 = a[2], t3 = a[3], u0, u1, u2, u3;
  __asm__(
      "subq %[b0],%[t0]\n sbbq %[b1],%[t1]\n sbbq %[b2],%[t2]\n sbbq %[b3],%[t3]\n"
      "movl $0,%k[u0]\n movl $0,%k[u1]\n movl $0,%k[u2]\n movl $0,%k[u3]\n"
      "cmovcq %[p0],%[u0]\n cmovcq %[p1],%[u1]\n cmovcq %[p2],%[u2]\n cmovcq %[p3],%[u3]\n"
      "addq %[u0],%[t0]\n adcq %[u1],%[t1]\n adcq %[u2],%[t2]\n adcq %[u3],%[t3]\n"
      : [t0] "+&r"(t0), [t1] "+&r"(t1), [t2] "+&r"(t2), [t3] "+&r"(t3), [u0] "=&r"(u0),
        [u1] "=&r"(u1), [u2] "=&r"(u2), [u3] "=&r"(u3)
      : [b0] "m"(b[0]), [b1] "m"(b[1]), [b2] "m"(b[2]), [b3] "m"(b[3]), [p0] "m"(p[0]),
        [p1] "m"(p[1]), [p2] "m"(p[2]), [p3] "m"(p[3])
      : "cc");
  r[0] = t0;
  r[1] = t1;
  r[2] = t2;
  r[3] = t3;
}

#else /* portable */

/* t if t < p, else t - p. */
ZK_INLINE void mont_reduce_once(uint64_t r[4], const uint64_t t[4], const uint64_t p[4]) {
  uint64_t s[4];
  const uint64_t keep = (uint64_t)0 - limbs_sub(s, t, p);
  for (int i = 0; i < 4; i++) r[i] = (t[i] & keep) | (s[i] & ~keep);
}

ZK_INLINE void mont_add(uint64_t r[4], const uint64_t a[4], const uint64_t b[4],
                        const uint64_t p[4]) {
  uint64_t t[4];
  limbs_add(t, a, b); /* below 2p < 2^255: no carry */
  mont_reduce_once(r, t, p);
}

ZK_INLINE void mont_sub(uint64_t r[4], const uint64_t a[4], const uint64_t b[4],
                        const uint64_t p[4]) {
  uint64_t t[4], back[4];
  const uint64_t mask = (uint64_t)0 - limbs_sub(t, a, b);
  for (int i = 0; i < 4; i++) back[i] = p[i] & mask;
  limbs_add(r, t, back);
}

/* a + b * c + carry: the low limb, with the high limb left in *carry. It cannot overflow. */
ZK_INLINE uint64_t limb_mac(uint64_t a, uint64_t b, uint64_t c, uint64_t *carry) {
  const unsigned __int128 t = (unsigned __int128)b * c + a + *carry;
  *carry = (uint64_t)(t >> 64);
  return (uint64_t)t;
}

ZK_INLINE void mont_mul(uint64_t r[4], const uint64_t a[4], const uint64_t b[4],
                        const uint64_t p[4], uint64_t neg_inv) {
  uint64_t t0 = 0, t1 = 0, t2 = 0, t3 = 0;
  for (int i = 0; i < 4; i++) {
    uint64_t high = 0, carry = 0;
    t0 = limb_mac(t0, a[0], b[i], &high);
    const uint64_t m = t0 * neg_inv;
    limb_mac(t0, m, p[0], &carry);
    t1 = limb_mac(t1, a[1], b[i], &high);
    t0 = limb_mac(t1, m, p[1], &carry);
    t2 = limb_mac(t2, a[2], b[i], &high);
    t1 = limb_mac(t2, m, p[2], &carry);
    t3 = limb_mac(t3, a[3], b[i], &high);
    t2 = limb_mac(t3, m, p[3], &carry);
    t3 = high + carry;
  }
  const uint64_t t[4] = {t0, t1, t2, t3};
  mont_reduce_once(r, t, p);
}

#endif

#endif
