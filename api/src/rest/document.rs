//! The OpenAPI document. It is made beside the router, of the same list: each route says its method and path once, and what it
//! takes and gives is read from its handler's types.

mod operation;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub(crate) use self::operation::{Described, Documented, Operation};
use super::reply::ErrorBody;
use crate::access;
use crate::error::Code;
use crate::service::Service;

/// Routes with what the document says of them.
pub(crate) struct Routes {
    router: Router<Arc<Service>>,
    paths: Map<String, Value>,
    /// Schemas of what is read and of what is written: of one type they may differ.
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

/// Of the routes that are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Delete => MethodFilter::DELETE,
        }
    }
}

const SCHEMAS: &str = "/components/schemas";

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    })
}

impl Routes {
    pub(crate) fn new() -> Routes {
        Routes {
            router: Router::new(),
            paths: Map::new(),
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        }
    }

    /// `path` is under the base; `summary` says what it does, in a few words.
    pub(crate) fn route<H, A, D>(mut self, method: Method, path: &str, summary: &str, handler: H) -> Routes
    where
        H: Handler<A, Arc<Service>> + Documented<D>,
        A: 'static,
    {
        let mut operation = Operation::new(method, &mut self.taken, &mut self.given);
        <H as Documented<D>>::describe(&mut operation);
        let body = operation.finish(path, summary, permission(method, path));
        self.add(method, path, body);
        Routes { router: self.router.route(path, on(method.filter(), handler)), ..self }
    }

    fn add(&mut self, method: Method, path: &str, operation: Value) {
        let entry = self.paths.entry(path).or_insert_with(|| json!({}));
        entry[method.name().to_ascii_lowercase()] = operation;
    }

    pub(crate) fn router(self) -> Router<Arc<Service>> {
        self.router
    }

    /// The document itself is served too, to anybody, at `own` under the base.
    pub(crate) fn document(mut self, base: &str, own: &str) -> Value {
        let mut operation = Operation::new(Method::Get, &mut self.taken, &mut self.given);
        operation.answer::<Map<String, Value>>(200, "application/json");
        let mut body = operation.finish(own, "This document", None);
        body["security"] = json!([]);
        self.add(Method::Get, own, body);
        let error = self.given.subschema_for::<ErrorBody>();
        let schemas = merged(self.taken.take_definitions(true), self.given.take_definitions(true));
        json!({
            "openapi": "3.1.1",
            "info": {
                "title": "Flotilla",
                "summary": "Administration of an SFTP cluster",
                "description": ABOUT,
                "version": env!("CARGO_PKG_VERSION"),
                "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": base}],
            "security": [{"token": []}, {"api_key": []}, {"certificate": []}],
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": {"Error": {
                    "description": errors(),
                    "headers": {"Flotilla-Log-Index": {"$ref": "#/components/headers/Flotilla-Log-Index"}},
                    "content": {"application/json": {"schema": error}},
                }},
                "headers": {"Flotilla-Log-Index": {
                    "description": "The answer holds at this index of the log.",
                    "schema": {"type": "integer", "minimum": 0},
                }},
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer"},
                    "password": {"type": "http", "scheme": "basic", "description": "An admin's name and password: for a token only."},
                    "api_key": {"type": "apiKey", "in": "header", "name": "X-SFTPGO-API-KEY", "description": "ID.KEY, or ID.KEY.ADMIN for a key that names no admin."},
                    "certificate": {"type": "mutualTLS", "description": "Where the listener takes client certificates: the admin, or else the token, of its common name."},
                },
            },
        })
    }
}

const ABOUT: &str = "Records have SFTPGo's names and shapes where the concept is the same. Any node answers. Reads are linearizable \
    unless `consistency=stale` is asked for. A change is taken once per `Flotilla-Request-Id`; `If-Match` makes it conditional \
    on the record's revision, which reads show as `ETag`.";

/// What the table of permissions says of a route.
fn permission(method: Method, path: &str) -> Option<String> {
    let verb = access::route(method.name(), path)?;
    Some(match verb.permission() {
        Some("*") => "Permission: * (all).".to_owned(),
        Some(name) => format!("Permission: {name}."),
        None if verb == access::Verb::Login => "An admin's name and password.".to_owned(),
        None => "Any valid token.".to_owned(),
    })
}

/// One table for all routes.
fn errors() -> String {
    let row = |code: &Code| {
        let (name, status, _, retryable) = code.row();
        format!("{status} {name}{}", if retryable { " (a repeat may succeed)" } else { "" })
    };
    format!("An error: {}.", Code::ALL.iter().map(row).collect::<Vec<_>>().join(", "))
}

/// Two types of one name would hide each other.
fn merged(mut taken: Map<String, Value>, given: Map<String, Value>) -> Map<String, Value> {
    for (name, schema) in given {
        if let Some(other) = taken.insert(name.clone(), schema.clone()) {
            assert_eq!(other, schema, "two schemas are called {name}");
        }
    }
    taken
}

/// The fields of a type with their schemas, each whole in itself, and whether each must be given.
pub(crate) fn fields<T: JsonSchema>() -> Vec<(String, Value, bool)> {
    let settings = settings().for_deserialize().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    properties.into_iter().map(|(name, field)| (name.clone(), field, required(&name))).collect()
}
