//! Whether what is sent and answered is as the OpenAPI document says. Every REST call of these tests passes here.
//!
//! Stricter than a JSON schema: a field that is not described is an error, and so is a keyword that this page does not know.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::Method;
use serde_json::Value;

use crate::http::Answer;

pub static DOCUMENT: LazyLock<Value> = LazyLock::new(flotilla_api::openapi);

/// Panics if an answer is not as described; a body that was taken must be as described, too.
pub fn conforms(method: &Method, path: &str, sent: &[u8], answer: &Answer) {
    let Some(operation) = operation(method, path) else { return };
    let called = format!("{method} {path}: {} {}", answer.status, answer.text);
    let status = answer.status.as_u16().to_string();
    let response = operation["responses"].get(&status).unwrap_or(&operation["responses"]["default"]);
    let content = &resolved(response)["content"];
    let media = answer.headers.get("content-type").map(|media| media.to_str().expect("ASCII")).unwrap_or_default();
    let schema = &content[media.split(';').next().unwrap_or_default()]["schema"];
    assert!(schema.is_object(), "{called}: {media} is not described");
    if media.starts_with("application/json") {
        check(schema, &answer.json(), "").unwrap_or_else(|why| panic!("{called}\n{why}"));
    }
    if let Some(content) = operation.get("requestBody").filter(|_| answer.status.is_success()) {
        let sent: Value = serde_json::from_slice(sent).expect("JSON was taken");
        let schema = &content["content"]["application/json"]["schema"];
        check(schema, &sent, "").unwrap_or_else(|why| panic!("{called}\nwas taken, but {why}"));
    }
}

/// The operation of a path with values in its holes.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let base = DOCUMENT["servers"][0]["url"].as_str().expect("a server");
    let path = path.split('?').next()?.strip_prefix(base)?;
    let matches = |template: &str| {
        let (mut parts, mut holes) = (path.split('/'), template.split('/'));
        let alike = holes.by_ref().all(|hole| parts.next().is_some_and(|part| part == hole || hole.starts_with('{')));
        alike && parts.next().is_none()
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    // A path without holes comes before one with them.
    let found = paths.get(path).or_else(|| paths.iter().find(|(template, _)| matches(template)).map(|(_, item)| item));
    found?.get(method.as_str().to_ascii_lowercase())
}

/// What a `$ref` names.
pub fn resolved(schema: &Value) -> &Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(name) => {
            let pointer = name.strip_prefix('#').unwrap_or_else(|| panic!("{name}: not of this document"));
            resolved(DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{name} leads nowhere")))
        }
        None => schema,
    }
}

/// Keywords that say nothing of what may stand there.
const WORDS: [&str; 6] = ["description", "title", "default", "format", "readOnly", "writeOnly"];

pub fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(schema);
    let Value::Object(keywords) = schema else { return Ok(()) };
    for (keyword, said) in keywords {
        let holds = match keyword.as_str() {
            word if WORDS.contains(&word) => true,
            "type" => is_of(said, value),
            "enum" => said.as_array().is_some_and(|all| all.contains(value) || value.is_null()),
            "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= said.as_f64().expect("a number")),
            "minItems" => value.as_array().is_none_or(|all| all.len() as u64 >= said.as_u64().expect("a number")),
            "maxItems" => value.as_array().is_none_or(|all| all.len() as u64 <= said.as_u64().expect("a number")),
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().expect("a name")).is_none();
                match said.as_array().expect("names").iter().find(missing).filter(|_| value.is_object()) {
                    Some(name) => return Err(format!("{at}/{name} is missing")),
                    None => true,
                }
            }
            "anyOf" | "oneOf" => {
                let tried: Vec<_> = said.as_array().expect("schemas").iter().map(|one| loose(one, value, at)).collect();
                if tried.iter().all(Result::is_err) {
                    return Err(format!("{at}: none of these holds: {tried:?}"));
                }
                true
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(said, item, &format!("{at}/{n}"))?;
                }
                true
            }
            // Both below.
            "properties" | "additionalProperties" => true,
            unknown => return Err(format!("{at}: this test does not know the keyword {unknown}")),
        };
        if !holds {
            return Err(format!("{at}: {value} is not as {keyword} {said}"));
        }
    }
    fields(schema, value, at)
}

/// As one of several: the fields beside its own are judged by the whole.
fn loose(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(schema);
    match (schema.get("properties"), value) {
        (Some(Value::Object(known)), Value::Object(fields)) => {
            let own = fields.iter().filter(|(name, _)| known.contains_key(*name));
            let own = own.map(|(name, field)| (name.clone(), field.clone())).collect();
            // A field that no alternative knows is found here, by the alternative itself, unless others stand beside it.
            check(schema, &Value::Object(own), at)
        }
        _ => check(schema, value, at),
    }
}

fn fields(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Value::Object(fields) = value else { return Ok(()) };
    let described = names(schema);
    for (name, field) in fields {
        let at = format!("{at}/{name}");
        if let Some(property) = schema["properties"].get(name) {
            check(property, field, &at)?;
        } else if let Some(further) = schema.get("additionalProperties").filter(|further| **further != false) {
            check(further, field, &at)?;
        } else if !described.as_ref().is_none_or(|names| names.contains(name)) {
            return Err(format!("{at} is not described"));
        }
    }
    Ok(())
}

/// Names of the fields that a schema describes, itself or by one of several; `None`: any.
fn names(schema: &Value) -> Option<BTreeSet<String>> {
    let schema = resolved(schema);
    if schema.get("additionalProperties").is_some_and(|further| *further != false) {
        return None;
    }
    let several = ["anyOf", "oneOf"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
    let mut all = BTreeSet::new();
    for one in several {
        all.extend(names(one)?);
    }
    match schema.get("properties").and_then(Value::as_object) {
        Some(own) => all.extend(own.keys().cloned()),
        // Anything may stand there.
        None if all.is_empty() && schema.get("type") == Some(&Value::from("object")) => return None,
        None if schema.get("type").is_none() && schema.get("anyOf").is_none() && schema.get("oneOf").is_none() => {
            return None;
        }
        None => {}
    }
    Some(all)
}

fn is_of(said: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other} is no type"),
    };
    match said {
        Value::Array(several) => several.iter().any(is),
        one => is(one),
    }
}
