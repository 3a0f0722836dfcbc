/* Stands in, while the program is put together, for parts whose library is not there yet; goes when all are. */
#include "api/server_main.h"
#include "schedule/schedule.h"
#include "schema/hydrate.h"

#ifdef PENDING_API
int server_main(const struct server_options *o, struct err *err)
{
    UNUSED(o);
    return err_set(err, ERR_INTERNAL, "this build has no server in it");
}
#endif

#ifdef PENDING_SCHEDULE
const struct schedule *schedule_parse(struct arena *a, const struct json *v, Time now, struct err *err)
{
    UNUSED(a), UNUSED(v), UNUSED(now);
    err_set(err, ERR_INTERNAL, "this build has no schedules in it");
    return NULL;
}

size_t schedule_next(struct arena *a, const struct schedule *s, Time start, Time end, size_t n, Time *ret)
{
    UNUSED(a), UNUSED(s), UNUSED(start), UNUSED(end), UNUSED(n), UNUSED(ret);
    return 0;
}
#endif

#ifdef PENDING_TEMPLATE
const struct json *template_variables(struct arena *a, const struct json *base_job_template, const struct json *const *overrides, size_t n,
                                      int flags, struct err *err)
{
    UNUSED(a), UNUSED(base_job_template), UNUSED(overrides), UNUSED(n), UNUSED(flags);
    err_set(err, ERR_INTERNAL, "this build has no templates in it");
    return NULL;
}

const struct json *template_resolve(struct arena *a, const struct json *base_job_template, const struct json *variables,
                                    const struct json *extra, const struct hydrate_context *ctx, struct err *err)
{
    UNUSED(a), UNUSED(base_job_template), UNUSED(variables), UNUSED(extra), UNUSED(ctx);
    err_set(err, ERR_INTERNAL, "this build has no templates in it");
    return NULL;
}
#endif
