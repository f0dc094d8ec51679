//! `grpc.health.v1.Health`: the whole node is serving while it is ready, as `/readyz` says.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::access;
use crate::server::Readiness;

/// How often a watcher's answer is looked at anew.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Health {
    readiness: Arc<dyn Readiness>,
    /// Ends the watchers' streams: a listener that drains waits for them.
    ending: CancellationToken,
}

impl Health {
    pub(super) fn new(readiness: Arc<dyn Readiness>, ending: CancellationToken) -> Self {
        Health { readiness, ending }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        known(&request.into_inner().service)?;
        Ok(Response::new(answer(status(&*self.readiness))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        known(&request.into_inner().service)?;
        let ticks = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(LOOK));
        let readiness = Arc::clone(&self.readiness);
        let mut last = None;
        let changes = ticks.filter_map(move |_| {
            let now = status(&*readiness);
            let changed = last.replace(now) != Some(now);
            std::future::ready(changed.then(|| Ok(answer(now))))
        });
        Ok(Response::new(Box::pin(changes.take_until(self.ending.clone().cancelled_owned()))))
    }
}

fn status(readiness: &dyn Readiness) -> ServingStatus {
    if readiness.reasons().is_empty() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// The node as a whole (an empty name) or one of the services behind this listener.
fn known(service: &str) -> Result<(), Status> {
    let of_call = |path: &str| path.trim_start_matches('/').split('/').next() == Some(service);
    if service.is_empty() || access::CALLS.iter().any(|(path, _)| of_call(path)) {
        return Ok(());
    }
    Err(Status::not_found(format!("no such service: {service}")))
}
