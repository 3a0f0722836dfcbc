/* The main of a fuzz target in an ordinary build: runs it over each file of the folders and files given. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static size_t done;

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    size_t room = (size_t)1 << 22;
    uint8_t *text = malloc(room);
    size_t n = text ? fread(text, 1, room, f) : 0;
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1); /* so that a read past the end is seen */
    if (!text || !exact)
        abort();
    memcpy(exact, text, n);
    free(text);
    printf("%s: %zu bytes\n", path, n);
    fflush(stdout); /* before a crash */
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    done++;
    return 0;
}

int main(int argc, char **argv)
{
    int bad = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            bad |= replay(argv[i]);
            continue;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            char path[4096];
            if (e->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            bad |= replay(path);
        }
        closedir(dir);
    }
    if (!done)
        fprintf(stderr, "nothing was replayed\n");
    return bad || !done;
}
