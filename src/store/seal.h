/* store/seal.h: secrets at rest: sealed with a key that lies outside the database (libsodium secretbox). */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct seal_key;

/* The key of MILLPOND_SEAL_KEY (64 hex digits) or of the file, which is made (mode 0600) where it is missing. A file that others
 * may read is refused. */
NODISCARD struct seal_key *seal_key_open(Str path, struct err *err);
void seal_key_free(const struct seal_key *k); /* wiped; NULL is accepted */
/* Text for a column: version, nonce and sealed bytes in base64. */
Str seal(struct arena *a, const struct seal_key *k, Str plain);
/* -1 with ERR_INTERNAL where the text was not sealed with this key. */
NODISCARD int unseal(struct arena *a, const struct seal_key *k, Str sealed, Str *ret, struct err *err);
