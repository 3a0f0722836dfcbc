/* api/worker_frames.h: whether what a worker sends over its channel is of the protocol's shape. Unknown members are refused, as
 * the protocol has it. */
#pragma once
#include "json/json.h"

#define CHANNEL_VERSION "work_pool_worker_channel.v1"

/* Why a channel ends. */
enum reason { GO_ON, UNSUPPORTED_VERSION, AUTHORIZATION_FAILED, PROTOCOL_ERROR, HEARTBEAT_FAILED, TRANSIENT };

/* {"type", "id", "sent_at", "payload"} */
bool frame_check(const struct json *frame);
/* The rest take the payload. GO_ON where a hello can be answered. */
enum reason hello_check(const struct json *p);
bool heartbeat_check(const struct json *p, Uuid consumer, Str worker);
bool operation_check(const struct json *p, bool release);
/* Is it one of these words (a space between)? */
bool is_one_of(Str s, const char *words);
/* Is it a list with this text? */
bool lists(const struct json *v, const char *text);
