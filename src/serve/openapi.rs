//! `/openapi.json`: OpenAPI 3.1, made of the route table and the schema table.

use serde_json::{Map, Value, json};

use super::cadvisor::takes_a_body;
use super::exposition::Form;
use super::reply::JSON;
use super::routes::{Answer, ROUTES, Route};
use super::schema::{Field, SCHEMAS, Schema, Type};
use super::version::VERSION;

/// The whole document.
pub(super) fn document() -> Value {
    let paths: Map<String, Value> = ROUTES.iter().map(|route| (route.path.to_owned(), item(route))).collect();
    let schemas: Map<String, Value> =
        SCHEMAS.iter().map(|schema| (schema.name.to_owned(), object(schema))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "podvitals",
            "version": VERSION,
            "summary": "The vital signs of every pod on a Kubernetes node, one second old and exact to the byte.",
            "description": "GET and HEAD only, but for queries of cAdvisor's v1 clients. Units are in the names. \
                What is unknown is absent, never null; `unavailable` maps the dotted path of what is absent to a word that says why.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// Where a query may be sent as a body both ways are the same.
fn item(route: &Route) -> Value {
    let mut item = json!({ "get": operation(route) });
    if takes_a_body(route.path) {
        item["post"] = operation(route);
        item["post"]["requestBody"] = json!({ "content": { JSON: { "schema": { "type": "object" } } } });
    }
    item
}

fn operation(route: &Route) -> Value {
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        );
    let in_query = route.parameters.iter().map(|name| {
        json!({ "name": name, "in": "query", "description": parameter(name), "schema": { "type": "string" } })
    });
    json!({
        "summary": route.what,
        "parameters": in_path.chain(in_query).collect::<Vec<Value>>(),
        "responses": responses(route),
    })
}

fn parameter(name: &str) -> &'static str {
    match name {
        "namespace" => "Only pods of this namespace.",
        "fields" => "Only these keys: comma-separated dotted paths. Labels are shown only when named here.",
        "sort" => "In the order of this key; with a leading - the largest first. Without the key: last.",
        "labelSelector" => "Only pods with these labels, as kubectl -l has it.",
        "window" => {
            "Over this time, such as 30s or 5m. Without it windows are of 30s, and a history is all there is."
        }
        "profile" => {
            "`full` shows everything there is, `lean` what rules and dashboards read. Without it `--profile` says."
        }
        "timestamps" => "`1` gives each sample the time at which it was read.",
        "only_cpu_and_memory" => "`true`: of the node, pods and containers no more than that.",
        "start" => "The first instant, RFC 3339.",
        "end" => "The last one.",
        "labels" => "Of a metric with labels the one with just these: k:v,k2:v2.",
        "type" => "`docker`: the container of this id, unique beginning of an id, or name, whoever runs it.",
        "recursive" => "`true`: with all below it.",
        "count" => "The newest so many samples; without it 64, and -1 is all there are.",
        "max_age" => "A duration as Go writes it. Nothing is ever older than a sweep.",
        "stream" => "`true`: what happens from now on, as it does.",
        "subcontainers" => "`true`: of all below it, too.",
        "all_events" => "`true`: of every kind. Without any kind there is nothing to tell.",
        "creation_events" | "deletion_events" | "oom_events" | "oom_kill_events" => "`true`: of this kind.",
        "max_events" => "The newest so many; without it 10.",
        "start_time" | "end_time" => "In RFC 3339.",
        "verbose" => "List the checks.",
        "exclude" => "Leave out this check.",
        _ => "",
    }
}

fn responses(route: &Route) -> Value {
    let problem = |what: &str| {
        let schema = reference("Problem");
        json!({ "description": what, "content": { "application/problem+json": { "schema": schema } } })
    };
    let mut responses = json!({
        "200": { "description": route.what, "content": { route.answer.media_type(): { "schema": match route.answer {
            Answer::Document(name) => reference(name),
            Answer::Json => json!({ "type": "object" }),
            Answer::Text | Answer::Metrics | Answer::Prometheus | Answer::Series => json!({ "type": "string" }),
        } } } },
        "405": problem("Only GET and HEAD are served."),
        "421": problem("On a loopback listener: Host is neither localhost nor an IP address."),
    });
    if route.answer == Answer::Series {
        for form in Form::ALL {
            responses["200"]["content"][form.media_type()] = json!({ "schema": { "type": "string" } });
        }
    }
    if let Answer::Document(name) = route.answer {
        responses["304"] = json!({ "description": "As If-None-Match has it." });
        responses["400"] = problem("A parameter is unknown or malformed.");
        responses["429"] = problem("This sweep was rendered for too many different queries.");
        if name != "Map" {
            responses["503"] = problem("No sweep yet, or none for too long.");
        }
        if route.path.contains('{') {
            responses["404"] = problem("No such pod on this node.");
        } else if name == "Recent" {
            responses["404"] = problem("No history is kept.");
        }
    }
    responses
}

fn object(schema: &Schema) -> Value {
    let property = |field: &'static Field| {
        let mut property = holds(field.holds);
        property["description"] = field.help.into();
        (field.name.to_owned(), property)
    };
    let required = |field: &'static Field| field.required.then_some(field.name);
    json!({
        "type": "object",
        "description": schema.help,
        "properties": schema.fields().map(property).collect::<Map<String, Value>>(),
        "required": schema.fields().filter_map(required).collect::<Vec<&str>>(),
    })
}

fn holds(of: Type) -> Value {
    match of {
        Type::Text => json!({ "type": "string" }),
        Type::Time => json!({ "type": "string", "format": "date-time" }),
        Type::Integer => json!({ "type": "integer", "minimum": 0 }),
        Type::Number => json!({ "type": "number" }),
        Type::Flag => json!({ "type": "boolean" }),
        Type::Word(words) => json!({ "type": "string", "enum": words }),
        Type::Object(name) => reference(name),
        Type::List(of) => json!({ "type": "array", "items": holds(*of) }),
        Type::Map(of) => json!({ "type": "object", "additionalProperties": holds(*of) }),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| match value.as_str() {
                Some(to) if key == "$ref" => found.push(to.to_owned()),
                _ => references(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        for to in &found {
            assert!(document.pointer(&to[1..]).is_some(), "{to}");
        }
        for schema in SCHEMAS {
            let to = format!("#/components/schemas/{}", schema.name);
            assert!(found.contains(&to), "{to} is not used");
        }
    }

    #[test]
    fn every_parameter_says_what_it_does() {
        for name in ROUTES.iter().flat_map(|route| route.parameters) {
            assert!(!parameter(name).is_empty(), "{name}");
        }
    }
}
