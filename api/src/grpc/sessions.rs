//! `flotilla.admin.v1.Sessions`.

use std::pin::Pin;
use std::sync::Arc;

use flotilla_model::SessionId;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::sessions_server::Sessions;
use flotilla_proto::convert;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, is_stale, page_size, request_id, result};
use crate::error::ApiError;
use crate::service::sessions::SessionsChanged;

#[tonic::async_trait]
impl Sessions for Admin {
    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ListSessionsRequest { page_size: size, page_token, consistency, username } = request.into_inner();
        let after = page_after(&page_token)?;
        let size = page_size(size)?;
        let (state, sessions) = self.service.list_sessions(&caller, is_stale(consistency)?).await?;
        let wanted = sessions.iter().filter(|session| after.is_none_or(|after| session.id > after));
        let wanted = wanted.filter(|session| username.is_empty() || session.username.as_str() == username);
        let mut page: Vec<_> = wanted.take(size + 1).collect();
        let more = page.len() > size;
        page.truncate(size);
        let log_index = state.applied_index();
        let message = v1::ListSessionsResponse {
            next_page_token: page.last().filter(|_| more).map(|session| session.id.to_string()).unwrap_or_default(),
            sessions: page.iter().map(|session| convert::session(session, state.session_cut(session))).collect(),
            log_index,
        };
        Ok(answer(log_index, message))
    }

    type WatchSessionsStream = Pin<Box<dyn Stream<Item = Result<v1::WatchSessionsResponse, Status>> + Send>>;

    async fn watch_sessions(
        &self,
        request: Request<v1::WatchSessionsRequest>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        let caller = caller(&request)?;
        let username = request.into_inner().username;
        let changes = Arc::clone(&self.service).watch_sessions(caller, username).await?;
        let changes = changes.map(|told| told.map(changed).map_err(Status::from));
        Ok(Response::new(Box::pin(changes.take_until(self.ending.clone().cancelled_owned()))))
    }

    async fn kill_session(
        &self,
        request: Request<v1::KillSessionRequest>,
    ) -> Result<Response<v1::KillSessionResponse>, Status> {
        let caller = caller(&request)?;
        let v1::KillSessionRequest { id, request_id: request } = request.into_inner();
        let session: SessionId = id.parse().map_err(ApiError::from)?;
        let changed = self.service.kill_session(&caller, request_id(&request)?, session).await?;
        Ok(answer(changed.index, v1::KillSessionResponse { result: Some(result(&changed)) }))
    }
}

fn changed(told: SessionsChanged) -> v1::WatchSessionsResponse {
    v1::WatchSessionsResponse {
        log_index: told.log_index,
        sessions: told.sessions.iter().map(|(session, cut)| convert::session(session, *cut)).collect(),
        ended: told.ended.iter().map(SessionId::to_string).collect(),
        complete: told.complete,
    }
}

fn page_after(token: &str) -> Result<Option<SessionId>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = |_| ApiError::field("page_token", "not one of ours");
    token.parse().map(Some).map_err(bad)
}
