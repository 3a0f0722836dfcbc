#include "cli/commands.h"

static const struct command *const groups[] = {
    &command_server,   &command_work_pool, &command_work_queue, &command_worker,  &command_deployment,
    &command_flow_run, &command_flow,      &command_task_run,   &command_block,   &command_variable,
    &command_artifact, &command_gcl,       &command_concurrency_limit, &command_automation, &command_events, &command_schedule,
    &command_config,   &command_profile,   &command_api,        &command_version, &command_dashboard,
    &command_completion, &command_man, &command_complete, &command_reference,
    &command_deploy,     &command_init,      &command_task,       &command_sdk,     &command_plugins,
    NULL,
};

const struct command command_root = {
    .name = "millpond",
    .summary = "Runs flows: by schedule, by event, by hand; here, in a sandbox, in containers, in a cloud",
    .groups = groups,
};
