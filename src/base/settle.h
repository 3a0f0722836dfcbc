/* base/settle.h: gives back what only the start of a long-lived process needed.
 *
 * Pages of program and libraries that the start ran through (linking, initialisers, migrations) stay mapped until the machine is short
 * of memory; let go of, those that are used come back at once from the page cache. Free memory inside the heap goes back too. */
#pragma once

void memory_settle(void);
