/* store/seal.h: secrets at rest: sealed with a key that lies outside the database (libsodium secretbox). */
#pragma once
#include "db/db.h"

struct seal_key;

/* Key of the row in `configuration` that seal_key_check goes by. */
#define SEAL_CHECK_ROW "seal_key_check"

/* The key of MILLPOND_SEAL_KEY (64 hex digits) or of the file, which is made (mode 0600) where it is missing. A file that others
 * may read is refused. */
NODISCARD struct seal_key *seal_key_open(Str path, struct err *err);
void seal_key_free(const struct seal_key *k); /* wiped; NULL is accepted */
/* Where it is from, for messages: the file's path, or MILLPOND_SEAL_KEY. */
const char *seal_key_source(const struct seal_key *k);
/* Text for a column: version, nonce and sealed bytes in base64. */
Str seal(struct arena *a, const struct seal_key *k, Str plain);
/* -1 with ERR_INTERNAL where the text was not sealed with this key. */
NODISCARD int unseal(struct arena *a, const struct seal_key *k, Str sealed, Str *ret, struct err *err);

/* Whether this is the key that the database's secrets were sealed with; in a write. A known text, sealed, is kept for that in
 * `configuration` (the first server puts it there): it differs in each database and tells nothing of the key. -1 with ERR_LOCKED and
 * what to do where it is another. With `forget` (that key is lost) what it sealed is deleted instead and this key taken;
 * *ret_forgotten: block documents deleted. */
NODISCARD int seal_key_check(struct conn *c, const struct seal_key *k, Time now, bool forget, int64_t *ret_forgotten, struct err *err);
