/* Commands that read people's Python: handed over to the Python package, with our settings. */
#include "cli/commands.h"
#include "cli/python.h"

#define DETAILS "It reads Python code, and runs the prefect package that is installed in MILLPOND_PYTHON, or python3, against the server of these settings."
#define LIST(name, brief, help) {name, brief, VALUE_TEXT, OPTION_LIST, help}
#define TEXT(name, brief, help) {name, brief, VALUE_TEXT, 0, help}
#define SCHEDULE_ONE                                                                                                                  \
    TEXT("cron", NULL, "A cron expression"), {"interval", NULL, VALUE_INT, 0, "Seconds between two runs"},                            \
        TEXT("anchor-date", NULL, "A time that intervals are counted from"), TEXT("rrule", NULL, "An RFC 5545 rule"), TEXT("timezone", NULL, "The schedule's time zone")
#define OPTIONS_INIT                                                                                                                  \
    TEXT("name", NULL, "The project's name"), TEXT("recipe", NULL, "docker, git, local, s3, …"), LIST("field", "f", "KEY=VALUE for the recipe")

static const struct command deploy_commands[] = {
    {.name = "init", .summary = "Write prefect.yaml for a project", .run = python_hand_over, .details = DETAILS, .options = OPTIONS(OPTIONS_INIT)},
    {0},
};

const struct command command_deploy = {
    .name = "deploy", .summary = "Make deployments of a project's flows", .run = python_hand_over, .details = DETAILS, .commands = deploy_commands,
    .args = ARGS({"entrypoint", "path.py:function", .optional = true}),
    .options = OPTIONS(
        LIST("name", "n", "Deployments of prefect.yaml, by name or pattern; or the new one's name"), TEXT("description", "d", "What it does"),
        TEXT("version-type", NULL, "Where its version comes from"), TEXT("version", NULL, "Its version"), LIST("tag", "t", "A tag"),
        {"concurrency-limit", "cl", VALUE_INT, 0, "Most runs at once"}, TEXT("collision-strategy", NULL, "ENQUEUE or CANCEL_NEW, where the limit is reached"),
        TEXT("pool", "p", "Its work pool"), TEXT("work-queue", "q", "Its queue"), LIST("job-variable", "jv", "KEY=VALUE for the pool's job template"),
        LIST("cron", NULL, "A cron expression"), {"interval", NULL, VALUE_INT, OPTION_LIST, "Seconds between two runs"},
        TEXT("anchor-date", NULL, "A time that intervals are counted from"), LIST("rrule", NULL, "An RFC 5545 rule"), TEXT("timezone", NULL, "The schedules' time zone"),
        LIST("trigger", NULL, "A trigger: JSON, or a file with one"), LIST("param", NULL, "KEY=VALUE of a parameter"),
        {"params", NULL, VALUE_JSON, OPTION_DASH, "All parameters as a JSON object"},
        {"enforce-parameter-schema", NULL, VALUE_FLAG, OPTION_ON, "Refuse parameters that do not fit the flow"},
        {"all", NULL, VALUE_FLAG, 0, "All deployments of prefect.yaml"}, TEXT("prefect-file", NULL, "Instead of prefect.yaml"), LIST("sla", NULL, "Of the hosted service"))};

const struct command command_init = {
    .name = "init", .summary = "Write prefect.yaml for a project", .run = python_hand_over, .details = DETAILS, .options = OPTIONS(OPTIONS_INIT)};

const struct command command_flow_serve = {
    .name = "serve", .summary = "Run a flow's deployment from here", .run = python_hand_over, .details = DETAILS, .args = ARGS({"entrypoint", "path.py:function"}),
    .options = OPTIONS({"name", "n", VALUE_TEXT, OPTION_REQUIRED, "The deployment's name"}, TEXT("description", "d", "What it does"), TEXT("version", "v", "Its version"),
                       LIST("tag", "t", "A tag"), SCHEDULE_ONE, {"pause-on-shutdown", NULL, VALUE_FLAG, OPTION_ON, "Pause its schedules at the end"},
                       {"limit", NULL, VALUE_INT, 0, "Most runs at once, here"}, {"global-limit", NULL, VALUE_INT, 0, "Most runs at once, anywhere"})};

const struct command command_block_register = {
    .name = "register", .summary = "Bring block types of Python classes to the server", .run = python_hand_over, .details = DETAILS,
    .options = OPTIONS(TEXT("module", "m", "An installed module"), {"file", "f", VALUE_PATH, 0, "A Python file"})};

static const struct command task_commands[] = {
    {.name = "serve", .summary = "Run background tasks from here", .run = python_hand_over, .details = DETAILS,
     .args = ARGS({"entrypoints", "path.py:function", .optional = true, .many = true}),
     .options = OPTIONS(LIST("module", "m", "All tasks of an installed module"), {"limit", NULL, VALUE_INT, 0, "Most at once (10)"})},
    {0},
};
const struct command command_task = {.name = "task", .summary = "Background tasks", .commands = task_commands};

static const struct command sdk_commands[] = {
    {.name = "generate", .summary = "Write a Python module with the server's deployments", .run = python_hand_over, .details = DETAILS,
     .options = OPTIONS({"output", "o", VALUE_PATH, OPTION_REQUIRED, "The file to write"}, LIST("flow", "f", "Only this flow's"), LIST("deployment", "d", "Only this deployment"))},
    {0},
};
const struct command command_sdk = {.name = "sdk", .summary = "Python code for what the server has", .commands = sdk_commands};

static const struct command plugins_commands[] = {
    {.name = "diagnose", .summary = "Say which plugins Python finds", .run = python_hand_over, .details = DETAILS},
    {0},
};
const struct command command_plugins = {.name = "plugins", .summary = "Plugins of the Python side", .commands = plugins_commands};
