//! `/events`: a page of the history as JSON, or the history as server-sent events for those who accept them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Failed;
use super::document::{Described, Operation};
use super::page::Asked;
use super::reply::{Answer, error_body};
use crate::error::ApiError;
use crate::service::events::{EventView, ResumeToken, Since};
use crate::service::{Caller, Service};

/// Rows of a page.
const MAX: usize = 1000;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Query {
    /// Events with a greater number.
    since: Option<u64>,
    /// Behind the event of this token; a stream takes it from `Last-Event-ID` too.
    resume_token: Option<String>,
    /// Rows of a page, at most 1000.
    limit: Option<usize>,
}

/// A page of the history.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventPage")]
pub(super) struct PageShown {
    events: Vec<EventShown>,
    /// Behind the last of them.
    resume_token: String,
    /// Events up to this number are no longer kept.
    compacted_through: u64,
    /// Number of the last event that there is.
    last: u64,
}

/// What happened.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
struct EventShown {
    number: u64,
    log_index: u64,
    /// Milliseconds since 1970.
    timestamp: u64,
    kind: String,
    /// Who did it.
    actor: String,
    /// From which address.
    source: String,
    object_type: &'static str,
    object_name: String,
    changes: Vec<ChangeShown>,
    details: BTreeMap<&'static str, String>,
    /// Of the history up to it, hexadecimal.
    hash: String,
    /// Behind it.
    resume_token: String,
}

/// A field before and after. Secrets are redacted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FieldChange")]
struct ChangeShown {
    field: String,
    before: String,
    after: String,
}

/// A page, or a stream for those who accept `text/event-stream`.
pub(super) enum Told {
    Page(Box<Answer<PageShown>>),
    Stream(Box<Response>),
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        match self {
            Told::Page(page) => page.into_response(),
            Told::Stream(stream) => *stream,
        }
    }
}

impl Described for Told {
    fn describe(operation: &mut Operation<'_>) {
        <Answer<PageShown>>::describe(operation);
        operation.answer::<String>(200, "text/event-stream");
        let about = "Where a stream of events goes on: the id of the last one that was read.";
        operation.header("Last-Event-ID", about, serde_json::json!({"type": "string"}));
    }
}

pub(super) async fn events(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(ending): Extension<CancellationToken>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Told, Failed> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("accept").is_some_and(|accept| accept.contains("text/event-stream")) {
        let token = text("last-event-id").map(str::to_owned).or(query.resume_token);
        return stream(service, caller, ending, point(query.since, token, Since::Now)?).await;
    }
    let since = point(query.since, query.resume_token, Since::Beginning)?;
    let page = service.events(&caller, since, query.limit.unwrap_or(100).min(MAX)).await?;
    let body = PageShown {
        events: page.events.iter().map(shown).collect(),
        resume_token: page.resume_token,
        compacted_through: page.compacted_through,
        last: page.last,
    };
    Ok(Told::Page(Box::new(Answer::at(page.log_index, body))))
}

async fn stream(
    service: Arc<Service>,
    caller: Caller,
    ending: CancellationToken,
    since: Since,
) -> Result<Told, Failed> {
    let events = service.watch_events(caller, since).await?;
    let told = events.map(|event| {
        let event = match event {
            Ok(event) => sse::Event::default()
                .id(event.resume_token.clone())
                .event(event.kind.clone())
                .data(text(&shown(&event))),
            // The reader shall not come back by itself with the same token.
            Err(error) => sse::Event::default().event("error").data(text(&error_body(&error))),
        };
        Ok::<_, Infallible>(event)
    });
    let told = told.take_until(ending.cancelled_owned());
    Ok(Told::Stream(Box::new(Sse::new(told).keep_alive(KeepAlive::default()).into_response())))
}

fn text(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("strings, numbers and maps of strings are JSON")
}

fn point(since: Option<u64>, token: Option<String>, otherwise: Since) -> Result<Since, ApiError> {
    match (token, since) {
        (Some(token), _) if !token.is_empty() => ResumeToken::parse(&token).map(Since::Token),
        (_, Some(0)) => Ok(Since::Beginning),
        (_, Some(number)) => Ok(Since::Number(number)),
        (_, None) => Ok(otherwise),
    }
}

fn shown(event: &EventView) -> EventShown {
    let change = |change: &flotilla_model::FieldChange| ChangeShown {
        field: change.field.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
    };
    EventShown {
        number: event.number,
        log_index: event.log_index,
        timestamp: event.timestamp,
        kind: event.kind.clone(),
        actor: event.actor.clone(),
        source: event.source.clone(),
        object_type: event.object_type,
        object_name: event.object_name.clone(),
        changes: event.changes.iter().map(change).collect(),
        details: event.details.clone(),
        hash: event.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        resume_token: event.resume_token.clone(),
    }
}
