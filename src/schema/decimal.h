/* schema/decimal.h: JSON numbers compared exactly, however many digits they have.
 *
 * Takes the text of a JSON number (json.raw). Numbers of up to 18 digits without fraction or exponent
 * are handled as int64; all others digit by digit, so that 0.0075 is a multiple of 0.0001 and 1e308 is
 * less than 2e308. */
#pragma once
#include "base/str.h"

/* <0, 0, >0 as x is less than, equal to, greater than y. */
int decimal_cmp(Str x, Str y);
bool decimal_is_integer(Str x); /* 1.0 and 1e3 are */
/* Equal numbers have equal hashes. */
uint64_t decimal_hash(Str x);
/* 1: x is a multiple of y; 0: it is not; -1: too many digits to tell in `max_work` digit steps.
 * y must be greater than zero. */
int decimal_is_multiple(struct arena *a, Str x, Str y, size_t max_work);
