#include "events/automation.h"

#include "base/limits.h"
#include "schema/hydrate.h"

#include <string.h>

#define PROACTIVE_MIN (10 * SEC) /* published */
#define NAMES_MAX 1000           /* of expected events and the like: each event is held against all of them */
#define EVERY_RUN "prefect.flow-run.*"

/* ---- triggers ---- */

static void settle_one(struct arena *a, struct jw *w, const struct json *sent, struct violations *v);

/* Patterns for labels: a text or a list of texts each. */
static void check_patterns(const struct json *patterns, struct violations *v)
{
    if (!json_is(patterns, JSON_OBJECT)) {
        violation_add(v, "dict_type", STR_NONE, patterns, "must be an object");
        return;
    }
    for (size_t i = 0; i < patterns->object.n; i++) {
        const struct json_member *m = &patterns->object.members[i];
        bool fits = m->value.kind == JSON_STRING || m->value.kind == JSON_ARRAY;
        for (size_t k = 0; m->value.kind == JSON_ARRAY && k < m->value.array.n; k++)
            fits &= m->value.array.items[k].kind == JSON_STRING;
        if (!fits)
            violation_add(v, "string_type", m->key, &m->value, "must be a string or a list of strings");
    }
}

static void check_related(const struct json *related, struct violations *v)
{
    Str before = violations_enter(v, STR("match_related"));
    if (!json_is(related, JSON_ARRAY))
        check_patterns(related, v);
    for (size_t i = 0; json_is(related, JSON_ARRAY) && i < related->array.n; i++) {
        Str list = violations_enter_item(v, i);
        check_patterns(&related->array.items[i], v);
        v->prefix = list;
    }
    v->prefix = before;
}

/* A list of strings without what comes twice. */
static Str each_once(struct arena *a, const char *key, Str text, struct violations *v)
{
    struct err err;
    const struct json *list = text.p ? json_parse(a, text, &err) : NULL;
    if (!json_is(list, JSON_ARRAY))
        return text;
    if (list->array.n > NAMES_MAX) {
        violation_add(v, "too_long", str_of(key), NULL, "must have at most 1000 items");
        return text;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_AUTOMATION);
    struct jw w = jw_on(&b);
    jw_array(&w);
    for (size_t i = 0; i < list->array.n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = str_eq(json_str(&list->array.items[k]), json_str(&list->array.items[i]));
        if (!seen)
            jw_value(&w, &list->array.items[i]);
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

static void settle_event(struct arena *a, struct jw *w, const struct json *sent, struct violations *v)
{
    struct event_trigger t;
    record_init(&event_trigger_shape, &t);
    record_parse(a, &event_trigger_shape, 0, sent, &t, v);
    const struct json *match = json_getz(sent, "match"), *related = json_getz(sent, "match_related");
    if (json_is(match, JSON_OBJECT)) {
        Str before = violations_enter(v, STR("match"));
        check_patterns(match, v);
        v->prefix = before;
    }
    if (related)
        check_related(related, v);
    if (t.posture.p && str_eqz(t.posture, "Proactive")) {
        if (t.within == 0)
            t.within = PROACTIVE_MIN;
        else if (t.within > 0 && t.within < PROACTIVE_MIN)
            violation_add(v, "value_error", STR("within"), json_getz(sent, "within"), "must be 10 seconds or more for a Proactive trigger");
    }
    t.id = uuid_v7();
    t.after = each_once(a, "after", t.after, v);
    t.expect = each_once(a, "expect", t.expect, v);
    t.for_each = each_once(a, "for_each", t.for_each, v);
    shape_print(w, &event_trigger_shape, &t);
}

static Str settle_triggers(struct arena *a, const struct json *list, struct violations *v)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_AUTOMATION);
    struct jw w = jw_on(&b);
    Str before = violations_enter(v, STR("triggers"));
    jw_array(&w);
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
        Str item = violations_enter_item(v, i);
        settle_one(a, &w, &list->array.items[i], v);
        v->prefix = item;
    }
    jw_end(&w);
    v->prefix = before;
    return str_dup(a, buf_view(&b));
}

