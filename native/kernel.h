/* Which arithmetic kernel this object is compiled for, and what its symbols are called.
 *
 * Every field-heavy source is compiled once per kernel; ZK_NAME gives its external symbols the
 * kernel's suffix, so that the copies live in one library and dispatch.c picks one at run time.
 */
#ifndef ZK_KERNEL_H
#define ZK_KERNEL_H

#if defined(ZK_KERNEL_IFMA) /* adx, and AVX-512 IFMA where a source has vector code */
#define ZK_NAME(f) f##_ifma
#define ZK_USE_ADX 1
#elif defined(ZK_KERNEL_ADX)
#define ZK_NAME(f) f##_adx
#define ZK_USE_ADX 1
#elif defined(ZK_KERNEL_GENERIC)
#define ZK_NAME(f) f##_generic
#else
#error "compile with -DZK_KERNEL_GENERIC, -DZK_KERNEL_ADX or -DZK_KERNEL_IFMA"
#endif

#endif
