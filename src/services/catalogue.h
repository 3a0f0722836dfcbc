/* services/catalogue.h: the built-in block types and their schemas, put into a workspace at its first start. */
#pragma once
#include "model/all.h"

/* Adds what is missing, changes nothing that is there. */
NODISCARD int catalogue_install(struct conn *c, struct arena *a, Time now, struct err *err);
