/* http/pages.h: libmicrohttpd's own error pages in the API's shape (pages.c). */
#pragma once

/* Does nothing but have it linked in. */
void pages_link(void);
