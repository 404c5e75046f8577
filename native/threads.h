/* Fork-join parallelism over POSIX threads, with the process's CPU affinity as the default width.
 */
#ifndef ZK_THREADS_H
#define ZK_THREADS_H

#include <stddef.h>

/* Threads that a parallel loop may use now: the value set, else the CPUs the process may run on.
 * Inside a parallel loop it is 1: loops do not nest. */
int zk_threads(void);

/* Set the width (1..256), or 0 for the affinity default. Returns a zk_status. */
int zk_set_threads(int n);

/* Call task(context, i) for each i in [0, n), from several threads, in no particular order. Returns
 * when all are done. If a thread cannot be started, the others do its work. */
typedef void (*zk_task_fn)(void *context, size_t i);
void zk_parallel_tasks(size_t n, zk_task_fn task, void *context);

/* Call range(context, begin, end) over consecutive ranges that cover [0, n), each at least `grain`
 * long (but the last). For loops whose elements cost much the same. */
typedef void (*zk_range_fn)(void *context, size_t begin, size_t end);
void zk_parallel_for(size_t n, size_t grain, zk_range_fn range, void *context);

#endif
