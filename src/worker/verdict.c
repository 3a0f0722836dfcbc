#include "worker/verdict.h"

#include <signal.h>

const char *exit_explanation(int code)
{
    static const struct {
        int code;
        const char *text;
    } known[] = {
        {1, "The process failed; its log says more."},
        {2, "The command was used wrongly, or a file it needs is missing."},
        {125, "The container could not be run."},
        {126, "The command was found but may not be executed."},
        {127, "The command was not found."},
        {137, "The process was killed; most often it used too much memory."},
        {143, "The process was asked to stop by a SIGTERM signal."},
        {247, "The process was ended, likely for its use of memory."},
        {-SIGKILL, "The process was killed; most often it used too much memory."},
        {-SIGTERM, "The process was asked to stop by a SIGTERM signal."},
        {-SIGINT, "The process was interrupted by a SIGINT signal."},
        {-SIGSEGV, "The process touched memory that is not its own (SIGSEGV)."},
        {-SIGABRT, "The process gave up by itself (SIGABRT)."},
        {-SIGSYS, "The process used a system call that its sandbox does not allow."},
        {139, "The process touched memory that is not its own (SIGSEGV)."},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].code == code)
            return known[i].text;
    return code < 0 ? "The process was ended by a signal." : "This status has no common meaning.";
}

static bool is_terminal(Str type)
{
    return str_eqz(type, "COMPLETED") || str_eqz(type, "FAILED") || str_eqz(type, "CANCELLED") ||
           str_eqz(type, "CRASHED");
}

static struct verdict nothing(const char *why)
{
    return (struct verdict){.kind = VERDICT_NOTHING, .why = why};
}

static struct verdict timed_out(struct arena *a, const struct run_end *end)
{
    return (struct verdict){
        .kind = VERDICT_STATE,
        .type = "FAILED",
        .name = "TimedOut",
        .message = str_fmt(a, "The run was stopped: it went on beyond its time limit of %g seconds.",
                           (double)end->time_limit / SEC),
        .force = true, /* or a run with retries left would wait for a process that is no more */
        .why = "time limit",
    };
}

static struct verdict crashed(struct arena *a, const struct run_end *end)
{
    struct verdict v = {.kind = VERDICT_STATE, .type = "CRASHED", .why = "ended without a final state"};
    if (!end->started)
        v.message = str_fmt(a, "Failed to submit flow run to infrastructure: %.*s", STR_ARG(end->detail));
    else if (end->reason == STOP_LOST)
        v.message = STR("Flow run infrastructure was lost: the machine or the run's supervisor went away, and how the process ended is not known.");
    else if (end->out_of_memory && end->code)
        v.message = str_fmt(a, "Flow run infrastructure exited with non-zero status code %d. The process was killed for using more memory than its limit%s%.*s.",
                            end->code, end->detail.n ? " of " : "", STR_ARG(end->detail));
    else if (end->code)
        v.message = str_fmt(a, "Flow run infrastructure exited with non-zero status code %d. %s", end->code,
                            end->reason == STOP_ASKED ? "It was stopped together with its supervisor." : exit_explanation(end->code));
    else if (end->reason == STOP_ASKED)
        v.message = STR("Flow run infrastructure was stopped from outside before the run came to an end.");
    else
        v.message = STR("Flow run infrastructure exited with status code 0, but the run never came to a final state.");
    return v;
}

struct verdict run_verdict(struct arena *a, const struct run_end *end, const struct json *run, Uuid claim_state,
                           Str identifier)
{
    const struct json *state = json_getz(run, "state");
    Str type = json_get_str(state, STR("type")), name = json_get_str(state, STR("name"));
    if (!type.p)
        type = json_get_str(run, STR("state_type"));
    Str where = json_get_str(run, STR("infrastructure_pid"));
    const struct json *details = json_getz(state, "state_details");
    const struct json *flag = json_getz(details, "pause_reschedule");
    bool suspended = json_is(flag, JSON_BOOL) && flag->boolean;

    if (is_terminal(type)) {
        /* The run's own last word stands, but for what our stopping it made it say. */
        if (str_eqz(type, "CRASHED") && end->reason == STOP_TIME_LIMIT)
            return timed_out(a, end);
        if (str_eqz(type, "CRASHED") && end->reason == STOP_CANCEL)
            goto cancelled;
        return nothing("already final");
    }
    if (where.n && identifier.n && !str_eq(where, identifier))
        return nothing("taken over by another process");
    if (str_eqz(type, "CANCELLING"))
        goto cancelled;
    if (str_eqz(type, "PENDING") && str_eqz(name, "Pending")) {
        Uuid id;
        if (!uuid_is_nil(claim_state) && uuid_parse(json_get_str(state, STR("id")), &id) && !uuid_eq(id, claim_state))
            return nothing("claimed anew");
    }
    if (str_eqz(type, "PAUSED") && suspended)
        return nothing("suspended");
    if (str_eqz(type, "SCHEDULED")) {
        Str retry = json_str(json_path(run, "empirical_policy.retry_type"));
        if (!str_eqz(retry, "in_process") && end->started)
            return nothing("rescheduled");
    }
    if (end->reason == STOP_CANCEL)
        goto cancelled;
    if (end->reason == STOP_TIME_LIMIT)
        return timed_out(a, end);
    return crashed(a, end);
cancelled:
    return (struct verdict){
        .kind = VERDICT_STATE,
        .type = "CANCELLED",
        .message = STR("Flow run was cancelled and its process has ended."),
        .why = "cancelled",
    };
}
