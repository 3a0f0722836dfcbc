/* cli/deployments.h: what the commands on deployments and their schedules share. */
#pragma once
#include "cli/cli.h"

/* By "flow/deployment". */
NODISCARD int deployment_find(struct cli *x, Str name, const struct json **ret, struct err *err);
extern const struct command command_deployment_schedule;
