//! `/events`: a page of the history as JSON, or the history as server-sent events for those who accept them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::page::Asked;
use super::reply::{answer, error_body};
use super::{Failed, Marks};
use crate::error::ApiError;
use crate::service::events::{EventView, ResumeToken, Since};
use crate::service::{Caller, Service};

/// Rows of a page.
const MAX: usize = 1000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    /// Events with a greater number.
    since: Option<u64>,
    /// Behind the event of this token; a stream takes it from `Last-Event-ID` too.
    resume_token: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn events(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(ending): Extension<CancellationToken>,
    _marks: Marks,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("accept").is_some_and(|accept| accept.contains("text/event-stream")) {
        let token = text("last-event-id").map(str::to_owned).or(query.resume_token);
        return stream(service, caller, ending, point(query.since, token, Since::Now)?).await;
    }
    let since = point(query.since, query.resume_token, Since::Beginning)?;
    let page = service.events(&caller, since, query.limit.unwrap_or(100).min(MAX)).await?;
    let body = json!({
        "events": page.events.iter().map(shown).collect::<Vec<_>>(),
        "resume_token": page.resume_token,
        "compacted_through": page.compacted_through,
        "last": page.last,
    });
    Ok(answer(StatusCode::OK, page.log_index, body))
}

async fn stream(
    service: Arc<Service>,
    caller: Caller,
    ending: CancellationToken,
    since: Since,
) -> Result<Response, Failed> {
    let events = service.watch_events(caller, since).await?;
    let told = events.map(|event| {
        let event = match event {
            Ok(event) => sse::Event::default()
                .id(event.resume_token.clone())
                .event(event.kind.clone())
                .data(shown(&event).to_string()),
            // The reader shall not come back by itself with the same token.
            Err(error) => sse::Event::default().event("error").data(error_body(&error).to_string()),
        };
        Ok::<_, Infallible>(event)
    });
    let told = told.take_until(ending.cancelled_owned());
    Ok(Sse::new(told).keep_alive(KeepAlive::default()).into_response())
}

fn point(since: Option<u64>, token: Option<String>, otherwise: Since) -> Result<Since, ApiError> {
    match (token, since) {
        (Some(token), _) if !token.is_empty() => ResumeToken::parse(&token).map(Since::Token),
        (_, Some(0)) => Ok(Since::Beginning),
        (_, Some(number)) => Ok(Since::Number(number)),
        (_, None) => Ok(otherwise),
    }
}

fn shown(event: &EventView) -> Value {
    let change = |change: &flotilla_model::FieldChange| json!({"field": change.field, "before": change.before, "after": change.after});
    let hash: String = event.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "number": event.number,
        "log_index": event.log_index,
        "timestamp": event.timestamp,
        "kind": event.kind,
        "actor": event.actor,
        "source": event.source,
        "object_type": event.object_type,
        "object_name": event.object_name,
        "changes": event.changes.iter().map(change).collect::<Vec<_>>(),
        "details": event.details,
        "hash": hash,
        "resume_token": event.resume_token,
    })
}
