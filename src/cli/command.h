/* cli/command.h: the command line as a table: groups, commands, options; parsing and help are walks over it.
 *
 * A command row names its positionals and options; the parser checks and converts, a command's `run` finds the
 * values by name. Options may stand before or after positionals; a positional may also be given as `--name`, and in any
 * long name '_' is as good as '-'. */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct cli;

enum value_type { VALUE_FLAG, VALUE_TEXT, VALUE_INT, VALUE_FLOAT, VALUE_UUID, VALUE_PATH, VALUE_JSON, VALUE_COUNT };

enum {
    OPTION_LIST = 1,    /* may be given again and again; `--empty-<name>` says none */
    OPTION_NO_NEG = 2,  /* a flag without `--no-<name>` */
    OPTION_ON = 32,     /* a flag that is on where nothing is said: help shows how it is turned off */
    OPTION_DASH = 4,    /* its value may begin with '-' */
    OPTION_HIDDEN = 8,
    OPTION_REQUIRED = 16,
};

struct option {
    const char *name;  /* long, without dashes */
    const char *brief; /* short, without its dash; NULL: none */
    enum value_type type;
    unsigned is;
    const char *help;
    const char *alias;   /* another long name */
    const char *setting; /* path of the setting that stands in where it is not given (settings.def) */
    const char *negative; /* a flag's other name where it is not no-<name> */
};

struct positional {
    const char *name; /* lower case with dashes; shown in capitals */
    const char *help;
    enum value_type type; /* VALUE_FLAG counts as VALUE_TEXT */
    bool optional, many;
};

struct command {
    const char *name, *alias; /* alias NULL: none */
    const char *summary;      /* a line, no full stop */
    const char *details;      /* further paragraphs for the command's own help, or NULL */
    const struct positional *args; /* ends with a row without name; NULL: none */
    const struct option *options;  /* likewise */
    const struct command *const *groups; /* subcommands that live in files of their own, ends with NULL */
    const struct command *commands;      /* subcommands; ends with a row without name. Beside a `run` of its own, a first word that
                                          * names one is that one */
    /* 0, an exit status above 0 where all is said already, or -1 with *err. */
    int (*run)(struct cli *x, struct err *err);
    bool hidden;
};
#define ARGS(...) ((const struct positional[]){__VA_ARGS__, {0}})
#define OPTIONS(...) ((const struct option[]){__VA_ARGS__, {0}})
#define COMMANDS(...) ((const struct command[]){__VA_ARGS__, {0}})

#define OPTION_OUTPUT {"output", "o", VALUE_TEXT, 0, "`json` prints the values, for programs"}
#define OPTION_YES {"yes", "y", VALUE_FLAG, 0, "Do it without asking", .alias = "accept-yes"}

struct strs {
    Str *v;
    size_t n, cap;
};

/* What was given. */
struct given {
    const struct option *option;
    struct strs values; /* of a flag: none */
    bool on;            /* of a flag */
};
struct args {
    const char *program;
    const struct command *path[8]; /* from the root to the command */
    size_t depth;
    struct {
        struct given *v;
        size_t n, cap;
    } options;
    struct strs *positionals; /* one of each row of command->args, in its order */
    bool help;                /* asked for; nothing was checked */
    /* of every command */
    Str profile;      /* --profile */
    int8_t prompt;    /* --prompt, --no-prompt; BOOL_NONE */
};

/* Walks argv. -1 with ERR_INVALID and one sentence (exit status 2) where it is no command of this table. */
NODISCARD int args_parse(struct arena *a, const struct command *root, int argc, char *const *argv, struct args *ret,
                         struct err *err);
const struct command *args_command(const struct args *x);
/* A group's subcommand by name or alias; NULL. */
const struct command *command_find(const struct command *group, Str word);

/* By the option's or positional's name, which must be in the command's table. */
bool args_given(const struct args *x, const char *name);
Str args_text(const struct args *x, const char *name);      /* the last one; STR_NONE: not given */
int64_t args_int(const struct args *x, const char *name);   /* INT_NONE: not given */
double args_float(const struct args *x, const char *name);  /* NAN: not given */
bool args_flag(const struct args *x, const char *name, bool otherwise);
/* All values; n is 0 where none was given. */
struct strs args_list(const struct args *x, const char *name);

/* The parts of help, for its other forms. */
struct help_row {
    Str left, right;
};
struct help_rows {
    struct help_row *v;
    size_t n, cap;
};
Str help_capitals(struct arena *a, const char *name);
Str help_usage(struct arena *a, const char *path, const struct command *c);
Str help_option_left(struct arena *a, const struct option *o);
Str help_option_right(struct arena *a, const struct option *o);
struct help_rows help_commands(struct arena *a, const struct command *c); /* those not hidden, by name */

/* Prints the help of what args stand at. */
void help_print(const struct args *x, struct buf *out, size_t width, bool color);
/* The whole table as Markdown: the reference page. */
void help_reference(const struct command *root, const char *program, struct buf *out);
/* The whole table as JSON, hidden rows too: for programs. */
void help_tree(const struct command *root, struct buf *out);
