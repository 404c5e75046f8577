/* The public interface of the native library, as zkai/native.py sees it.
 *
 * Every buffer carries its length in elements; the caller allocates; results are standard-form
 * little-endian limbs; functions return a zk_status (status.h).
 */
#ifndef ZKAI_H
#define ZKAI_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#include "base.cdef"
#include "keccak.cdef"
#include "merkle.cdef"

#define ZK_API(name, parameters, arguments) int name parameters;
#include "api.h"

#endif
