/* cli/commands.h: the groups of the command line, one file each; cli/commands.c joins them. */
#pragma once
#include "cli/command.h"

/* The release of the reference whose command line `prefect` follows. */
#define PREFECT_VERSION "3.8.8"

extern const struct command command_root;

extern const struct command command_config, command_deployment, command_flow, command_flow_run, command_profile,
    command_schedule, command_server, command_variable, command_work_pool, command_work_queue, command_worker, command_api,
    command_version, command_dashboard, command_artifact, command_block, command_gcl, command_concurrency_limit, command_task_run, command_automation, command_events, command_reference,
    command_complete, command_completion, command_man,
    command_deploy, command_init, command_flow_serve, command_block_register, command_task, command_sdk, command_plugins;
