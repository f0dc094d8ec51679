//! `flotilla.admin.v1.Events`.

use std::pin::Pin;
use std::sync::Arc;

use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::events_server::Events;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, page_size};
use crate::error::ApiError;
use crate::service::events::{EventView, ResumeToken, Since};

#[tonic::async_trait]
impl Events for Admin {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ListEventsRequest { since, resume_token, page_size: size } = request.into_inner();
        let since = match since {
            0 => Since::Beginning,
            number => Since::Number(number),
        };
        let page = self.service.events(&caller, point(resume_token, since)?, page_size(size)?).await?;
        let message = v1::ListEventsResponse {
            events: page.events.into_iter().map(event).collect(),
            resume_token: page.resume_token,
            compacted_through: page.compacted_through,
            last: page.last,
            log_index: page.log_index,
        };
        Ok(answer(message.log_index, message))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = caller(&request)?;
        let v1::WatchEventsRequest { since, resume_token } = request.into_inner();
        let since = point(resume_token, since.map_or(Since::Now, Since::Number))?;
        let events = Arc::clone(&self.service).watch_events(caller, since).await?;
        let events = events.map(|told| told.map(event).map_err(Status::from));
        Ok(Response::new(Box::pin(events.take_until(self.ending.clone().cancelled_owned()))))
    }
}

fn point(resume_token: String, otherwise: Since) -> Result<Since, ApiError> {
    if resume_token.is_empty() { Ok(otherwise) } else { ResumeToken::parse(&resume_token).map(Since::Token) }
}

fn event(event: EventView) -> v1::Event {
    let change = |change: flotilla_model::FieldChange| v1::FieldChange {
        field: change.field,
        before: change.before,
        after: change.after,
    };
    v1::Event {
        number: event.number,
        log_index: event.log_index,
        timestamp: event.timestamp,
        kind: event.kind,
        actor: event.actor,
        source: event.source,
        object_type: event.object_type.to_owned(),
        object_name: event.object_name,
        changes: event.changes.into_iter().map(change).collect(),
        details: event.details.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
        hash: event.hash.to_vec(),
        resume_token: event.resume_token,
    }
}
