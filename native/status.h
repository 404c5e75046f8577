/* Return codes of every function that can fail. zkai/native.py turns them into messages. */
#ifndef ZK_STATUS_H
#define ZK_STATUS_H

enum zk_status {
  ZK_OK = 0,
  ZK_ERR_MEMORY = 1,    /* an allocation failed or a size overflowed */
  ZK_ERR_ARGUMENT = 2,  /* a length or option that the function cannot work with */
  ZK_ERR_RANGE = 3,     /* a field element at or above its modulus */
  ZK_ERR_CURVE = 4,     /* a point that is not on its curve */
  ZK_ERR_SUBGROUP = 5,  /* a G2 point outside the subgroup of order r */
  ZK_ERR_INFINITY = 6,  /* the point at infinity where it is not allowed */
  ZK_ERR_EQUATION = 7,  /* well-formed, but the equation does not hold */
  ZK_ERR_FORMAT = 8,    /* bytes that do not follow their file format */
  ZK_ERR_CANCELLED = 9, /* the caller asked to stop */
  ZK_ERR_EQUAL = 10,    /* two values of a key that must differ */
};

#endif
