/* The one global table of the library: which kernel runs. The first call picks the fastest that
 * this CPU has; zk_set_kernel forces another. Every function that api.h lists is defined here
 * as a call to the active kernel's copy.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "status.h"
#include "zkai.h"

#ifdef __x86_64__
#define ZK_HAVE_X86 1
#endif

enum { KERNEL_GENERIC, KERNEL_ADX, KERNEL_IFMA, KERNEL_COUNT, KERNEL_UNSET = -1 };

static const char *const kernel_names[KERNEL_COUNT] = {"generic", "adx", "ifma"};
static atomic_int active_kernel = KERNEL_UNSET;

int zk_kernel_count(void) { return KERNEL_COUNT; }

const char *zk_kernel_name(int index) {
  return index >= 0 && index < KERNEL_COUNT ? kernel_names[index] : "";
}

int zk_kernel_available(int index) {
  if (index == KERNEL_GENERIC) return 1;
#ifdef ZK_HAVE_X86
  const int adx = __builtin_cpu_supports("adx") && __builtin_cpu_supports("bmi2");
  if (index == KERNEL_ADX) return adx;
  if (index == KERNEL_IFMA) {
    return adx && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512ifma");
  }
#endif
  return 0;
}

int zk_kernel_active(void) {
  int kernel = atomic_load_explicit(&active_kernel, memory_order_relaxed);
  if (kernel != KERNEL_UNSET) return kernel;
  for (kernel = KERNEL_COUNT - 1; !zk_kernel_available(kernel); kernel--) continue;
  atomic_store_explicit(&active_kernel, kernel, memory_order_relaxed);
  return kernel;
}

int zk_set_kernel(int index) {
  if (!zk_kernel_available(index)) return ZK_ERR_ARGUMENT;
  atomic_store_explicit(&active_kernel, index, memory_order_relaxed);
  return ZK_OK;
}

/* Declare each kernel's copy, then define the public function. */
#undef ZK_API
#ifdef ZK_HAVE_X86
#define ZK_API(name, parameters, arguments)                  \
  int name##_generic parameters;                             \
  int name##_adx parameters;                                 \
  int name##_ifma parameters;                                \
  int name parameters {                                      \
    const int kernel = zk_kernel_active();                   \
    if (kernel == KERNEL_IFMA) return name##_ifma arguments; \
    if (kernel == KERNEL_ADX) return name##_adx arguments;   \
    return name##_generic arguments;                         \
  }
#else
#define ZK_API(name, parameters, arguments) \
  int name##_generic parameters;            \
  int name parameters { return name##_generic arguments; }
#endif
#include "api.h"
