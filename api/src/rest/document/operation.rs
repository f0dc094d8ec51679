//! What a route takes and gives, said by the types of its handler.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Method, fields};

/// An operation of the document, being made.
pub(crate) struct Operation<'a> {
    pub(crate) method: Method,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
    security: Option<Value>,
    taken: &'a mut SchemaGenerator,
    given: &'a mut SchemaGenerator,
}

/// A part of a handler's signature.
pub(crate) trait Described {
    /// What it adds to the operation; nothing by default.
    fn describe(_operation: &mut Operation<'_>) {}
}

/// A handler, of which every part is described.
pub(crate) trait Documented<Parts> {
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! documented {
    ($($part:ident),+) => {
        impl<F, A, R, $($part),+> Documented<($($part,)+)> for F
        where
            F: Fn($($part),+) -> A,
            A: Future<Output = R>,
            R: Described,
            $($part: Described),+
        {
            fn describe(operation: &mut Operation<'_>) {
                $($part::describe(operation);)+
                R::describe(operation);
            }
        }
    };
}

documented!(P1);
documented!(P1, P2);
documented!(P1, P2, P3);
documented!(P1, P2, P3, P4);
documented!(P1, P2, P3, P4, P5);
documented!(P1, P2, P3, P4, P5, P6);

impl<T> Described for State<T> {}
impl<T> Described for Extension<T> {}
/// Of which the path itself tells.
impl<T> Described for Path<T> {}
impl Described for HeaderMap {}

impl<T: Described, E> Described for Result<T, E> {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

impl<'a> Operation<'a> {
    pub(super) fn new(method: Method, taken: &'a mut SchemaGenerator, given: &'a mut SchemaGenerator) -> Operation<'a> {
        let (parameters, body, answers, security) = Default::default();
        Operation { method, parameters, body, answers, security, taken, given }
    }

    /// A header that may be sent.
    pub(crate) fn header(&mut self, name: &str, description: &str, schema: Value) {
        let header = json!({"name": name, "in": "header", "description": description, "schema": schema});
        self.parameters.push(header);
    }

    /// Each field of `T` is a parameter of the query.
    pub(crate) fn query<T: JsonSchema>(&mut self) {
        for (name, mut schema, required) in fields::<T>() {
            let mut parameter = json!({"name": name, "in": "query", "required": required});
            if let Some(description) = schema.as_object_mut().and_then(|schema| schema.remove("description")) {
                parameter["description"] = description;
            }
            parameter["schema"] = schema;
            self.parameters.push(parameter);
        }
    }

    /// A body that must be sent.
    pub(crate) fn body<T: JsonSchema>(&mut self) {
        let schema = self.taken.subschema_for::<T>();
        self.body = Some(json!({"required": true, "content": {"application/json": {"schema": schema}}}));
    }

    /// A success, in one form or in several.
    pub(crate) fn answer<T: JsonSchema>(&mut self, status: u16, media: &str) {
        let schema = self.given.subschema_for::<T>();
        let (code, phrase) = match axum::http::StatusCode::from_u16(status) {
            Ok(code) => (code.as_str().to_owned(), code.canonical_reason().unwrap_or("Success")),
            Err(_) => (status.to_string(), "Success"),
        };
        let answer = self.answers.entry(code).or_insert_with(|| {
            json!({
                "description": phrase,
                "headers": {"Flotilla-Log-Index": {"$ref": "#/components/headers/Flotilla-Log-Index"}},
                "content": {},
            })
        });
        answer["content"][media] = json!({"schema": schema});
    }

    /// By a password, and by nothing else.
    pub(crate) fn by_password(&mut self) {
        self.security = Some(json!([{"password": []}]));
    }

    pub(super) fn finish(self, path: &str, summary: &str, permission: Option<String>) -> Value {
        let mut parameters: Vec<Value> = holes(path)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(self.parameters);
        let mut answers = self.answers;
        answers.insert("default".into(), json!({"$ref": "#/components/responses/Error"}));
        let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let id = words.fold(self.method.name().to_ascii_lowercase(), |id, word| format!("{id}_{word}"));
        let tag = path.split('/').nth(1).unwrap_or_default();
        let mut operation = json!({"operationId": id, "tags": [tag], "summary": summary});
        if let Some(permission) = permission {
            operation["description"] = json!(permission);
        }
        if !parameters.is_empty() {
            operation["parameters"] = json!(parameters);
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation["responses"] = Value::Object(answers);
        if let Some(security) = self.security {
            operation["security"] = security;
        }
        operation
    }
}

/// Names between braces.
fn holes(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}
