/* Keccak-f[1600] (FIPS 202, section 3.3) on lanes of type KECCAK_LANE, one or several states at
 * once.
 *
 * The includer defines KECCAK_PERMUTE (the function's name), KECCAK_TARGET (its attribute),
 * KECCAK_LANE, KECCAK_XOR(a, b), KECCAK_XOR5(a, b, c, d, e), KECCAK_ROL(a, n),
 * KECCAK_CHI(a, b, c) = a ^ (~b & c) and KECCAK_ALL(word); all but the last stand undefined again
 * at the end.
 */

/* One plane: theta's correction, rho and pi bring five lanes together, chi makes the new plane. */
#define KECCAK_PLANE(o0, o1, o2, o3, o4, i0, d0, r0, i1, d1, r1, i2, d2, r2, i3, d3, r3, i4, d4, \
                     r4)                                                                         \
  b0 = r0 ? KECCAK_ROL(KECCAK_XOR(i0, d0), (r0 ? r0 : 1)) : KECCAK_XOR(i0, d0);                  \
  b1 = KECCAK_ROL(KECCAK_XOR(i1, d1), r1);                                                       \
  b2 = KECCAK_ROL(KECCAK_XOR(i2, d2), r2);                                                       \
  b3 = KECCAK_ROL(KECCAK_XOR(i3, d3), r3);                                                       \
  b4 = KECCAK_ROL(KECCAK_XOR(i4, d4), r4);                                                       \
  o0 = KECCAK_CHI(b0, b1, b2);                                                                   \
  o1 = KECCAK_CHI(b1, b2, b3);                                                                   \
  o2 = KECCAK_CHI(b2, b3, b4);                                                                   \
  o3 = KECCAK_CHI(b3, b4, b0);                                                                   \
  o4 = KECCAK_CHI(b4, b0, b1);

/* Lane x + 5 y of a state s is s##x##y. */
#define KECCAK_ROUND(s, t, constant)                                                           \
  c0 = KECCAK_XOR5(s##00, s##01, s##02, s##03, s##04);                                         \
  c1 = KECCAK_XOR5(s##10, s##11, s##12, s##13, s##14);                                         \
  c2 = KECCAK_XOR5(s##20, s##21, s##22, s##23, s##24);                                         \
  c3 = KECCAK_XOR5(s##30, s##31, s##32, s##33, s##34);                                         \
  c4 = KECCAK_XOR5(s##40, s##41, s##42, s##43, s##44);                                         \
  d0 = KECCAK_XOR(c4, KECCAK_ROL(c1, 1));                                                      \
  d1 = KECCAK_XOR(c0, KECCAK_ROL(c2, 1));                                                      \
  d2 = KECCAK_XOR(c1, KECCAK_ROL(c3, 1));                                                      \
  d3 = KECCAK_XOR(c2, KECCAK_ROL(c4, 1));                                                      \
  d4 = KECCAK_XOR(c3, KECCAK_ROL(c0, 1));                                                      \
  KECCAK_PLANE(t##00, t##10, t##20, t##30, t##40, s##00, d0, 0, s##11, d1, 44, s##22, d2, 43,  \
               s##33, d3, 21, s##44, d4, 14)                                                   \
  t##00 = KECCAK_XOR(t##00, KECCAK_ALL(constant));                                             \
  KECCAK_PLANE(t##01, t##11, t##21, t##31, t##41, s##30, d3, 28, s##41, d4, 20, s##02, d0, 3,  \
               s##13, d1, 45, s##24, d2, 61)                                                   \
  KECCAK_PLANE(t##02, t##12, t##22, t##32, t##42, s##10, d1, 1, s##21, d2, 6, s##32, d3, 25,   \
               s##43, d4, 8, s##04, d0, 18)                                                    \
  KECCAK_PLANE(t##03, t##13, t##23, t##33, t##43, s##40, d4, 27, s##01, d0, 36, s##12, d1, 10, \
               s##23, d2, 15, s##34, d3, 56)                                                   \
  KECCAK_PLANE(t##04, t##14, t##24, t##34, t##44, s##20, d2, 62, s##31, d3, 55, s##42, d4, 39, \
               s##03, d0, 41, s##14, d1, 2)

#define KECCAK_NAMES(s)                                                                      \
  s##00, s##10, s##20, s##30, s##40, s##01, s##11, s##21, s##31, s##41, s##02, s##12, s##22, \
      s##32, s##42, s##03, s##13, s##23, s##33, s##43, s##04, s##14, s##24, s##34, s##44

#define KECCAK_EACH(do)                                                                                                   \
  do                                                                                                                      \
  (0, a00) do(1, a10) do(2, a20) do(3, a30) do(4, a40) do(5, a01) do(6, a11) do(7, a21) do(8, a31) do(9, a41) do(         \
      10,                                                                                                                 \
      a02) do(11,                                                                                                         \
              a12) do(12,                                                                                                 \
                      a22) do(13,                                                                                         \
                              a32) do(14,                                                                                 \
                                      a42) do(15,                                                                         \
                                              a03) do(16,                                                                 \
                                                      a13) do(17,                                                         \
                                                              a23) do(18,                                                 \
                                                                      a33) do(19,                                         \
                                                                              a43) do(20,                                 \
                                                                                      a04) do(21,                         \
                                                                                              a14) do(22,                 \
                                                                                                      a24) do(23,         \
                                                                                                              a34) do(24, \
                                                                                                                      a44)
#define KECCAK_LOAD(i, name) name = state[i];
#define KECCAK_STORE(i, name) state[i] = name;

KECCAK_TARGET static void KECCAK_PERMUTE(KECCAK_LANE *state) {
  KECCAK_LANE KECCAK_NAMES(a), KECCAK_NAMES(e);
  KECCAK_LANE b0, b1, b2, b3, b4, c0, c1, c2, c3, c4, d0, d1, d2, d3, d4;
  KECCAK_EACH(KECCAK_LOAD)
  for (int round = 0; round < 24; round += 2) {
    KECCAK_ROUND(a, e, keccak_constants[round])
    KECCAK_ROUND(e, a, keccak_constants[round + 1])
  }
  KECCAK_EACH(KECCAK_STORE)
}

#undef KECCAK_PLANE
#undef KECCAK_ROUND
#undef KECCAK_NAMES
#undef KECCAK_EACH
#undef KECCAK_LOAD
#undef KECCAK_STORE
#undef KECCAK_PERMUTE
#undef KECCAK_TARGET
#undef KECCAK_LANE
#undef KECCAK_XOR
#undef KECCAK_XOR5
#undef KECCAK_ROL
#undef KECCAK_CHI
#undef KECCAK_ALL
