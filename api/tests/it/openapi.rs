//! The OpenAPI document: every route of the router and nothing else, sound in itself, open to all.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_api::access::ROUTES;
use serde_json::{Value, json};

use crate::document::{DOCUMENT, check, resolved};
use crate::fixture::Server;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

/// Methods by path.
fn described() -> BTreeMap<String, BTreeSet<String>> {
    let methods = |item: &Value| item.as_object().expect("operations").keys().map(|name| name.to_uppercase()).collect();
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

fn operations() -> impl Iterator<Item = (&'static String, &'static String, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, item)| {
        item.as_object().expect("operations").iter().map(move |(method, operation)| (path, method, operation))
    })
}

#[test]
fn every_route_of_the_table_is_described_and_nothing_else_but_the_document() {
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in ROUTES {
        table.entry((*path).to_owned()).or_default().insert((*method).to_owned());
    }
    table.entry("/openapi.json".to_owned()).or_default().insert("GET".to_owned());
    assert_eq!(described(), table);
}

#[tokio::test]
async fn the_router_knows_the_methods_that_are_described_and_no_others() {
    let server = Server::start().await;
    for (path, methods) in described() {
        let asked: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "nobody" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for method in METHODS {
            let answer = server.call(method.parse().expect("a method"), &asked, &[], Body::empty()).await;
            let known = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(known, methods.contains(method), "{method} {path}: {}", answer.status);
            assert!(!answer.text.contains("no such route"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn anybody_may_read_the_document_and_it_says_who_may_call_what() {
    let server = Server::start().await;
    let served = server.bare(Method::GET, "/api/v2/openapi.json", &[], Body::empty()).await;
    assert_eq!((served.status, served.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(served.json(), *DOCUMENT);
    let users = &DOCUMENT["paths"]["/users"];
    assert_eq!(users["post"]["description"], "Permission: add_users.");
    assert_eq!(DOCUMENT["paths"]["/token"]["get"]["security"], json!([{"password": []}]));
    assert_eq!(DOCUMENT["paths"]["/openapi.json"]["get"]["security"], json!([]));
}

#[test]
fn the_document_is_sound() {
    assert_eq!(DOCUMENT["openapi"], "3.1.1");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations() {
        let called = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id")), "{called}: the id is taken");
        let no_parameters = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&no_parameters);
        let of = |place: &str| -> Vec<&str> {
            let there = parameters.iter().filter(|one| one["in"] == place);
            there.map(|one| one["name"].as_str().expect("a name")).collect()
        };
        let holes: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(of("path"), holes, "{called}");
        let unique: BTreeSet<_> = parameters.iter().map(|one| (one["in"].as_str(), one["name"].as_str())).collect();
        assert_eq!(unique.len(), parameters.len(), "{called}: a parameter is named twice");
        let answers = operation["responses"].as_object().expect("answers");
        assert!(answers.keys().any(|status| status.starts_with('2')), "{called}: no success");
        assert!(answers.contains_key("default"), "{called}: no error");
        for scheme in operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object) {
            assert!(scheme.keys().all(|name| DOCUMENT["components"]["securitySchemes"][name].is_object()), "{called}");
        }
    }
    refs(&DOCUMENT, &mut |holder| assert!(resolved(holder).is_object(), "{holder}"));
}

/// Everything that refers.
fn refs(value: &Value, see: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("$ref") {
                see(value);
            }
            fields.values().for_each(|field| refs(field, see));
        }
        Value::Array(items) => items.iter().for_each(|item| refs(item, see)),
        _ => {}
    }
}

/// The judge of all answers can say no.
#[test]
fn what_is_not_as_described_is_found() {
    let schema = json!({"$ref": "#/components/schemas/Error"});
    let error = json!({
        "message": "", "error": "", "code": "invalid", "definite": true, "retryable": false, "request_id": null,
        "log_index": 7,
    });
    assert_eq!(check(&schema, &error, ""), Ok(()));
    let with = |name: &str, value: Value| {
        let mut changed = error.clone();
        changed[name] = value;
        check(&schema, &changed, "")
    };
    assert!(with("definite", json!("yes")).is_err(), "another type");
    assert!(with("code", json!("surprise")).is_err(), "another word");
    assert!(with("log_index", json!(-1)).is_err(), "below its least");
    assert!(with("hint", json!("try again")).is_err(), "not described");
    let mut shorter = error.clone();
    shorter.as_object_mut().expect("an object").remove("message");
    assert!(check(&schema, &shorter, "").is_err(), "missing");
    let roles = json!({"type": "array", "items": {"$ref": "#/components/schemas/Role"}});
    assert!(check(&roles, &json!([{"name": 5}]), "").is_err(), "within a list");
}

/// What an operation says it takes beside its path and body is taken, and what it does not say is not passed over where it matters.
#[tokio::test]
async fn headers_and_parameters_are_taken_where_the_document_says_so_and_nowhere_else() {
    let server = Server::start().await;
    let mut seen = BTreeMap::new();
    for (path, method, operation) in operations().filter(|(path, ..)| *path != "/openapi.json") {
        let says = |name: &str| {
            operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name))
        };
        let filled: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "1-2-3" } else { part }).collect();
        let asked = filled.join("/");
        let call = async |query: &str, headers: &[(&str, &str)]| {
            let verb: Method = method.to_uppercase().parse().expect("a method");
            // Of a login it is the password that is judged first.
            let answer = server.call(verb, &format!("{asked}{query}"), headers, Body::empty()).await;
            (answer.status, answer.text)
        };
        if path == "/token" {
            assert!(says("Flotilla-Request-Id") && !says("consistency") && !says("If-Match"), "{operation}");
            continue;
        }
        let refused = |(status, text): &(StatusCode, String), word: &str| {
            *status == StatusCode::BAD_REQUEST && text.contains(word)
        };
        let odd = call("?consistency=odd", &[]).await;
        assert_eq!(refused(&odd, "consistency"), says("consistency"), "{method} {path}: {odd:?}");
        let odd = call("", &[("flotilla-request-id", "odd")]).await;
        assert_eq!(refused(&odd, "Request-Id"), says("Flotilla-Request-Id"), "{method} {path}: {odd:?}");
        // A condition is judged, or refused; only what reads, or serves nothing, may not look at it.
        let odd = call("", &[("if-match", "odd")]).await;
        assert_eq!(refused(&odd, "If-Match"), says("Flotilla-Request-Id"), "{method} {path}: {odd:?}");
        let old = call("", &[("if-match", "\"1\"")]).await;
        let unconditional = says("Flotilla-Request-Id") && !says("If-Match");
        assert_eq!(refused(&old, "If-Match"), unconditional, "{method} {path}: {old:?}");
        for name in ["consistency", "Flotilla-Request-Id", "If-Match"] {
            *seen.entry(name).or_insert(0) += u32::from(says(name));
        }
    }
    assert!(seen.values().all(|count| *count >= 10), "{seen:?}");
}