/* "any", "all", or a number of `n` triggers (which may come as a text): as JSON, or STR_NONE where it is none of these. */
static Str requirement(struct arena *a, const struct json *v, size_t n)
{
    int64_t count;
    if (str_eqz(json_str(v), "any") || str_eqz(json_str(v), "all"))
        return v->raw;
    if (!json_int(v, &count) && !(json_is(v, JSON_STRING) && str_int(str_trim(v->string), &count)))
        return STR_NONE;
    return count >= 1 && (uint64_t)count <= n ? str_fmt(a, "%lld", (long long)count) : STR_NONE;
}

static void settle_compound(struct arena *a, struct jw *w, const struct json *sent, struct violations *v)
{
    struct compound_trigger t;
    record_init(&compound_trigger_shape, &t);
    record_parse(a, &compound_trigger_shape, 0, sent, &t, v);
    const struct json *list = json_getz(sent, "triggers"), *require = json_getz(sent, "require");
    t.id = uuid_v7();
    t.triggers = settle_triggers(a, list, v);
    t.require = requirement(a, require, json_is(list, JSON_ARRAY) ? list->array.n : 0);
    if (require && !t.require.p)
        violation_add(v, "value_error", STR("require"), require, "must be any, all, or from 1 to the number of triggers");
    shape_print(w, &compound_trigger_shape, &t);
}

static void settle_sequence(struct arena *a, struct jw *w, const struct json *sent, struct violations *v)
{
    struct sequence_trigger t;
    record_init(&sequence_trigger_shape, &t);
    record_parse(a, &sequence_trigger_shape, 0, sent, &t, v);
    t.id = uuid_v7();
    t.triggers = settle_triggers(a, json_getz(sent, "triggers"), v);
    shape_print(w, &sequence_trigger_shape, &t);
}

typedef void trigger_reader(struct arena *a, struct jw *w, const struct json *sent, struct violations *v);
static const struct {
    const char *type;
    trigger_reader *read;
} trigger_types[] = {{"event", settle_event}, {"compound", settle_compound}, {"sequence", settle_sequence}};

/* A type that is not said shows in the keys. */
static trigger_reader *reader_of(struct arena *a, const struct json *sent)
{
    const struct json *type = json_getz(sent, "type"), *list = json_getz(sent, "triggers"), *require = json_getz(sent, "require");
    for (size_t i = 0; type && i < COUNT_OF(trigger_types); i++)
        if (str_eqz(json_str(type), trigger_types[i].type))
            return trigger_types[i].read;
    if (type)
        return NULL;
    if (!list)
        return settle_event;
    return require && requirement(a, require, json_is(list, JSON_ARRAY) ? list->array.n : 0).p ? settle_compound : settle_sequence;
}

static void settle_one(struct arena *a, struct jw *w, const struct json *sent, struct violations *v)
{
    if (!json_is(sent, JSON_OBJECT)) {
        violation_add(v, "model_attributes_type", STR_NONE, sent, "must be an object");
        return;
    }
    trigger_reader *read = reader_of(a, sent);
    if (read)
        read(a, w, sent, v);
    else
        violation_add(v, "literal_error", STR("type"), json_getz(sent, "type"), "must be event, compound or sequence");
}

static void check_size(const struct buf *b, struct violations *v)
{
    if (b->overflow)
        violation_add(v, "value_error", STR_NONE, NULL, "is larger than 512 KB");
}

Str trigger_settle(struct arena *a, const struct json *sent, struct violations *v)
{
    if (sent && sent->raw.n > LIMIT_AUTOMATION) {
        violation_add(v, "value_error", STR_NONE, NULL, "is larger than 512 KB");
        return STR_NONE;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_AUTOMATION);
    struct jw w = jw_on(&b);
    settle_one(a, &w, sent, v);
    check_size(&b, v);
    return str_dup(a, buf_view(&b));
}

/* ---- actions ---- */

#define HAS(name) ((FieldSet)1 << action__##name)

struct action_type {
    const char *name;
    FieldSet keys, required;
    int selects; /* with source `selected` this key is required, with `inferred` it must be null; -1: none */
};

