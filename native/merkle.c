/* keccak256 Merkle trees over the leaves of a buffer, their multiproofs, and what those lead to.
 *
 * Public data only. docs/commitments.md specifies the layout:
 *
 *   leaf i = keccak256("zkaileaf" || bytes i * leaf_bytes up to the next leaf or the end)
 *   node   = keccak256("zkainode" || left || right)
 *
 * An odd node at the end of a level goes up unchanged, which gives the trees of RFC 9162, section
 * 2.1.1. No bytes at all are one empty leaf. Levels stand one after another, leaves first.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "keccak.h"
#include "status.h"
#include "threads.h"
#include "zkai.h"

enum { HASH = KECCAK_BYTES, MAX_HEIGHT = 12, LEVEL_GRAIN = 1 << 12 };

static const uint8_t leaf_prefix[] = {'z', 'k', 'a', 'i', 'l', 'e', 'a', 'f'};
static const uint8_t node_prefix[] = {'z', 'k', 'a', 'i', 'n', 'o', 'd', 'e'};

uint64_t zk_merkle_leaves(uint64_t total, uint64_t leaf_bytes) {
  if (leaf_bytes == 0) return 0;
  return total == 0 ? 1 : (total - 1) / leaf_bytes + 1;
}

/* The nodes of all levels; 0 for no leaves, or so many that sizes would overflow. */
uint64_t zk_merkle_nodes(uint64_t leaves) {
  if (leaves == 0 || leaves > (uint64_t)1 << 56) return 0;
  uint64_t nodes = 1;
  for (uint64_t width = leaves; width > 1; width = width / 2 + width % 2) nodes += width;
  return nodes;
}

/* The level above `width` nodes, in place or elsewhere. Returns its width. */
static uint64_t hash_level(uint8_t *up, const uint8_t *level, uint64_t width) {
  const uint64_t pairs = width / 2;
  keccak256_each(up, node_prefix, level, 2 * HASH, 2 * HASH, pairs);
  if (width % 2) memmove(up + pairs * HASH, level + (width - 1) * HASH, HASH);
  return pairs + width % 2;
}

typedef struct {
  uint8_t *out;
  const uint8_t *data;
  uint64_t total, leaf_bytes, leaves;
  uint32_t height;
  atomic_int status;
} subtrees_t;

/* The root of the subtree with leaves tree * 2^height and on. */
static void hash_subtree(void *context, size_t tree) {
  subtrees_t *job = context;
  const uint64_t begin = (uint64_t)tree << job->height;
  const uint64_t full = (uint64_t)1 << job->height;
  uint64_t width = job->leaves - begin < full ? job->leaves - begin : full;
  /* Two buffers: keccak256_each may not write where it reads. */
  uint8_t *level = malloc(width * HASH + (width / 2 + 1) * HASH);
  if (!level) {
    atomic_store(&job->status, ZK_ERR_MEMORY);
    return;
  }
  uint8_t *up = level + width * HASH;
  const uint64_t last = begin + width == job->leaves;
  const uint64_t whole = width - last;
  const uint8_t *data = job->data + begin * job->leaf_bytes;
  keccak256_each(level, leaf_prefix, data, job->leaf_bytes, job->leaf_bytes, whole);
  if (last) { /* it may be short */
    const uint64_t rest = job->total - (job->leaves - 1) * job->leaf_bytes;
    keccak256_each(level + whole * HASH, leaf_prefix, data + whole * job->leaf_bytes, 0, rest, 1);
  }
  uint8_t *from = level, *to = up;
  while (width > 1) {
    width = hash_level(to, from, width);
    uint8_t *const swap = from;
    from = to;
    to = swap;
  }
  memcpy(job->out + tree * HASH, from, HASH);
  free(level);
}

/* out[j] = the root over leaves j 2^height and on: level `height` of the tree. */
int zk_merkle_subtrees(uint8_t *out, size_t out_len, const uint8_t *data, size_t data_len,
                       uint64_t leaf_bytes, uint32_t height) {
  const uint64_t leaves = zk_merkle_leaves(data_len, leaf_bytes);
  if (leaves == 0 || height > MAX_HEIGHT) return ZK_ERR_ARGUMENT;
  const uint64_t trees = ((leaves - 1) >> height) + 1;
  size_t size;
  if (__builtin_mul_overflow(trees, (uint64_t)HASH, &size) || out_len != size) {
    return ZK_ERR_ARGUMENT;
  }
  subtrees_t job = {out, data, data_len, leaf_bytes, leaves, height, ZK_OK};
  zk_parallel_tasks(trees, hash_subtree, &job);
  return atomic_load(&job.status);
}

typedef struct {
  uint8_t *up;
  const uint8_t *level;
} level_t;

static void level_range(void *context, size_t begin, size_t end) {
  const level_t *job = context;
  keccak256_each(job->up + begin * HASH, node_prefix, job->level + 2 * begin * HASH, 2 * HASH,
                 2 * HASH, end - begin);
}

