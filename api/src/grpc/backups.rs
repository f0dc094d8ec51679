//! `flotilla.admin.v1.Backups`.

use std::sync::Arc;

use flotilla_model::State;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::backups_server::Backups;
use flotilla_proto::admin::v1::save_backup_response::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Admin;
use super::progress::ProgressStream;
use super::reply::{answer, caller, request_id};
use crate::error::ApiError;
use crate::service::wall_ms;

/// Parts made ahead of a slow reader, at most 1 MiB each.
const AHEAD: usize = 4;

#[tonic::async_trait]
impl Backups for Admin {
    type SaveBackupStream = ReceiverStream<Result<v1::SaveBackupResponse, Status>>;

    async fn save_backup(
        &self,
        request: Request<v1::SaveBackupRequest>,
    ) -> Result<Response<Self::SaveBackupStream>, Status> {
        let state = self.service.backup(&caller(&request)?).await?;
        let (parts, stream) = mpsc::channel(AHEAD);
        let index = state.applied_index();
        // Encoding is work for a thread; a reader that went away ends it.
        tokio::task::spawn_blocking(move || {
            let send = |part| parts.blocking_send(Ok(v1::SaveBackupResponse { part: Some(part) }));
            let (mut chunks, mut bytes) = (0, 0);
            send(Part::Manifest(manifest(&state)))?;
            for chunk in state.to_snapshot() {
                (chunks, bytes) = (chunks + 1, bytes + chunk.len() as u64);
                send(Part::Chunk(chunk))?;
            }
            send(Part::End(v1::BackupEnd { chunks, bytes }))
        });
        Ok(answer(index, ReceiverStream::new(stream)))
    }

    type WatchLoadStream = ProgressStream;

    async fn watch_load(
        &self,
        request: Request<v1::WatchLoadRequest>,
    ) -> Result<Response<Self::WatchLoadStream>, Status> {
        let caller = caller(&request)?;
        let id = request_id(&request.into_inner().request_id)?;
        let id = id.ok_or_else(|| ApiError::field("request_id", "that of the load is needed"))?;
        Ok(self.told(Arc::clone(&self.service).watch_load(caller, id)?))
    }
}

fn manifest(state: &State) -> v1::BackupManifest {
    v1::BackupManifest {
        cluster_id: state.settings().map(|settings| settings.cluster_id.clone()).unwrap_or_default(),
        log_index: state.applied_index(),
        state_hash: state.hash().to_vec(),
        saved_at: wall_ms(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        users: state.user_count() as u64,
        secrets: state.secrets().map(|secret| secret.name.clone()).collect(),
    }
}
