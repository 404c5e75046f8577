/* Vectors of points in standard form, as zkai/native.py passes them. Public data only. */
#include <stdatomic.h>
#include <stdlib.h>

#include "curve.h"
#include "threads.h"

/* Functions of one group; g is g1 or g2, L the limbs of a point. */
#define DEFINE_POINTS(g, L)                                                                        \
  typedef struct {                                                                                 \
    g##_affine_t *out;                                                                             \
    const uint64_t *in;                                                                            \
    int subgroup;                                                                                  \
    atomic_size_t first;                                                                           \
    atomic_int status;                                                                             \
  } g##_load_job_t;                                                                                \
                                                                                                   \
  static int g##_load_checked(g##_affine_t *r, const uint64_t *in, int subgroup) {                 \
    if (g##_load(r, in)) return ZK_ERR_RANGE;                                                      \
    if (!g##_on_curve(r)) return ZK_ERR_CURVE;                                                     \
    return subgroup && !g##_in_subgroup(r) ? ZK_ERR_SUBGROUP : ZK_OK;                              \
  }                                                                                                \
                                                                                                   \
  static void g##_load_range(void *context, size_t begin, size_t end) {                            \
    g##_load_job_t *job = context;                                                                 \
    g##_affine_t ignored;                                                                          \
    for (size_t i = begin; i < end; i++) {                                                         \
      g##_affine_t *out = job->out ? &job->out[i] : &ignored;                                      \
      const int status = g##_load_checked(out, job->in + L * i, job->subgroup);                    \
      if (!status) continue;                                                                       \
      size_t first = atomic_load(&job->first);                                                     \
      while (i < first && !atomic_compare_exchange_weak(&job->first, &first, i)) continue;         \
      atomic_store(&job->status, status);                                                          \
      return;                                                                                      \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  static int g##_load_many(g##_affine_t *out, const uint64_t *in, size_t n) {                      \
    g##_load_job_t job = {.out = out, .in = in, .first = SIZE_MAX, .status = ZK_OK};               \
    zk_parallel_for(n, 256, g##_load_range, &job);                                                 \
    return atomic_load(&job.status);                                                               \
  }                                                                                                \
                                                                                                   \
  /* *first = the lowest index of a point that is not canonical, on the curve and, if asked, in    \
   * the subgroup; n if all are. Returns that point's fault. */                                    \
  int ZK_NAME(zk_##g##_check)(size_t *first, const uint64_t *points, size_t n, int subgroup) {     \
    g##_load_job_t job = {.in = points, .subgroup = subgroup, .first = SIZE_MAX, .status = ZK_OK}; \
    zk_parallel_for(n, 64, g##_load_range, &job);                                                  \
    const size_t i = atomic_load(&job.first);                                                      \
    *first = i < n ? i : n;                                                                        \
    g##_affine_t ignored;                                                                          \
    return i < n ? g##_load_checked(&ignored, points + L * i, subgroup) : ZK_OK;                   \
  }                                                                                                \
                                                                                                   \
  int ZK_NAME(zk_##g##_msm)(uint64_t *out, const uint64_t *points, const uint64_t *scalars,        \
                            size_t n) {                                                            \
    if (n > SIZE_MAX / sizeof(g##_affine_t)) return ZK_ERR_MEMORY;                                 \
    g##_affine_t *loaded = malloc(n ? n * sizeof *loaded : 1), affine;                             \
    if (!loaded) return ZK_ERR_MEMORY;                                                             \
    int status = g##_load_many(loaded, points, n);                                                 \
    g##_t sum;                                                                                     \
    if (!status) status = g##_msm(&sum, loaded, scalars, n);                                       \
    free(loaded);                                                                                  \
    if (status) return status;                                                                     \
    g##_to_affine(&affine, &sum);                                                                  \
    g##_store(out, &affine);                                                                       \
    return ZK_OK;                                                                                  \
  }                                                                                                \
                                                                                                   \
  /* out[i] = scalars[i] * base; a null base is the generator. */                                  \
  int ZK_NAME(zk_##g##_mul_many)(uint64_t *out, const uint64_t *base, const uint64_t *scalars,     \
                                 size_t n) {                                                       \
    g##_affine_t point = g##_generator();                                                          \
    int status = base ? g##_load_checked(&point, base, 0) : ZK_OK;                                 \
    if (status) return status;                                                                     \
    if (n > SIZE_MAX / sizeof(g##_affine_t)) return ZK_ERR_MEMORY;                                 \
    g##_affine_t *products = malloc(n ? n * sizeof *products : 1);                                 \
    if (!products) return ZK_ERR_MEMORY;                                                           \
    status = g##_mul_many(products, &point, scalars, n);                                           \
    for (size_t i = 0; i < n && !status; i++) g##_store(out + L * i, &products[i]);                \
    free(products);                                                                                \
    return status;                                                                                 \
  }                                                                                                \
                                                                                                   \
  /* out[i] = a[i] + b[i] */                                                                       \
  int ZK_NAME(zk_##g##_add)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n) {       \
    for (size_t i = 0; i < n; i++) {                                                               \
      g##_affine_t p, q;                                                                           \
      g##_t sum, other;                                                                            \
      int status = g##_load_checked(&p, a + L * i, 0);                                             \
      if (!status) status = g##_load_checked(&q, b + L * i, 0);                                    \
      if (status) return status;                                                                   \
      g##_from_affine(&sum, &p);                                                                   \
      g##_from_affine(&other, &q);                                                                 \
      g##_add(&sum, &sum, &other);                                                                 \
      g##_to_affine(&p, &sum);                                                                     \
      g##_store(out + L * i, &p);                                                                  \
    }                                                                                              \
    return ZK_OK;                                                                                  \
  }                                                                                                \
                                                                                                   \
  /* out[i] = scalars[i] * points[i], for any scalars below 2^256. */                              \
  int ZK_NAME(zk_##g##_mul)(uint64_t *out, const uint64_t *points, const uint64_t *scalars,        \
                            size_t n) {                                                            \
    for (size_t i = 0; i < n; i++) {                                                               \
      g##_affine_t p;                                                                              \
      g##_t product;                                                                               \
      const int status = g##_load_checked(&p, points + L * i, 0);                                  \
      if (status) return status;                                                                   \
      g##_from_affine(&product, &p);                                                               \
      g##_mul(&product, &product, scalars + 4 * i);                                                \
      g##_to_affine(&p, &product);                                                                 \
      g##_store(out + L * i, &p);                                                                  \
    }                                                                                              \
    return ZK_OK;                                                                                  \
  }

DEFINE_POINTS(g1, 8)
DEFINE_POINTS(g2, 16)