/* Fill in the levels above the first, which the caller has written. */
int zk_merkle_levels(uint8_t *nodes, size_t nodes_len, uint64_t leaves) {
  const uint64_t count = zk_merkle_nodes(leaves);
  if (count == 0 || nodes_len / HASH != count || nodes_len % HASH) return ZK_ERR_ARGUMENT;
  uint8_t *level = nodes;
  for (uint64_t width = leaves; width > 1; width = width / 2 + width % 2) {
    uint8_t *up = level + width * HASH;
    level_t job = {up, level};
    zk_parallel_for(width / 2, LEVEL_GRAIN, level_range, &job);
    if (width % 2) memcpy(up + width / 2 * HASH, level + (width - 1) * HASH, HASH);
    level = up;
  }
  return ZK_OK;
}

static int check_indices(const uint64_t *indices, size_t count, uint64_t leaves) {
  if (count == 0) return ZK_ERR_ARGUMENT;
  for (size_t i = 0; i < count; i++) {
    if (indices[i] >= leaves || (i && indices[i] <= indices[i - 1])) return ZK_ERR_ARGUMENT;
  }
  return ZK_OK;
}

/* Write the hashes that lead from strictly ascending leaves to the root: level by level from the
 * leaves up, left to right in each. `used` receives how many. */
int zk_merkle_multiproof(uint8_t *out, size_t out_len, size_t *used, const uint8_t *nodes,
                         size_t nodes_len, uint64_t leaves, const uint64_t *indices, size_t count) {
  const uint64_t all = zk_merkle_nodes(leaves);
  if (all == 0 || nodes_len / HASH != all || nodes_len % HASH) return ZK_ERR_ARGUMENT;
  int status = check_indices(indices, count, leaves);
  if (status) return status;
  uint64_t *at = malloc(count * sizeof *at);
  if (!at) return ZK_ERR_MEMORY;
  memcpy(at, indices, count * sizeof *at);
  const uint8_t *level = nodes;
  size_t written = 0;
  for (uint64_t width = leaves; width > 1 && !status; width = width / 2 + width % 2) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
      const uint64_t sibling = at[i] ^ 1;
      if (i + 1 < count && at[i + 1] == sibling) {
        at[kept++] = at[i++] / 2;
        continue;
      }
      if (sibling < width) {
        if (out_len / HASH <= written) {
          status = ZK_ERR_ARGUMENT;
          break;
        }
        memcpy(out + HASH * written++, level + sibling * HASH, HASH);
      }
      at[kept++] = at[i] / 2;
    }
    count = kept;
    level += width * HASH;
  }
  free(at);
  *used = written;
  return status;
}

typedef struct {
  uint64_t *at;
  uint8_t *hashes, *pairs;
  const uint8_t *proof;
  size_t count, left;
} fold_t;

/* Climb one level of `width` nodes. Returns ZK_ERR_FORMAT if the proof is too short. */
static int climb(fold_t *fold, uint64_t width) {
  size_t kept = 0, pairs = 0, promoted = 0;
  for (size_t i = 0; i < fold->count; i++) {
    const uint64_t at = fold->at[i], sibling = at ^ 1;
    uint8_t *const pair = fold->pairs + 2 * HASH * pairs;
    const uint8_t *const own = fold->hashes + HASH * i;
    if (sibling >= width) { /* the last node, without a sibling */
      memmove(pair, own, HASH);
      promoted = 1;
    } else if (i + 1 < fold->count && fold->at[i + 1] == sibling) {
      memcpy(pair, own, 2 * HASH);
      pairs++, i++;
    } else {
      if (fold->left < HASH) return ZK_ERR_FORMAT;
      memcpy(pair + (at & 1 ? HASH : 0), own, HASH);
      memcpy(pair + (at & 1 ? 0 : HASH), fold->proof, HASH);
      fold->proof += HASH;
      fold->left -= HASH;
      pairs++;
    }
    fold->at[kept++] = at / 2;
  }
  keccak256_each(fold->hashes, node_prefix, fold->pairs, 2 * HASH, 2 * HASH, pairs);
  if (promoted) memcpy(fold->hashes + HASH * pairs, fold->pairs + 2 * HASH * pairs, HASH);
  fold->count = kept;
  return ZK_OK;
}

/* The root to which leaf hashes at strictly ascending indices and a proof lead. */
int zk_merkle_fold(uint8_t *root, size_t root_len, uint64_t leaves, const uint64_t *indices,
                   size_t count, const uint8_t *hashes, size_t hashes_len, const uint8_t *proof,
                   size_t proof_len) {
  if (root_len != HASH || zk_merkle_nodes(leaves) == 0) return ZK_ERR_ARGUMENT;
  int status = check_indices(indices, count, leaves);
  if (status) return status;
  if (hashes_len / HASH != count || hashes_len % HASH) return ZK_ERR_ARGUMENT;
  fold_t fold = {.at = malloc(count * sizeof(uint64_t)),
                 .hashes = malloc(hashes_len),
                 .pairs = malloc(2 * hashes_len),
                 .proof = proof,
                 .count = count,
                 .left = proof_len};
  if (!fold.at || !fold.hashes || !fold.pairs) {
    status = ZK_ERR_MEMORY;
  } else {
    memcpy(fold.at, indices, count * sizeof(uint64_t));
    memcpy(fold.hashes, hashes, hashes_len);
    for (uint64_t width = leaves; width > 1 && !status; width = width / 2 + width % 2) {
      status = climb(&fold, width);
    }
    if (!status && fold.left) status = ZK_ERR_FORMAT;
    if (!status) memcpy(root, fold.hashes, HASH);
  }
  free(fold.at);
  free(fold.hashes);
  free(fold.pairs);
  return status;
}
