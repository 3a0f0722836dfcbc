/* schema/hydrate.h: values that stand for other values, put in their place.
 *
 * hydrate(): the API's `__prefect_kind` objects in parameters (none, json, jinja, workspace_variable).
 * template_*(): a pool's base job template: `{{ name }}` placeholders, overrides, references. */
#pragma once
#include "json/json.h"
#include "schema/jsonschema.h"

/* What the world knows; each may be NULL. They return NULL with *err where there is none such. */
struct hydrate_context {
    void *user;
    /* JSON value of a workspace variable */
    const struct json *(*variable)(void *user, Str name, struct err *err);
    /* data of a block document, by id or by type slug and name (id nil), secrets included */
    const struct json *(*block)(void *user, Uuid id, Str type_slug, Str name, struct err *err);
};

/* Parameters with every __prefect_kind object replaced. NULL with ERR_INVALID and a sentence. `jinja` templates: a subset of
 * Jinja2 over the given context tree (`{{ a.b[0] | filter }}`, if, for), sandboxed and bounded. */
NODISCARD const struct json *hydrate(struct arena *a, const struct json *value, const struct hydrate_context *ctx,
                                     struct err *err);

/* Renders one Jinja2-subset template over `vars` (an object). */
NODISCARD int jinja_render(struct arena *a, Str text, const struct json *vars, Str *ret, struct err *err);
/* Its syntax alone: -1 with the line (1-based) and message. */
NODISCARD int jinja_check(Str text, int *ret_line, struct err *err);

/* Checks a base job template: `{}` or both job_configuration and variables; every {{ name }} in the configuration is a property
 * of variables; defaults satisfy the schema. -1 with ERR_UNPROCESSABLE. */
NODISCARD int template_check(struct arena *a, const struct json *base_job_template, struct err *err);
/* The variables' defaults, overlaid by each of the n override objects in order (NULLs skipped); null deletes nothing, it is a value.
 * A key that `variables` does not declare is refused by name where the template closes it (additionalProperties false) and passed otherwise. Checked
 * against the schema (flags: SCHEMA_IGNORE_REQUIRED). */
NODISCARD const struct json *template_variables(struct arena *a, const struct json *base_job_template,
                                                const struct json *const *overrides, size_t n, int flags,
                                                struct err *err);
/* job_configuration with {{ name }} replaced by variables (a value that is only a placeholder takes the value's own type; an unset
 * one removes its key), {{ prefect.blocks.slug.name[.path] }}, {{ prefect.variables.name }}, {{ $ENV }} left, and {"$ref": {"block_document_id": …}}
 * looked up in ctx. `{{ ctx.flow_run.name }}` and the like are looked up in `extra` (object; may be NULL). */
NODISCARD const struct json *template_resolve(struct arena *a, const struct json *base_job_template,
                                              const struct json *variables, const struct json *extra,
                                              const struct hydrate_context *ctx, struct err *err);
