/* schema/format.h: the formats that can be held against a string. */
#pragma once
#include "base/str.h"

/* False only where `format` is one of ours and `s` is not of it; "regex" is the caller's business.
 * Known: date, time, date-time, duration, email, idn-email, hostname, ipv4, ipv6, uuid, json-pointer,
 * relative-json-pointer, uri, uri-reference. */
bool format_fits(Str format, Str s);
