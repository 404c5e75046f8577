/* The list of the library's parts, one ZK_API list each. No include guard: zkai.h includes it to
 * declare the public functions, dispatch.c to define them. */
#include "curve.cdef"
#include "formats.cdef"
#include "groth16.cdef"
#include "ntt.cdef"
#include "pairing.cdef"
#include "points.cdef"
#include "poseidon.cdef"
#include "r1cs.cdef"
#include "rlwe.cdef"
#include "setup.cdef"
