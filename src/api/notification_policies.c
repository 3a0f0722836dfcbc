/* Notification policies of 2.x clients: which flow run states are told through which block. They are kept here; nothing is sent yet. */
#include "api/handlers.h"
#include "api/list.h"

#include <string.h>

/* ---- templates: Python's format strings over these names ---- */

static const char *const names[] = {
    "flow_run_notification_policy_id", "flow_id",       "flow_name",           "flow_run_url",
    "flow_run_id",                     "flow_run_name", "flow_run_parameters", "flow_run_state_type",
    "flow_run_state_name",             "flow_run_state_timestamp", "flow_run_state_message",
};

static const char *template_fault(Str text, size_t depth);

/* `text` begins behind '{'; *ret_end is the index of the '}' that closes the field. NULL where it is right. */
static const char *field_fault(Str text, size_t depth, size_t *ret_end)
{
    size_t end = 0, open = 0;
    for (; end < text.n && (text.p[end] != '}' || open); end++)
        open += text.p[end] == '{' ? 1 : text.p[end] == '}' ? (size_t)-1 : 0;
    if (end == text.n)
        return "has a '{' that nothing closes";
    *ret_end = end;
    Str field = str_sub(text, 0, end), name = field;
    for (size_t i = 0; i < field.n; i++)
        if (field.p[i] == '!' || field.p[i] == ':') {
            name = str_sub(field, 0, i);
            break;
        }
    bool known = false;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        known |= str_eqz(name, names[i]);
    if (!known)
        return "names something that templates do not know";
    Str rest = str_sub(field, name.n, field.n);
    if (str_starts(rest, STR("!"))) {
        if (rest.n < 2 || !strchr("rsa", rest.p[1]) || (rest.n > 2 && rest.p[2] != ':'))
            return "has a conversion that is none of !r, !s and !a";
        rest = str_sub(rest, 2, rest.n);
    }
    if (rest.n < 2)
        return NULL;
    return depth ? "has fields in fields in fields" : template_fault(str_sub(rest, 1, rest.n), depth + 1);
}

/* What is wrong with a template; NULL: nothing. */
static const char *template_fault(Str text, size_t depth)
{
    for (size_t i = 0; i < text.n; i++) {
        bool twice = i + 1 < text.n && text.p[i + 1] == text.p[i];
        size_t end;
        if (text.p[i] == '}' && !twice)
            return "has a '}' that closes nothing";
        if ((text.p[i] == '}' || text.p[i] == '{') && twice) {
            i++;
        } else if (text.p[i] == '{') {
            const char *fault = field_fault(str_sub(text, i + 1, text.n), depth, &end);
            if (fault)
                return fault;
            i += end + 1;
        }
    }
    return NULL;
}

/* ---- handlers ---- */

static int found(int64_t rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Flow run notification policy") : rc < 0 ? -1 : 0;
}

static int parse(struct call *c, int view, struct notification_policy *ret, struct err *err)
{
    call_read(c, &notification_policy_resource, view, ret);
    const char *fault = ret->message_template.p ? template_fault(ret->message_template, 0) : NULL;
    if (fault)
        violation_add(&c->violations, "value_error", STR("message_template"), json_getz(c->body, "message_template"), fault);
    if (call_invalid(c, err) < 0)
        return -1;
    return call_refers(c, "block_document_id", &block_document_resource, ret->block_document_id, err);
}

int notification_policies_create(struct call *c, struct err *err)
{
    struct notification_policy policy;
    if (parse(c, CREATE, &policy, err) < 0)
        return -1;
    policy.id = uuid_v7();
    policy.created = policy.updated = c->now;
    if (record_insert(c->conn, &notification_policy_resource, &policy, "", err) < 0)
        return -1;
    return record_print_object(c, &notification_policy_resource, &policy);
}

int notification_policies_read(struct call *c, struct err *err)
{
    struct notification_policy policy;
    if (found(record_by_id(c->conn, c->a, &notification_policy_resource, c->id, &policy, err), err) < 0)
        return -1;
    return record_print_object(c, &notification_policy_resource, &policy);
}

int notification_policies_update(struct call *c, struct err *err)
{
    struct notification_policy change;
    if (parse(c, UPDATE, &change, err) < 0)
        return -1;
    change.updated = c->now;
    SET_FIELD(&change, notification_policy__updated);
    return found(record_update(c->conn, &notification_policy_resource, &change, change.set, c->id, err), err) < 0 ? -1 : call_empty(c, 204);
}

int notification_policies_delete(struct call *c, struct err *err)
{
    return found(record_delete(c->conn, &notification_policy_resource, c->id, err), err) < 0 ? -1 : call_empty(c, 204);
}

int notification_policies_filter(struct call *c, struct err *err)
{
    return list_filter(c, &notification_policy_listing, NULL, list_print_record, err);
}
