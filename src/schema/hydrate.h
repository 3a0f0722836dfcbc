/* schema/hydrate.h: values that stand for other values, put in their place.
 *
 * hydrate(): the API's `__prefect_kind` objects in parameters (none, json, jinja, workspace_variable).
 * template_*(): a pool's base job template: `{{ name }}` placeholders, overrides, references.
 * jinja_*(): the subset of Jinja2 that notifications and parameters are written in.
 *
 * All results are whole trees with `raw` text, at most HYDRATE_MAX bytes of it. */
#pragma once
#include "json/json.h"
#include "schema/jsonschema.h"

#define HYDRATE_MAX LIMIT_BODY

/* Filters that a caller adds to the language. 1 with *ret; 0 where it has none of that name; -1 with *err. */
struct jinja_filters {
    void *user;
    int (*filter)(void *user, struct arena *a, Str name, const struct json *value, const struct json **ret, struct err *err);
};

/* What the world knows; each may be NULL: then what asks for it is left as it stands (by template_resolve) or has no
 * value (hydrate). They return NULL with *err where there is none such; ERR_NOT_FOUND is told from other failures. */
struct hydrate_context {
    void *user;
    /* JSON value of a workspace variable */
    const struct json *(*variable)(void *user, Str name, struct err *err);
    /* data of a block document, by id or by type slug and name (id nil), secrets included */
    const struct json *(*block)(void *user, Uuid id, Str type_slug, Str name, struct err *err);
    const struct json *vars;             /* what jinja templates see (an object); NULL: nothing */
    const struct jinja_filters *filters; /* and their further filters; NULL: none */
};

/* Parameters with every __prefect_kind object replaced. NULL with ERR_INVALID and a sentence. */
NODISCARD const struct json *hydrate(struct arena *a, const struct json *value, const struct hydrate_context *ctx,
                                     struct err *err);

/* A place of which nothing, or something wrong, is known while a form is filled in. */
struct hydrate_mark {
    Str path;    /* as schema_error.path */
    Str message; /* what is wrong with it; STR_NONE: nothing, but its value will only be known later */
    const struct schema_step *steps;
    size_t step_count;
};
struct hydrate_marks {
    VEC(struct hydrate_mark) list;
};
/* As hydrate, for a form: jinja templates are checked and not rendered, and what cannot be had becomes null with a mark
 * instead of an error. NULL only where the value as a whole is no good. */
NODISCARD const struct json *hydrate_form(struct arena *a, const struct json *value, const struct hydrate_context *ctx,
                                          struct hydrate_marks *ret, struct err *err);
/* Takes out of `errors` what was said of marked places, and puts in the marks' own messages. */
void hydrate_marks_apply(struct arena *a, const struct hydrate_marks *marks, struct schema_errors *errors);

/* Renders one template over `vars` (an object; NULL for none). The language: {{ expression }}, {% if/elif/else %},
 * {% for x in … [if …] %} with `loop`, {% set %}, {% raw %}, {# comments #}, '-' for white space; expressions with
 * attributes, indexes, slices, literals, filters, tests, comparisons, and/or/not, arithmetic, ~, in, if-else. What is
 * undefined prints as nothing. -1 with ERR_INVALID and "line N: …". */
NODISCARD int jinja_render(struct arena *a, Str text, const struct json *vars, Str *ret, struct err *err);
NODISCARD int jinja_render_with(struct arena *a, Str text, const struct json *vars, const struct jinja_filters *filters,
                                Str *ret, struct err *err);
/* Its syntax and limits alone: -1 with the line (1-based) and message. Names of filters are not looked up. */
NODISCARD int jinja_check(Str text, int *ret_line, struct err *err);

/* Checks a base job template: `{}` or both job_configuration and variables, neither of them empty; every {{ name }} in the configuration
 * is a property of variables (or $ENV, ctx.…, prefect.blocks.…, prefect.variables.…); `variables` is a schema, and the defaults satisfy it.
 * -1 with ERR_UNPROCESSABLE. */
NODISCARD int template_check(struct arena *a, const struct json *base_job_template, struct err *err);
/* The variables' defaults (those that fit their schema), overlaid by each of the n override objects in order (NULLs skipped); null deletes
 * nothing, it is a value. `env` objects are merged by key (null: nothing is added); all else is replaced whole.
 * A key that `variables` does not declare is refused by name where the template closes it (additionalProperties false), or where the caller says
 * TEMPLATE_CLOSED and the template does not speak of such keys at all; it is passed otherwise.
 * Checked against the schema (flags: SCHEMA_IGNORE_REQUIRED, TEMPLATE_CLOSED): ERR_UNPROCESSABLE with schema_error_text. References to blocks
 * ({"$ref": {"block_document_id": …}}) are not looked up, and taken for fitting. */
enum { TEMPLATE_CLOSED = 1 << 8 };
NODISCARD const struct json *template_variables(struct arena *a, const struct json *base_job_template,
                                                const struct json *const *overrides, size_t n, int flags,
                                                struct err *err);
/* job_configuration with {{ name }} replaced by variables (a value that is only a placeholder takes the value's own type; an unset
 * one removes its key), {{ prefect.blocks.slug.name[.path] }}, {{ prefect.variables.name }} ("" where there is none such), {{ $ENV }} left, and
 * {"$ref": {"block_document_id": …}} looked up in ctx; also where these stand in the variables' values. Names whose first part is no variable,
 * as `{{ ctx.flow_run.name }}`, are looked up in `extra` ({"ctx": {"flow_run": …}}; NULL: those that begin with ctx. are left). */
NODISCARD const struct json *template_resolve(struct arena *a, const struct json *base_job_template,
                                              const struct json *variables, const struct json *extra,
                                              const struct hydrate_context *ctx, struct err *err);
