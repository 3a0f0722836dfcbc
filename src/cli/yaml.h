/* cli/yaml.h: a YAML document as JSON: what people keep automations, blocks and deployments in.
 *
 * Plain scalars are read as the field's own tools read them (YAML 1.1: yes and no are booleans, ~ is null); what has no JSON
 * form (dates, infinities) stays text. Anchors, aliases and merge keys (<<) work. The size of what an alias may blow up to is
 * capped as a request body is. libyaml is loaded at the first call. */
#pragma once
#include "json/json.h"

/* NULL with ERR_INVALID and the line where it is no YAML, holds more than one document, or is over a cap. */
NODISCARD const struct json *yaml_parse(struct arena *a, Str text, struct err *err);
