#include "api/handlers.h"

const struct route routes[] = {
#define ROUTE(method, path, handler, kind, status) {#method, path, kind, status, handler},
#include "api/routes.def"
#undef ROUTE
};
const size_t route_count = COUNT_OF(routes);
