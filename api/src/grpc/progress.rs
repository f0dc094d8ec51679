//! Progress as a stream of messages.

use std::pin::Pin;

use flotilla_model::LogIndex;
use flotilla_proto::admin::v1;
use futures::{Stream, StreamExt};
use tonic::{Response, Status};

use super::Admin;
use crate::error::ApiError;
use crate::service::progress::Progress;

pub(super) type ProgressStream = Pin<Box<dyn Stream<Item = Result<v1::Progress, Status>> + Send>>;

impl Admin {
    /// Until it has ended, or the listener ends.
    pub(super) fn told(
        &self,
        progress: impl Stream<Item = Result<(LogIndex, Progress), ApiError>> + Send + 'static,
    ) -> Response<ProgressStream> {
        let told = progress.map(|told| told.map(message).map_err(Status::from));
        Response::new(Box::pin(told.take_until(self.ending.clone().cancelled_owned())))
    }
}

fn message((log_index, progress): (LogIndex, Progress)) -> v1::Progress {
    v1::Progress {
        stage: progress.stage,
        done: progress.done,
        total: progress.total,
        unit: progress.unit.to_owned(),
        waits_for: progress.waits_for,
        ended: progress.ended,
        log_index,
    }
}
