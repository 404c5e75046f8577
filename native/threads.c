/* See threads.h. Public data only: scheduling depends on lengths alone. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "status.h"

enum { MAX_THREADS = 256, RANGES_PER_THREAD = 4 };

static atomic_int configured_threads;
static _Thread_local int inside_loop;

static int default_threads(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

int zk_threads(void) {
  if (inside_loop) return 1;
  int n = atomic_load_explicit(&configured_threads, memory_order_relaxed);
  if (n == 0) n = default_threads();
  return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

int zk_set_threads(int n) {
  if (n < 0 || n > MAX_THREADS) return ZK_ERR_ARGUMENT;
  atomic_store_explicit(&configured_threads, n, memory_order_relaxed);
  return ZK_OK;
}

typedef struct {
  zk_task_fn task;
  void *context;
  size_t n;
  atomic_size_t next;
} loop_t;

static void *work(void *argument) {
  loop_t *loop = argument;
  const int outer = inside_loop;
  inside_loop = 1;
  for (;;) {
    const size_t i = atomic_fetch_add_explicit(&loop->next, 1, memory_order_relaxed);
    if (i >= loop->n) break;
    loop->task(loop->context, i);
  }
  inside_loop = outer;
  return NULL;
}

void zk_parallel_tasks(size_t n, zk_task_fn task, void *context) {
  pthread_t threads[MAX_THREADS];
  loop_t loop = {.task = task, .context = context, .n = n};
  size_t started = 0, wanted = (size_t)zk_threads();
  if (wanted > n) wanted = n;
  while (started + 1 < wanted && pthread_create(&threads[started], NULL, work, &loop) == 0)
    started++;
  work(&loop);
  for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
}

typedef struct {
  zk_range_fn range;
  void *context;
  size_t n, step;
} range_loop_t;

static void run_range(void *argument, size_t i) {
  const range_loop_t *loop = argument;
  const size_t begin = i * loop->step;
  const size_t end = loop->n - begin < loop->step ? loop->n : begin + loop->step;
  loop->range(loop->context, begin, end);
}

void zk_parallel_for(size_t n, size_t grain, zk_range_fn range, void *context) {
  if (n == 0) return;
  const size_t pieces = (size_t)zk_threads() == 1 ? 1 : (size_t)zk_threads() * RANGES_PER_THREAD;
  size_t step = n / pieces + (n % pieces != 0);
  if (step < grain) step = grain;
  if (step > n) step = n;
  range_loop_t loop = {.range = range, .context = context, .n = n, .step = step};
  zk_parallel_tasks(n / step + (n % step != 0), run_range, &loop);
}
