/* base/banned.h: calls that have a safer neighbour; using one fails to compile. Included by the build
 * for every file of ours (-include). */
#pragma once
#if !defined(__ASSEMBLER__) && !defined(MILLPOND_BENCH)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncat sprintf vsprintf strtok gets atoi atol atof gmtime localtime ctime asctime
#endif
