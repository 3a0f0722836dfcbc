#include "api/handlers.h"

const struct route routes[] = {
#define ROUTE(method, path, handler, kind, status, asks, ...) {#method, path, kind, status, handler, asks, __VA_ARGS__},
#include "api/routes.def"
#undef ROUTE
};
const size_t route_count = COUNT_OF(routes);