/* In the order in which one without a type is tried. */
static const struct action_type action_types[] = {
    {"do-nothing", 0, 0, -1},
    {"run-deployment", HAS(source) | HAS(deployment_id) | HAS(parameters) | HAS(job_variables) | HAS(schedule_after), 0, action__deployment_id},
    {"pause-deployment", HAS(source) | HAS(deployment_id), 0, action__deployment_id},
    {"resume-deployment", HAS(source) | HAS(deployment_id), 0, action__deployment_id},
    {"cancel-flow-run", 0, 0, -1},
    {"delete-flow-run", 0, 0, -1},
    {"change-flow-run-state", HAS(name) | HAS(state) | HAS(message) | HAS(force), HAS(state), -1},
    {"pause-work-queue", HAS(source) | HAS(work_queue_id), 0, action__work_queue_id},
    {"resume-work-queue", HAS(source) | HAS(work_queue_id), 0, action__work_queue_id},
    {"send-notification", HAS(block_document_id) | HAS(subject) | HAS(body), HAS(block_document_id) | HAS(body), -1},
    {"call-webhook", HAS(block_document_id) | HAS(payload), HAS(block_document_id), -1},
    {"pause-automation", HAS(source) | HAS(automation_id), 0, action__automation_id},
    {"resume-automation", HAS(source) | HAS(automation_id), 0, action__automation_id},
    {"suspend-flow-run", 0, 0, -1},
    {"resume-flow-run", 0, 0, -1},
    {"pause-work-pool", HAS(source) | HAS(work_pool_id), 0, action__work_pool_id},
    {"resume-work-pool", HAS(source) | HAS(work_pool_id), 0, action__work_pool_id},
};

static void check_template(struct arena *a, Str key, const struct json *sent, Str text, struct violations *v)
{
    struct err why;
    int line = 1;
    if (text.p && jinja_check(text, &line, &why) < 0)
        violation_add(v, "value_error", key, sent, str_fmt(a, "is no template: line %d: %s", line, why.text).p);
}

/* Parameters: texts that look like templates, and what stands for other values (schema/hydrate.h). */
static void check_parameter(struct arena *a, const struct json *value, bool named, struct violations *v);

/* What {"__prefect_kind": "none", "value": …} stands for. */
static const struct json *plain(const struct json *value)
{
    const struct json *inner = str_eqz(json_get_str(value, STR("__prefect_kind")), "none") ? json_getz(value, "value") : NULL;
    return inner ? inner : value;
}

static void check_placeholder(struct arena *a, const struct json *value, Str kind, struct violations *v)
{
    const struct json *inner = plain(json_getz(value, "value")), *template = plain(json_getz(value, "template"));
    if (str_eqz(kind, "none") && !inner)
        violation_add(v, "value_error", STR("value"), value, "is required");
    if (str_eqz(kind, "jinja") && !template)
        violation_add(v, "value_error", STR("template"), value, "is required");
    if (str_eqz(kind, "jinja") && json_is(template, JSON_STRING))
        check_template(a, STR("template"), template, template->string, v);
    if (str_eqz(kind, "json") && json_is(inner, JSON_STRING)) {
        struct err why;
        if (!json_parse(a, inner->string, &why))
            violation_add(v, "value_error", STR("value"), inner, str_fmt(a, "is no JSON: %s", why.text).p);
    }
    if (str_eqz(kind, "json") && json_is(inner, JSON_OBJECT))
        check_parameter(a, inner, true, v);
}

static void check_parameter(struct arena *a, const struct json *value, bool named, struct violations *v)
{
    Str kind = json_get_str(value, STR("__prefect_kind"));
    if (named && value->kind == JSON_STRING && (str_find(value->string, STR("{{")) >= 0 || str_find(value->string, STR("{%")) >= 0))
        check_template(a, STR_NONE, value, value->string, v);
    if (value->kind == JSON_OBJECT && kind.p) {
        check_placeholder(a, value, kind, v);
        return;
    }
    Str before = v->prefix;
    for (size_t i = 0; value->kind == JSON_OBJECT && i < value->object.n; i++) {
        violations_enter(v, value->object.members[i].key);
        check_parameter(a, &value->object.members[i].value, true, v);
        v->prefix = before;
    }
    for (size_t i = 0; value->kind == JSON_ARRAY && i < value->array.n; i++) {
        violations_enter_item(v, i);
        check_parameter(a, &value->array.items[i], false, v);
        v->prefix = before;
    }
}

