/* The list of the library's parts, one ZK_API list each. No include guard: zkai.h includes it to
 * declare the public functions, dispatch.c to define them. */
#include "curve.cdef"
#include "poseidon.cdef"
#include "ntt.cdef"
#include "r1cs.cdef"
#include "setup.cdef"
#include "points.cdef"
#include "groth16.cdef"
#include "formats.cdef"
#include "pairing.cdef"
