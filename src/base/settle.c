#include "base/settle.h"

#include "base/base.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

/* Segments that were never writable: nothing in them is ours alone. */
static int let_go(struct dl_phdr_info *info, size_t size, void *user)
{
    UNUSED(size);
    uintptr_t page = *(const uintptr_t *)user;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W) || !p->p_memsz)
            continue;
        uintptr_t begin = (info->dlpi_addr + p->p_vaddr) & ~(page - 1), end = (info->dlpi_addr + p->p_vaddr + p->p_memsz + page - 1) & ~(page - 1);
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED); /* the vdso refuses; so be it */
    }
    return 0;
}

void memory_settle(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    malloc_trim(0);
    (void)dl_iterate_phdr(let_go, &page);
}
