/* store/blocks.h: block documents: sealed data, references to other documents, masks. */
#pragma once
#include "model/all.h"
#include "store/seal.h"

/* A document's values with referenced documents' in their place. `data` is a tree; `references` the API's
 * block_document_references as JSON text. Depth 50 at most; a circle is ERR_INVALID. */
struct block_values {
    const struct json *data;
    Str references;
};
NODISCARD int block_values_read(struct conn *c, struct arena *a, const struct seal_key *k, const struct block_document *d,
                                struct block_values *ret, struct err *err);
/* Seals `data` into d->sealed; values {"$ref": {"block_document_id": id}} become reference rows of d->id (which must be stored already
 * for that: call with store_references after the insert). ERR_NOT_FOUND for an unknown document, ERR_INVALID for a circle. */
NODISCARD int block_values_seal(struct arena *a, const struct seal_key *k, const struct json *data, struct block_document *d, struct err *err);
NODISCARD int block_references_store(struct conn *c, struct arena *a, const struct json *data, Uuid document_id, Time now, struct err *err);
/* Values at the schema's secret_fields (dotted paths, '*' for any key) replaced by "********". */
#define BLOCK_MASK "********"
const struct json *block_mask(struct arena *a, Str schema_fields, const struct json *data);
/* An object's members with those of `change` over them; a value equal to its mask keeps the old one. */
const struct json *block_merge(struct arena *a, const struct json *old, const struct json *change);
/* sha256 of fields, as clients compute it (semantics.md 7). */
Str block_checksum(struct arena *a, const struct json *fields);