/* A webhook's payload is a text: other values become theirs. */
static void settle_payload(struct arena *a, const struct json *sent, struct action *ret, struct violations *v)
{
    if (!sent)
        return;
    if (sent->kind == JSON_NULL) {
        violation_add(v, "value_error", STR("payload"), sent, "must not be null");
        return;
    }
    const struct json *text = sent;
    if (sent->kind != JSON_STRING) {
        AUTO(buf_free) struct buf b = BUF(LIMIT_AUTOMATION);
        struct jw w = jw_on(&b);
        w.indent = 2;
        jw_value(&w, sent);
        check_size(&b, v);
        text = json_new_str(a, str_dup(a, buf_view(&b)));
    }
    check_template(a, STR("payload"), sent, text->string, v);
    ret->payload = text->raw;
}

static void check_selection(const struct action_type *type, const struct json *sent, const struct action *action, struct violations *v)
{
    const struct field *f = &action_shape.fields[type->selects];
    bool given = !json_is_null(json_get(sent, str_of(f->name)));
    bool inferred = action->source.p && str_eqz(action->source, "inferred");
    if (given == inferred)
        violation_add(v, given ? "value_error" : "missing", str_of(f->name), sent, given ? "must not be given where the source is inferred" : "is required where the source is selected");
}

/* Reads one as this type. */
static void read_action(struct arena *a, const struct action_type *type, const struct json *sent, struct action *ret, struct violations *v)
{
    record_init(&action_shape, ret);
    for (size_t i = 0; i < action_shape.n; i++) {
        const struct field *f = &action_shape.fields[i];
        const struct json *value = json_get(sent, str_of(f->name));
        struct err why;
        if (!(type->keys >> i & 1))
            continue;
        if (!value && (type->required >> i & 1))
            violation_add(v, "missing", str_of(f->name), sent, "is required");
        if (!value && f->dflt)
            value = json_parse(a, str_of(f->dflt), &why);
        if (value)
            field_parse(a, f, value, ret, v);
    }
    if (type->selects >= 0)
        check_selection(type, sent, ret, v);
    check_template(a, STR("subject"), json_getz(sent, "subject"), ret->subject, v);
    check_template(a, STR("body"), json_getz(sent, "body"), ret->body, v);
    if (type->keys & HAS(payload))
        settle_payload(a, json_getz(sent, "payload"), ret, v);
    const struct json *parameters = json_getz(sent, "parameters");
    if ((type->keys & HAS(parameters)) && json_is(parameters, JSON_OBJECT)) {
        Str before = violations_enter(v, STR("parameters"));
        check_parameter(a, parameters, true, v);
        v->prefix = before;
    }
}

static const struct action_type *type_named(Str name)
{
    for (size_t i = 0; i < COUNT_OF(action_types); i++)
        if (str_eqz(name, action_types[i].name))
            return &action_types[i];
    return NULL;
}

/* Without a type: of those that it could be, the one that has most of its keys. */
static const struct action_type *type_guessed(struct arena *a, const struct json *sent)
{
    const struct action_type *best = NULL;
    int most = -1;
    for (size_t i = 0; i < COUNT_OF(action_types); i++) {
        struct violations none = {.a = a, .prefix = STR("[")};
        struct action action;
        int n = 0;
        read_action(a, &action_types[i], sent, &action, &none);
        for (size_t k = 0; k < action_shape.n; k++)
            n += (action_types[i].keys >> k & 1) && json_get(sent, str_of(action_shape.fields[k].name));
        if (none.list.n || n <= most)
            continue;
        best = &action_types[i];
        most = n;
    }
    return best;
}

