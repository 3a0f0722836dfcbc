/* cli/settings.h: settings, from the table settings.def and the places that may set them.
 *
 * First wins: environment, .env, millpond.toml or prefect.toml, pyproject.toml ([tool.millpond] or [tool.prefect]), the
 * active profile, the default. A profile that --profile names comes before the environment, where it is not the active one. In each
 * place MILLPOND_ names win over PREFECT_ ones, and a setting's own name over its older names.
 *
 * Profiles are those of our file; below them, whole, those of the field's own file; below them those that are always there.
 * Which is active says our file, else theirs. As `prefect` there is their file alone. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "cli/profiles.h"

struct setting {
    const char *path, *also, *type, *value, *help; /* as in settings.def; value: the default or NULL */
};
extern const struct setting setting_table[];
extern const size_t setting_count;

/* By path, or by an environment name with or without its prefix, in any case, old names too; NULL: none such. */
const struct setting *setting_find(Str name);
/* "MILLPOND_API_URL" for api.url. */
Str setting_env(struct arena *a, const struct setting *s, const char *prefix);
bool setting_is_secret(const struct setting *s);
/* Whether the text is a value of the setting's type; ERR_INVALID with what it should be. */
NODISCARD int setting_check(const struct setting *s, Str value, struct err *err);
/* true/false, 1/0, yes/no, on/off, t/f, y/n; false where it is none of these. */
bool setting_bool(Str text, bool *ret);
/* Seconds as a number, HH:MM:SS or ISO 8601. */
bool setting_duration(Str text, Dur *ret);

enum setting_source { SOURCE_DEFAULT, SOURCE_PROFILE, SOURCE_PYPROJECT, SOURCE_TOML, SOURCE_DOTENV, SOURCE_ENV, SOURCE_COUNT };
extern const char *const setting_source_names[SOURCE_COUNT];

struct settings;

/* `program` is "millpond" or "prefect": it decides where home is and how names are shown. `profile`: of --profile; STR_NONE:
 * none. Warnings (an unreadable profiles file, an unknown active profile) are put into *warnings, a line each. */
NODISCARD struct settings *settings_load(struct arena *a, const char *program, Str profile, struct buf *warnings,
                                         struct err *err);
Str settings_text(const struct settings *s, const char *path); /* with the default; STR_NONE: unset */
bool settings_bool(const struct settings *s, const char *path);
int64_t settings_int(const struct settings *s, const char *path);  /* INT_NONE: unset */
double settings_number(const struct settings *s, const char *path); /* NAN: unset */
enum setting_source settings_source(const struct settings *s, const struct setting *row);
/* Where a setting was said, for messages: "MILLPOND_API_URL", "PREFECT_API_URL of profile 'p'", "the default". */
Str settings_origin(const struct settings *s, const char *path);
Str settings_value(const struct settings *s, const struct setting *row);

Str settings_home(const struct settings *s);       /* of profiles: ~/.millpond, or ~/.prefect as `prefect` */
Str settings_state_home(const struct settings *s); /* of the server and the workers: ~/.millpond by either name */
Str settings_profile(const struct settings *s); /* the active one's name */
/* The file's profiles, to be changed and saved; and one by name with those that are always there below the file's. */
struct profiles *settings_profiles(struct settings *s);
const struct profile *settings_profile_find(struct settings *s, Str name);
/* Those of the field's own file (~/.prefect/profiles.toml), read where ours says nothing and never written. */
const struct profiles *settings_other_profiles(struct settings *s);
/* The profiles that are always there. */
const struct profiles *settings_builtin_profiles(struct settings *s);
/* "MILLPOND" or "PREFECT": how names are shown and written. */
const char *settings_prefix(const struct settings *s);
/* What api.url says, else the address a local server has by its own settings; without a '/' at the end. */
Str settings_api_url(const struct settings *s);
/* Address of the web page: ui_url, else from the API's. */
Str settings_ui_url(const struct settings *s);
