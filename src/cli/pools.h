/* cli/pools.h: what the commands on pools, queues, workers and deployments share. */
#pragma once
#include "cli/cli.h"

/* A type as people write it in the API's form: "managed" is "prefect:managed". */
Str pool_type(Str type);
bool pool_type_is_push(Str type);
bool pool_type_is_managed(Str type);
/* The server's record of a type ({type, display_name, default_base_job_configuration, …}); ERR_NOT_FOUND with the list of types. */
NODISCARD int pool_type_record(struct cli *x, Str type, const struct json **ret, struct err *err);
/* All of them, each type once, by name. */
NODISCARD int pool_type_records(struct cli *x, struct items *ret, struct err *err);
/* GET /work_pools/{name}. */
NODISCARD int pool_get(struct cli *x, Str name, const struct json **ret, struct err *err);
/* "Work pool 'x' not found! Did you mean 'y'?" */
int pool_missing(struct cli *x, Str name, struct err *err);
Str pool_path(struct arena *a, Str name); /* "/work_pools/{name}" */
/* A JSON file with an object in it; "-" is standard input. */
NODISCARD int template_read(struct cli *x, Str path, const struct json **ret, struct err *err);
/* A table of scheduled runs, late ones marked. */
void scheduled_runs_table(struct cli *x, const char *title, struct items *runs);
/* "a bar of twenty and n / limit" after "Slots:". */
void slots_line(struct cli *x, int64_t active, int64_t limit);
/* A number, or a blue None. */
void limit_cell(struct table *t, const struct json *v, const char *key);

extern const struct command command_work_pool_storage;
