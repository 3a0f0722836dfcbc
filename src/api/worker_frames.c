#include "api/worker_frames.h"

#include "base/limits.h"
#include "model/record.h"

#define HEARTBEAT_MOST 86400

bool is_one_of(Str s, const char *words)
{
    Str rest = str_of(words), word;
    while (str_cut(&rest, ' ', &word))
        if (str_eq(word, s))
            return true;
    return false;
}

/* An object with all of `needed` and nothing else but `also`. */
static bool has_members(const struct json *v, const char *needed, const char *also)
{
    if (!json_is(v, JSON_OBJECT))
        return false;
    Str rest = str_of(needed), word;
    while (str_cut(&rest, ' ', &word))
        if (word.n && !json_get(v, word))
            return false;
    for (size_t i = 0; i < v->object.n; i++)
        if (!is_one_of(v->object.members[i].key, needed) && !is_one_of(v->object.members[i].key, also))
            return false;
    return true;
}

static bool is_names(const struct json *v, size_t least)
{
    if (!json_is(v, JSON_ARRAY) || v->array.n < least || v->array.n > LIMIT_PAGE)
        return false;
    for (size_t i = 0; i < v->array.n; i++)
        if (!json_str(&v->array.items[i]).n)
            return false;
    return true;
}

bool lists(const struct json *v, const char *name)
{
    for (size_t i = 0; json_is(v, JSON_ARRAY) && i < v->array.n; i++)
        if (str_eqz(json_str(&v->array.items[i]), name))
            return true;
    return false;
}

static bool is_count(const struct json *v, int64_t least, int64_t most)
{
    int64_t n;
    return json_int(v, &n) && n >= least && n <= most;
}

static bool is_uuid(const struct json *v)
{
    Uuid id;
    return uuid_parse(json_str(v), &id);
}

enum reason hello_check(const struct json *p)
{
    if (!has_members(p, "consumer_id worker_name worker_type heartbeat_interval_seconds supported_channel_versions requested_capabilities",
                     "work_queue_names handled_cleanup_kinds max_cleanup_concurrency create_pool_if_not_found default_base_job_template worker_metadata"))
        return PROTOCOL_ERROR;
    const struct json *asked = json_getz(p, "requested_capabilities"), *queues = json_getz(p, "work_queue_names"),
                      *kinds = json_getz(p, "handled_cleanup_kinds"), *most = json_getz(p, "max_cleanup_concurrency"),
                      *create = json_getz(p, "create_pool_if_not_found"), *template = json_getz(p, "default_base_job_template"),
                      *metadata = json_getz(p, "worker_metadata");
    bool fine = is_uuid(json_getz(p, "consumer_id")) && json_get_str(p, STR("worker_name")).n && json_get_str(p, STR("worker_type")).n &&
                is_count(json_getz(p, "heartbeat_interval_seconds"), 1, HEARTBEAT_MOST) && is_names(json_getz(p, "supported_channel_versions"), 1) &&
                is_names(asked, 1) && (!queues || is_names(queues, 0)) && (!kinds || is_names(kinds, 0)) && (!most || is_count(most, 0, INT32_MAX)) &&
                (!create || create->kind == JSON_BOOL) && (!template || template->kind == JSON_OBJECT) &&
                (json_is_null(metadata) || metadata->kind == JSON_OBJECT);
    fine = fine && lists(asked, "worker_heartbeat.v1") && lists(asked, "work_pool_snapshot.v1");
    bool takes = (kinds && kinds->array.n) || (most && !is_count(most, 0, 0));
    if (!fine || (takes && !lists(asked, "cleanup_delivery.v1")))
        return PROTOCOL_ERROR;
    return lists(json_getz(p, "supported_channel_versions"), CHANNEL_VERSION) ? GO_ON : UNSUPPORTED_VERSION;
}

bool heartbeat_check(const struct json *p, Uuid consumer, Str worker)
{
    Uuid said;
    return has_members(p, "consumer_id worker_name heartbeat_interval_seconds", "") && uuid_parse(json_get_str(p, STR("consumer_id")), &said) &&
           uuid_eq(said, consumer) && str_eq(json_get_str(p, STR("worker_name")), worker) &&
           is_count(json_getz(p, "heartbeat_interval_seconds"), 1, HEARTBEAT_MOST);
}

bool frame_check(const struct json *v)
{
    Time sent;
    return has_members(v, "type id sent_at payload", "") && is_uuid(json_getz(v, "id")) && time_read(json_getz(v, "sent_at"), &sent);
}

bool operation_check(const struct json *p, bool release)
{
    return has_members(p, release ? "message_id reservation_token reason" : "message_id reservation_token", "") && is_uuid(json_getz(p, "message_id")) &&
           json_get_str(p, STR("reservation_token")).n && (!release || json_get_str(p, STR("reason")).n);
}