static void settle_action(struct arena *a, struct jw *w, const struct json *sent, struct violations *v)
{
    if (!json_is(sent, JSON_OBJECT)) {
        violation_add(v, "model_attributes_type", STR_NONE, sent, "must be an object");
        return;
    }
    const struct json *named = json_getz(sent, "type");
    const struct action_type *type = named ? type_named(json_str(named)) : type_guessed(a, sent);
    if (!type) {
        violation_add(v, named ? "literal_error" : "missing", STR("type"), named ? named : sent, named ? "is no type of action" : "is required");
        return;
    }
    struct action action;
    read_action(a, type, sent, &action, v);
    jw_object(w);
    jw_kz(w, "type", type->name);
    for (size_t i = 0; i < action_shape.n; i++) {
        if (!(type->keys >> i & 1))
            continue;
        jw_key(w, str_of(action_shape.fields[i].name));
        record_print_field(w, &action_shape.fields[i], &action);
    }
    jw_end(w);
}

Str actions_settle(struct arena *a, const struct json *sent, struct violations *v)
{
    if (sent && sent->raw.n > LIMIT_AUTOMATION) {
        violation_add(v, "value_error", STR_NONE, NULL, "is larger than 512 KB");
        return STR_NONE;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_AUTOMATION);
    struct jw w = jw_on(&b);
    jw_array(&w);
    for (size_t i = 0; json_is(sent, JSON_ARRAY) && i < sent->array.n; i++) {
        Str before = violations_enter_item(v, i);
        settle_action(a, &w, &sent->array.items[i], v);
        v->prefix = before;
    }
    jw_end(&w);
    check_size(&b, v);
    return str_dup(a, buf_view(&b));
}

/* ---- what follows from them ---- */

static bool lists(const struct json *list, const char *text)
{
    bool any = str_eqz(json_str(list), text);
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++)
        any |= str_eqz(json_str(&list->array.items[i]), text);
    return any;
}

/* Patterns that leave no flow run out. */
static bool fits_every_run(const struct json *patterns)
{
    if (!json_is(patterns, JSON_OBJECT))
        return false;
    return !patterns->object.n || (patterns->object.n == 1 && lists(json_getz(patterns, "prefect.resource.id"), EVERY_RUN));
}

const char *automation_loops(const struct json *trigger, const struct json *actions)
{
    /* what every run of a deployment goes through */
    static const char *const passed[] = {"prefect.flow-run.Scheduled", "prefect.flow-run.Pending", "prefect.flow-run.Running", EVERY_RUN};
    const struct json *related = json_getz(trigger, "match_related");
    bool expected = false, unfiltered = fits_every_run(related);
    if (!str_eqz(json_get_str(trigger, STR("type")), "event") || !str_eqz(json_get_str(trigger, STR("posture")), "Reactive"))
        return NULL;
    for (size_t i = 0; i < COUNT_OF(passed); i++)
        expected |= lists(json_getz(trigger, "expect"), passed[i]);
    for (size_t i = 0; json_is(related, JSON_ARRAY) && i < related->array.n; i++)
        unfiltered |= fits_every_run(&related->array.items[i]);
    unfiltered &= fits_every_run(json_getz(trigger, "match"));
    for (size_t i = 0; expected && json_is(actions, JSON_ARRAY) && i < actions->array.n; i++) {
        if (!str_eqz(json_get_str(&actions->array.items[i], STR("type")), "run-deployment"))
            continue;
        if (str_eqz(json_get_str(&actions->array.items[i], STR("source")), "inferred"))
            return "the deployment of a run that starts would be run again, without end: select a deployment, and filter by match or match_related";
        if (unfiltered)
            return "the deployment may be run for each of its own runs, without end: filter by match or match_related";
    }
    return NULL;
}

void actions_deployments(struct arena *a, const struct json *actions, UuidList *ret)
{
    for (size_t i = 0; json_is(actions, JSON_ARRAY) && i < actions->array.n; i++) {
        const struct json *action = &actions->array.items[i];
        Uuid id;
        bool seen = false;
        if (!str_eqz(json_get_str(action, STR("type")), "run-deployment") || !uuid_parse(json_get_str(action, STR("deployment_id")), &id))
            continue;
        for (size_t k = 0; k < ret->n; k++)
            seen |= uuid_eq(ret->v[k], id);
        if (!seen)
            vec_push(a, ret, id);
    }
}
