/* events/log_filter.h: the API's LogFilter asked of logs in memory, for those who follow them live. (Stored ones are
 * filtered through log_listing.) */
#pragma once
#include "model/all.h"
#include "model/text_query.h"

struct log_filter;

/* `object` may be NULL or null: every log. Never NULL; what is wrong goes to `v`. Values are copied into `a`. */
struct log_filter *log_filter_parse(struct arena *a, const struct json *object, struct violations *v);
bool log_filter_match(const struct log_filter *f, const struct log *l);
